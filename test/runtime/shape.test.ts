import { expect, test } from 'vitest';
import { utf8 } from '../../runtime/crypto/bytes.ts';
import { checkShape, members, oneOf, parseJson } from '../../runtime/shape.ts';
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

test('a member’s name ends no line and moves no cursor', () => {
  const check = () => checkShape(members<{ a: 1 }>({ a: oneOf(1) }), { a: 1, 'x\nok\u001b[2K\u202e': 1 }, 'document');
  expect(check).toThrow(rejection('EVIDENCE_MALFORMED', 'document: x?ok?[2K?: unknown member, did you mean a?'));
});
