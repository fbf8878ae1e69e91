import { expect, test } from 'vitest';
import { poissonFeed } from '../../../../runtime/training/privacy/poisson-feed.ts';

/** Row i of all is `[i, i]` with label i. */
const schema = {
  featureCount: 2,
  dtype: 'float32',
  classes: Array.from({ length: 60 }, (_, i) => String(i)),
  normalisation: { kind: 'scale', divisor: 2 },
} as const;
const shards = [10, 20, 30];
const asked: number[] = [];
const fetch = async (shard: number) => {
  asked.push(shard);
  const first = shards.slice(0, shard).reduce((sum, rows) => sum + rows, 0);
  const rows = shards[shard] ?? 0;
  return {
    features: Float32Array.from({ length: rows * 2 }, (_, i) => first + Math.floor(i / 2)),
    labels: Int32Array.from({ length: rows }, (_, i) => first + i),
    rows,
  };
};
const options = { shards, schema, steps: 400, done: 0, fetch };

test('each row is in as often as it should be, with its own label, and each shard is read once', async () => {
  const feed = await poissonFeed({ ...options, sampleRate: 0.25 });
  expect(asked.splice(0)).toEqual([0, 1, 2]);
  const counts = new Array<number>(60).fill(0);
  for (let batch = await feed.next(); batch !== undefined; batch = await feed.next()) {
    for (let i = 0; i < batch.rows; i++) {
      const label = batch.labels[i] ?? -1;
      expect(batch.features[2 * i]).toBe(label / 2);
      counts[label] = (counts[label] ?? 0) + 1;
    }
    expect(new Set(batch.labels).size).toBe(batch.rows);
  }
  // 400 draws at 0.25: mean 100, deviation 8.7; seven deviations are beyond what a run of this test will see.
  for (const count of counts) expect(Math.abs(count - 100)).toBeLessThan(61);
  expect(asked).toEqual([]);
});

test('an epoch ends after its steps, those done before counted, and the next one is whole', async () => {
  const feed = await poissonFeed({ ...options, steps: 5, done: 3, sampleRate: 1 });
  const rows = async () => (await feed.next())?.rows;
  expect([await rows(), await rows(), await rows()]).toEqual([60, 60, undefined]);
  const next: (number | undefined)[] = [];
  for (let i = 0; i < 6; i++) next.push(await rows());
  expect(next).toEqual([60, 60, 60, 60, 60, undefined]);
});
