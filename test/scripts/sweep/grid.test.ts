import fc from 'fast-check';
import { expect, test } from 'vitest';
import { combinations, drawn, parseAxis, settings } from '../../../scripts/sweep/grid.ts';

test('every combination once, the last field changing fastest', () => {
  const axes = ['training.seed=1,2', 'training.schedule=cosine, constant'].map(parseAxis);
  expect(combinations(axes).map(settings)).toEqual([
    ['training.seed=1', 'training.schedule=cosine'],
    ['training.seed=1', 'training.schedule=constant'],
    ['training.seed=2', 'training.schedule=cosine'],
    ['training.seed=2', 'training.schedule=constant'],
  ]);
});

test('what is drawn are combinations, none twice, and a seed draws the same ones', () => {
  const axes = fc.array(fc.uniqueArray(fc.nat(50).map(String), { minLength: 1, maxLength: 5 }), {
    minLength: 1,
    maxLength: 4,
  });
  fc.assert(
    fc.property(axes, fc.nat(30), fc.nat(), (values, count, seed) => {
      const all = combinations(values.map((each, i) => ({ field: `training.f${i}`, values: each })));
      expect(new Set(all.map((each) => JSON.stringify(each))).size).toBe(all.length);
      const some = drawn(all, count, seed);
      expect(some).toHaveLength(Math.min(count, all.length));
      expect(new Set(some).size).toBe(some.length);
      expect(some.every((each) => all.includes(each))).toBe(true);
      expect(drawn(all, count, seed)).toEqual(some);
    }),
  );
});

test.each([
  ['training.seed', '--grid: found "training.seed", wanted training.<field>=<value>,<value>'],
  ['training.seed=1,,2', '--grid: found "training.seed=1,,2", wanted training.<field>=<value>,<value>'],
  ['training.seed=1,1', '--grid: training.seed: a value stands there twice'],
  ['training.model=./a.ts,./b.ts', '--grid: training.model is not one to vary: wanted a number or a choice'],
  ['training.epoch=1', '--set: training.epoch: unknown key, did you mean training.epochs?'],
  ['training.epochs=1,many', '--set: training.epochs: found "many", wanted a whole number from 0 to 100000'],
])('refuses %s', (axis, message) => {
  expect(() => parseAxis(axis)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID', message }));
});

test.each([
  [[], '--grid: found no field, wanted 1 to 10000'],
  [['training.seed=1', 'training.seed=2'], '--grid: training.seed is given twice'],
])('refuses the axes %j', (axes, message) => {
  expect(() => combinations(axes.map(parseAxis))).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID', message }));
});

test('refuses more than anybody would wait for', () => {
  const axis = (field: string) => ({ field, values: Array.from({ length: 101 }, (_, i) => String(i)) });
  expect(() => combinations([axis('a'), axis('b')])).toThrow('--grid: found 10201 combinations, wanted 1 to 10000');
});
