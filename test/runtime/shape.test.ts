import { expect, test } from 'vitest';
import { utf8 } from '../../runtime/crypto/bytes.ts';
import { parseJson } from '../../runtime/shape.ts';
import { rejection } from './rejection.ts';

const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;

test('reads JSON as deep as any document is, whatever its texts hold', () => {
  expect(JSON.stringify(parseJson(utf8(nested(64)), 'statement'))).toBe(nested(64));
  const texts = ['['.repeat(100), '"{'.repeat(100), '\\"['.repeat(100)];
  expect(parseJson(utf8(JSON.stringify(texts)), 'statement')).toEqual(texts);
});

test.each([
  ['deeper than that', nested(65), 'statement is nested deeper than 64 levels'],
  ['deeper than the stack', nested(1_000_000), 'statement is nested deeper than 64 levels'],
  ['objects as deep', `${'{"a":'.repeat(65)}1${'}'.repeat(65)}`, 'statement is nested deeper than 64 levels'],
  ['what is no JSON', '{', 'statement is not JSON'],
])('refuses %s', (_, text, message) => {
  expect(() => parseJson(utf8(text), 'statement')).toThrow(rejection('EVIDENCE_MALFORMED', message));
});
