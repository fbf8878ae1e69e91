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

test('every exported construct says what it costs or that it is free, or stands for others that do', () => {
  const constructs = files.flatMap((file) => {
    const source = readFileSync(join(FOLDER, file), 'utf8');
    return [...source.matchAll(/\/\*\*([^/]|[^*]\/)*\*\/\nexport class (\w+) extends Construct/g)].map(
      ([text, , name]) => [name, text] as const,
    );
  });
  const silent = constructs.filter(([, text]) => !/USD|[Ff]ree\b|paying/.test(text)).map(([name]) => name);
  expect(constructs.length).toBeGreaterThan(8);
  expect(silent).toEqual([]);
});
