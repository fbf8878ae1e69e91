import fc from 'fast-check';
import { expect, test } from 'vitest';
import { apportion, type MixedShard, mixedRows } from '../../runtime/mixture.ts';
import { rejection } from './rejection.ts';

const shard = (dataset: string, rows: number, ownerId = 'one'): MixedShard => ({ rows, ownerId, dataset });
const SHARDS = [shard('a', 300), shard('a', 100), shard('b', 60), shard('b', 40)];

test('without weights every row comes once', () => {
  expect(mixedRows(SHARDS, undefined)).toBeUndefined();
});

test('an epoch stays as long; a dataset gives its share, its shards by their rows', () => {
  expect(mixedRows(SHARDS, { a: 1, b: 1 })).toEqual([188, 62, 150, 100]);
  expect(mixedRows(SHARDS, { b: 0.3, a: 0.1 })).toEqual([94, 31, 225, 150]);
});

test('whatever the datasets: lengths add up, and shares are the weights’ to one row', () => {
  const datasets = fc.array(
    fc.record({
      shards: fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 4 }),
      weight: fc.integer({ min: 1, max: 1000 }),
    }),
    { minLength: 1, maxLength: 5 },
  );
  fc.assert(
    fc.property(datasets, (given) => {
      const shards = given.flatMap(({ shards: rows }, i) => rows.map((count) => shard(`d${i}`, count)));
      const weights = Object.fromEntries(given.map(({ weight }, i) => [`d${i}`, weight]));
      const drawn = mixedRows(shards, weights) ?? [];
      const total = shards.reduce((sum, { rows }) => sum + rows, 0);
      const all = given.reduce((sum, { weight }) => sum + weight, 0);
      expect(drawn.reduce((sum, rows) => sum + rows, 0)).toBe(total);
      given.forEach(({ weight }, i) => {
        const own = drawn.filter((_, at) => shards[at]?.dataset === `d${i}`).reduce((sum, rows) => sum + rows, 0);
        expect(Math.abs(own - (total * weight) / all)).toBeLessThan(1);
      });
    }),
  );
});

test('what is left over goes to the largest remainders', () => {
  expect(apportion(10, [1, 1, 1])).toEqual([4, 3, 3]);
  expect(apportion(10, [0, 0])).toEqual([0, 0]);
  expect(apportion(0, [1, 2])).toEqual([0, 0]);
});

test('two owners may use one name; each is then named with its owner', () => {
  const shards = [shard('a', 10), shard('a', 30, 'two')];
  expect(mixedRows(shards, { 'one/a': 1, 'two/a': 1 })).toEqual([20, 20]);
});

test.each<[string, readonly MixedShard[], Record<string, number>, string]>([
  [
    'a dataset that is not there',
    SHARDS,
    { a: 1, b: 1, aa: 1 },
    'dataset_weights.aa: no dataset of the agreement, did you mean a?',
  ],
  ['a dataset without one', SHARDS, { a: 1 }, 'training.dataset_weights.b: has no weight'],
  [
    'a name of two',
    [shard('a', 1), shard('a', 1, 'two')],
    { a: 1 },
    'dataset_weights.a: of 2 owners, wanted one/a or two/a',
  ],
])('refuses a weight of %s', (_, shards, weights, message) => {
  expect(() => mixedRows(shards, weights)).toThrow(rejection('CONFIG_INVALID', message));
});
