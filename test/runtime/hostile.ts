import fc from 'fast-check';
import { concat } from '../../runtime/crypto/bytes.ts';
import { pathsOf, replaceAt } from './hostile-json.ts';

/** Runs of a property whose inputs cost microseconds. */
export const RUNS = { numRuns: process.env.SLOW === undefined ? 200 : 10_000 };
/** Runs of a property that makes signatures or checks several. */
export const FEW_RUNS = { numRuns: process.env.SLOW === undefined ? 60 : 2000 };

/** Random bytes in a random place of good ones, which then may end early: reaches behind the first checks. */
export function damaged(bytes: Uint8Array): fc.Arbitrary<Uint8Array> {
  const damage = fc.record({
    at: fc.nat(bytes.length),
    patch: fc.uint8Array({ maxLength: 8 }),
    end: fc.nat(bytes.length),
    cut: fc.boolean(),
  });
  return damage.map(({ at, patch, end, cut }) =>
    concat(bytes.subarray(0, at), patch, bytes.subarray(at + patch.length)).slice(0, cut ? end : undefined),
  );
}

/** JSON that nests deeper than any recursion goes: `JSON.parse` takes it, `JSON.stringify` overflows on it. */
const DEEP = `${'['.repeat(50_000)}${']'.repeat(50_000)}`;
const DEEP_MARK = 'nested too deep';
/** Values that code takes for others: numbers at the ends of their range, members that every object seems to have. */
const EDGES: readonly unknown[] = [
  DEEP_MARK,
  2 ** 32 - 1,
  Number.MAX_SAFE_INTEGER,
  -1,
  1e300,
  '',
  'A',
  '\u0000',
  JSON.parse('{"toString":1,"valueOf":1,"toJSON":1}'),
  JSON.parse('{"__proto__":{"length":4294967295}}'),
  { length: 2 ** 32 - 1 },
];

/** The text of a good JSON value in which up to three members, at any depth, are gone or something else. */
export function damagedJson(good: unknown): fc.Arbitrary<string> {
  const damage = fc.record({
    path: fc.constantFrom(...pathsOf(good)),
    instead: fc.oneof(fc.constantFrom(...EDGES), fc.jsonValue(), fc.constant(undefined)),
  });
  return fc.array(damage, { minLength: 1, maxLength: 3 }).map((damages) => {
    const value = damages.reduce((left, { path, instead }) => replaceAt(left, path, instead), good);
    return (JSON.stringify(value) ?? '').replaceAll(JSON.stringify(DEEP_MARK), DEEP);
  });
}
