import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const FOLDER = join(import.meta.dirname, '../../constructs');
const files = globSync('*.ts', { cwd: FOLDER }).sort();

test('every optional member says what it is when left out', () => {
  const silent = files.flatMap((file) => {
    const lines = readFileSync(join(FOLDER, file), 'utf8').split('\n');
    return lines.flatMap((line, i) => {
      if (!/^ {2}readonly \w+\?:/.test(line)) return [];
      const start = lines.slice(0, i).findLastIndex((above) => /^ {2}\/\*\*|^ {2}readonly|^export|^\}/.test(above));
      return lines.slice(start, i).join('\n').includes('@default') ? [] : [`${file}:${i + 1}${line}`];
    });
  });
  expect(files.length).toBeGreaterThan(10);
  expect(silent).toEqual([]);
});

// A construct says its smallest use and what Azure bills for it; an amount would be wrong by the time it is read.
test('every construct shows its smallest use and what is billed for it, or that it is free', () => {
  const constructs = files.flatMap((file) => {
    const source = readFileSync(join(FOLDER, file), 'utf8');
    return [...source.matchAll(/\/\*\*((?:[^*]|\*(?!\/))*)\*\/\nexport class (\w+) extends Construct/g)].map(
      ([, text = '', name = '']) => [name, text] as const,
    );
  });
  const silent = constructs.filter(([, text]) => !/\bbilled\b|[Ff]ree\b/.test(text) || !/@example\n \* \S/.test(text));
  const priced = constructs.filter(([, text]) => /\b(USD|EUR|dollars?)\b/.test(text));
  expect(constructs.length).toBeGreaterThan(18);
  expect(silent.map(([name]) => name)).toEqual([]);
  expect(priced.map(([name]) => name)).toEqual([]);
});
