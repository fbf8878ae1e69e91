import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseClasses } from '../../../../runtime/data/prepare/labels.ts';
import { parseShares, rowSplitter, type Shares } from '../../../../runtime/data/prepare/split.ts';
import { rejection } from '../../rejection.ts';

test('shares are kept, and only their proportion counts', () => {
  const rows = Array.from({ length: 20_000 }, (_, i) => `row ${i}`);
  const count = (shares: Shares) => {
    const splitOf = rowSplitter(1, shares);
    const splits = rows.map((row) => splitOf(row));
    return {
      train: splits.filter((split) => split === 'train').length,
      test: splits.filter((split) => split === 'test').length,
    };
  };
  const found = count([0.8, 0.1, 0.1]);
  expect(found.train / rows.length).toBeCloseTo(0.8, 1);
  expect(found.test / rows.length).toBeCloseTo(0.1, 1);
  expect(count([80, 10, 10])).toEqual(found);
});

test('a row decides alone, as text or as bytes', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 9000 }), { minLength: 1 }), fc.nat(), (rows, seed) => {
      const splitOf = rowSplitter(seed, [1, 1, 1]);
      const forwards = rows.map((row) => splitOf(row));
      const backwards = [...rows].reverse().map((row) => splitOf(new TextEncoder().encode(row)));
      expect(backwards.reverse()).toEqual(
        forwards.map((split, i) => (rows[i]?.isWellFormed() ? split : backwards[rows.length - 1 - i])),
      );
    }),
    { numRuns: 20 },
  );
});

test.each([
  ['0.8,0.1,0.1', [0.8, 0.1, 0.1]],
  [' 80, 10 ,10', [80, 10, 10]],
])('reads %s', (text, shares) => {
  expect(parseShares(text)).toEqual(shares);
});

test.each([
  ['0.8,0.2', 'split: found 2 parts, wanted 3'],
  ['0.8,0.1,0', 'split: test is not a number above 0'],
  ['0.8,-0.1,0.1', 'split: validation is not a number above 0'],
  ['a,1,1', 'split: train is not a number above 0'],
  ['1,,1', 'split: validation is not a number above 0'],
  ['', 'split: found 1 parts, wanted 3'],
])('refuses %j', (text, message) => {
  expect(() => parseShares(text)).toThrow(rejection('CONFIG_INVALID', message));
});

test.each([
  ['10', 10],
  ['a, b', ['a', 'b']],
])('reads classes %s', (text, classes) => {
  expect(parseClasses(text)).toEqual(classes);
});

test.each(['', '1', '-3', '2.5', 'many', 'a,a', 'a,', '1001'])('refuses classes %j', (text) => {
  expect(() => parseClasses(text)).toThrow(
    rejection('CONFIG_INVALID', 'classes: wanted a whole number from 2 to 1000'),
  );
});
