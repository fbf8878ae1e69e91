import { expect, test } from 'vitest';
import { createFeed, type FeedOptions, normaliser } from '../../../runtime/training/feed.ts';
import type { InputSchema } from '../../../runtime/training/frames.ts';

const schema: InputSchema = { featureCount: 1, dtype: 'uint8', classes: ['a'], normalisation: { kind: 'none' } };
const shardRows = [3, 7, 1, 0, 6];

/** Each row's one feature is its number in the dataset, so that rows can be told apart. */
function options(change: Partial<FeedOptions> = {}): FeedOptions {
  return {
    seed: 9,
    epochs: 2,
    shardRows,
    bufferRows: 8,
    batchRows: 4,
    schema,
    from: { epoch: 0, row: 0 },
    async fetch(shard) {
      const first = shardRows.slice(0, shard).reduce((sum, rows) => sum + rows, 0);
      const rows = shardRows[shard] ?? 0;
      return { rows, features: Uint8Array.from({ length: rows }, (_, i) => first + i), labels: new Int32Array(rows) };
    },
    ...change,
  };
}

async function epochOf(feed: ReturnType<typeof createFeed>): Promise<number[][]> {
  const batches: number[][] = [];
  for (let batch = await feed.next(); batch !== undefined; batch = await feed.next()) {
    batches.push([...batch.features.subarray(0, batch.rows)]);
  }
  return batches;
}

test('batches cross shards and windows, each row once an epoch, the last batch short', async () => {
  const feed = createFeed(options());
  const epochs = [await epochOf(feed), await epochOf(feed)];
  for (const batches of epochs) {
    expect(batches.map((batch) => batch.length)).toEqual([4, 4, 4, 4, 1]);
    expect(batches.flat().sort((a, b) => a - b)).toEqual([...Array(17).keys()]);
  }
  expect(epochs[0]).not.toEqual(epochs[1]);
});

test('going on after any batch gives the batches that are left', async () => {
  const whole = createFeed(options());
  const first = await epochOf(whole);
  const second = await epochOf(whole);
  for (let done = 0; done <= first.length; done++) {
    const row = Math.min(done * 4, 17);
    const feed = createFeed(options({ from: { epoch: 0, row } }));
    expect(await epochOf(feed)).toEqual(first.slice(done));
    expect(await epochOf(feed)).toEqual(second);
  }
});

test('mixed by weight: each shard gives what it is to, rows once more or left out are others each epoch', async () => {
  const drawn = [7, 3, 2, 0, 6];
  const feed = createFeed(options({ drawn, epochs: 3 }));
  const epochs = [await epochOf(feed), await epochOf(feed), await epochOf(feed)].map((batches) => batches.flat());
  const starts = [0, 3, 10, 11, 11];
  for (const rows of epochs) {
    expect(rows).toHaveLength(18);
    drawn.forEach((count, shard) => {
      const [start, size] = [starts[shard] ?? 0, shardRows[shard] ?? 0];
      const own = rows.filter((row) => row >= start && row < start + size);
      expect(own).toHaveLength(count);
      const times = Array.from({ length: size }, (_, i) => own.filter((row) => row === start + i).length);
      for (const each of times) expect([Math.floor(count / size), Math.ceil(count / size)]).toContain(each);
    });
  }
  const left = (rows: readonly number[]) =>
    [...Array(10).keys()].filter((row) => row >= 3 && !rows.includes(row)).join();
  expect(new Set(epochs.map(left)).size).toBeGreaterThan(1);
});

test('mixed by weight: going on after any batch gives the batches that are left', async () => {
  const drawn = [7, 3, 2, 0, 6];
  const whole = createFeed(options({ drawn }));
  const first = await epochOf(whole);
  const second = await epochOf(whole);
  for (let done = 0; done <= first.length; done++) {
    const feed = createFeed(options({ drawn, from: { epoch: 0, row: Math.min(done * 4, 18) } }));
    expect(await epochOf(feed)).toEqual(first.slice(done));
    expect(await epochOf(feed)).toEqual(second);
  }
});

test('a shard that cannot be had ends the feed with its error', async () => {
  const feed = createFeed(options({ fetch: () => Promise.reject(new Error('gone')) }));
  await expect(feed.next()).rejects.toThrow('gone');
});

test.each<[string, Partial<InputSchema>, number[], number[]]>([
  ['bytes as they are', {}, [0, 255], [0, 255]],
  ['bytes divided', { normalisation: { kind: 'scale', divisor: 255 } }, [51, 255], [Math.fround(0.2), 1]],
  ['standard score', { normalisation: { kind: 'standard', mean: [10, 4], deviation: [2, 0] } }, [14, 4], [2, 0]],
  ['floats as they are', { dtype: 'float32' }, [0.5, -1], [0.5, -1]],
  ['floats divided', { dtype: 'float32', normalisation: { kind: 'scale', divisor: 2 } }, [0.5, -1], [0.25, -0.5]],
])('normalises: %s', (_, change, values, expected) => {
  const shape = { ...schema, featureCount: 2, ...change };
  const source = shape.dtype === 'uint8' ? Uint8Array.of(9, 9, ...values) : Float32Array.of(9, 9, ...values);
  const target = new Float32Array(4);
  normaliser(shape)(source, 1, target, 1);
  expect([...target]).toEqual([0, 0, ...expected]);
});
