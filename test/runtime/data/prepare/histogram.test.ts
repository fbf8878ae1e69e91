import { hash } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DuplicateFinder } from '../../../../runtime/data/prepare/duplicates.ts';
import { Histogram } from '../../../../runtime/data/prepare/histogram.ts';
import { SPLITS } from '../../../../runtime/statements/manifest.ts';

const histogramOf = (values: readonly number[]) => {
  const histogram = new Histogram();
  for (const value of values) histogram.add(value);
  return histogram;
};

test('any numbers: every one is counted, in its bar, whatever the order', () => {
  // Not the smallest of doubles: divided by a bar's width they are zero.
  const value = fc.double({ noNaN: true, min: -3e38, max: 3e38 }).map((any) => (Math.abs(any) < 1e-200 ? 0 : any));
  const near = fc
    .tuple(value, fc.array(fc.nat(9)))
    .map(([base, steps]) => [base, ...steps.map((step) => base * (1 + step * 2 ** -50))]);
  fc.assert(
    fc.property(fc.oneof(fc.array(value, { minLength: 1 }), near), (values) => {
      const { minimum, maximum } = histogramOf(values);
      const { from, width, counts } = histogramOf(values).bars();
      expect([minimum, maximum]).toEqual([values.toSorted((a, b) => a - b)[0], values.toSorted((a, b) => b - a)[0]]);
      expect(counts.length).toBeLessThanOrEqual(32);
      expect(counts.reduce((sum, count) => sum + count, 0)).toBe(values.length);
      expect(minimum).toBeGreaterThanOrEqual(from);
      expect(maximum).toBeLessThanOrEqual(from + width * counts.length);
      counts.forEach((count, i) => {
        const inside = values.filter((each) => Math.floor(each / width) === Math.floor(from / width) + i).length;
        expect(count).toBe(inside);
      });
      expect(histogramOf([...values].reverse()).bars()).toEqual({ from, width, counts });
    }),
  );
});

test('duplicates: all are found while they are few, and estimated the same in every order beyond', () => {
  const digest = (i: number) => hash('sha256', String(i), 'buffer').readUIntBE(0, 6);
  const rows = Array.from({ length: 3000 }, (_, i) => ({ digest: digest(i % 2000), split: SPLITS[i % 3] ?? 'train' }));
  const find = (order: typeof rows, most?: number) => {
    const finder = new DuplicateFinder(most);
    for (const row of order) finder.add(row.digest, row.split);
    return finder.result();
  };
  // Of 2000 different rows 1000 come twice, in splits i and i + 2000: the second is two further on.
  expect(find(rows)).toEqual({ repeated: 1000, leaked: expect.any(Number), oneIn: 1 });
  expect(find(rows).leaked).toBe(667);
  const estimate = find(rows, 256);
  expect(estimate.oneIn).toBeGreaterThan(1);
  expect(Math.abs(estimate.repeated - 1000)).toBeLessThan(300);
  expect(find([...rows].reverse(), 256)).toEqual(estimate);
});
