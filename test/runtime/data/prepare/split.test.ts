import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseClasses } from '../../../../runtime/data/prepare/labels.ts';
import {
  ClassShares,
  parseShares,
  rowPosition,
  type Shares,
  shareSplitter,
} from '../../../../runtime/data/prepare/split.ts';
import { rejection } from '../../rejection.ts';

test('shares are kept, and only their proportion counts', () => {
  const rows = Array.from({ length: 20_000 }, (_, i) => `row ${i}`);
  const count = (shares: Shares) => {
    const [positionOf, splitOf] = [rowPosition(1), shareSplitter(shares)];
    const splits = rows.map((row) => splitOf(positionOf(row), ''));
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
      const positionOf = rowPosition(seed);
      const forwards = rows.map((row) => positionOf(row));
      const backwards = [...rows].reverse().map((row) => positionOf(new TextEncoder().encode(row)));
      expect(backwards.reverse()).toEqual(
        forwards.map((position, i) => (rows[i]?.isWellFormed() ? position : backwards[rows.length - 1 - i])),
      );
    }),
    { numRuns: 20 },
  );
});

test('with classes of any sizes each has its shares, whatever the order of the rows', () => {
  const sizes = fc.array(fc.integer({ min: 200, max: 2000 }), { minLength: 2, maxLength: 5 });
  fc.assert(
    fc.property(sizes, fc.nat(), (classes, seed) => {
      const positionOf = rowPosition(seed);
      const rows = classes.flatMap((size, label) =>
        Array.from({ length: size }, (_, i) => ({ label: String(label), position: positionOf(`${label},${i}`) })),
      );
      const splitsOf = (order: typeof rows) => {
        const shares = new ClassShares();
        for (const { position, label } of order) shares.add(position, label);
        const splitOf = shares.splitter([0.7, 0.2, 0.1]);
        return rows.map(({ position, label }) => splitOf(position, label));
      };
      const splits = splitsOf(rows);
      expect(splitsOf([...rows].reverse())).toEqual(splits);
      classes.forEach((size, label) => {
        const inTrain = rows.filter((row, i) => row.label === String(label) && splits[i] === 'train').length;
        expect(Math.abs(inTrain - 0.7 * size)).toBeLessThanOrEqual(4);
      });
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
