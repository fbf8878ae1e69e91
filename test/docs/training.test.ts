import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { FIELDS, NAMES } from '../../runtime/training-fields.ts';

test('docs/training.md has every field with what it says and its default, in order, and no other', async () => {
  const text = await readFile(new URL('../../docs/training.md', import.meta.url), 'utf8');
  const rows = NAMES.map((name) => {
    const { doc, kind, default: preset } = FIELDS[name];
    const choices = typeof kind === 'object' ? ` One of ${kind.map((each) => `\`${each}\``).join(', ')}.` : '';
    return `| \`${name}\` | ${doc}${choices} | ${preset === undefined ? '-' : `\`${preset}\``} |`;
  });
  const found = text.split('\n').filter((line) => line.startsWith('| `'));
  // The formatter pads its columns.
  expect(found.map((line) => line.replaceAll(/ +\|/g, ' |'))).toEqual(rows);
});
