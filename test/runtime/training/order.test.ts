import fc from 'fast-check';
import { expect, test } from 'vitest';
import { epochOrder, rowOrder, windowsFrom } from '../../../runtime/training/order.ts';

const shardRows = fc.array(fc.integer({ min: 0, max: 60 }), { maxLength: 12 });
const seed = fc.integer({ min: 0, max: 2 ** 31 - 1 });
const buffer = fc.integer({ min: 1, max: 200 });

test('known order: a change here makes old checkpoints go on with other rows', () => {
  const windows = epochOrder(42, 1, [10, 20, 30, 5], 40);
  expect(windows.map(({ shards, rows, firstRow }) => ({ shards, rows, firstRow }))).toMatchInlineSnapshot(`
    [
      {
        "firstRow": 0,
        "rows": 35,
        "shards": [
          3,
          2,
        ],
      },
      {
        "firstRow": 35,
        "rows": 30,
        "shards": [
          1,
          0,
        ],
      },
    ]
  `);
  const order = rowOrder(42, { epoch: 0, index: 0, shards: [0], rows: 8, firstRow: 0 });
  expect([...order]).toMatchInlineSnapshot(`
    [
      0,
      7,
      4,
      1,
      3,
      5,
      6,
      2,
    ]
  `);
});

test('every row of every epoch is learned once, whatever the sizes', () => {
  fc.assert(
    fc.property(seed, shardRows, buffer, (value, rows, bufferRows) => {
      for (const epoch of [0, 1]) {
        const windows = epochOrder(value, epoch, rows, bufferRows);
        const shards = windows.flatMap((window) => window.shards).filter((shard) => rows[shard]);
        expect(shards.toSorted((a, b) => a - b)).toEqual([...rows.keys()].filter((shard) => rows[shard]));
        let firstRow = 0;
        for (const window of windows) {
          expect(window.firstRow).toBe(firstRow);
          expect(
            window.rows <= bufferRows ||
              window.shards.length === 1 ||
              window.shards.some((s) => (rows[s] ?? 0) > bufferRows),
          ).toBe(true);
          expect([...rowOrder(value, window)].sort((a, b) => a - b)).toEqual([...Array(window.rows).keys()]);
          firstRow += window.rows;
        }
      }
    }),
  );
});

test('epochs and seeds differ', () => {
  const window = { epoch: 0, index: 0, shards: [0], rows: 100, firstRow: 0 };
  const first = rowOrder(1, window).join();
  expect(rowOrder(1, window).join()).toBe(first);
  expect(rowOrder(2, window).join()).not.toBe(first);
  expect(rowOrder(1, { ...window, epoch: 1 }).join()).not.toBe(first);
  expect(rowOrder(1, { ...window, index: 1 }).join()).not.toBe(first);
});

test('going on from any row names the windows that are left, the started one included', () => {
  const rows = [5, 9, 3, 7];
  const all = [...windowsFrom(3, 2, rows, 10, { epoch: 0, row: 0 })];
  for (let row = 0; row <= 24; row++) {
    const left = [...windowsFrom(3, 2, rows, 10, { epoch: 0, row })];
    expect(left).toEqual(all.filter(({ epoch, firstRow, rows: count }) => epoch > 0 || firstRow + count > row));
  }
  expect([...windowsFrom(3, 2, rows, 10, { epoch: 1, row: 24 })]).toEqual([]);
});
