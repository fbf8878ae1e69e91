import { expect, test } from 'vitest';
import { fillWithNoise, poissonSample } from '../../../../runtime/training/privacy/noise.ts';

// Bounds are six standard errors: a sound generator fails one of them about once in a hundred million runs.
test('noise is normal: mean, deviation, tails, and no value like its neighbour', () => {
  const values = new Float32Array(200_000);
  fillWithNoise(values, 3);
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / n;
  const beyondTwo = values.reduce((count, value) => count + (Math.abs(value) > 6 ? 1 : 0), 0) / n;
  const lagged = values.reduce((sum, value, i) => sum + value * (values[i + 1] ?? 0), 0) / n;
  expect(Math.abs(mean)).toBeLessThan((6 * 3) / Math.sqrt(n));
  expect(Math.abs(variance / 9 - 1)).toBeLessThan(6 * Math.sqrt(2 / n));
  expect(Math.abs(beyondTwo - 0.0455)).toBeLessThan(6 * Math.sqrt(0.0455 / n));
  expect(Math.abs(lagged / 9)).toBeLessThan(6 / Math.sqrt(n));
});

test('no two calls give the same noise', () => {
  const [a, b] = [new Float32Array(8), new Float32Array(8)];
  fillWithNoise(a, 1);
  fillWithNoise(b, 1);
  expect(a).not.toEqual(b);
});

test('each row is sampled by itself, as often as the rate says', () => {
  const rows = 1000;
  const rate = 0.03;
  const rounds = 3000;
  const counts = new Array<number>(rows).fill(0);
  let squares = 0;
  for (let round = 0; round < rounds; round++) {
    const sample = poissonSample(rows, rate);
    squares += sample.length ** 2;
    expect(new Set(sample).size).toBe(sample.length);
    for (const row of sample) counts[row] = (counts[row] ?? 0) + 1;
  }
  const mean = counts.reduce((sum, count) => sum + count, 0) / rounds;
  expect(Math.abs(mean - rows * rate)).toBeLessThan(6 * Math.sqrt((rows * rate * (1 - rate)) / rounds));
  // Sizes vary as a binomial's do: batches of one size would have no variance, and no proof.
  const variance = squares / rounds - mean ** 2;
  expect(variance / (rows * rate * (1 - rate))).toBeGreaterThan(0.8);
  expect(variance / (rows * rate * (1 - rate))).toBeLessThan(1.2);
  // The first and the last row are in as often as any other.
  const error = 6 * Math.sqrt((rate * (1 - rate)) / rounds);
  for (const at of [0, 1, rows - 2, rows - 1]) expect(Math.abs((counts[at] ?? 0) / rounds - rate)).toBeLessThan(error);
});

test('a rate of one takes every row', () => {
  expect(poissonSample(4, 1)).toEqual(Uint32Array.of(0, 1, 2, 3));
  expect(poissonSample(0, 0.5)).toEqual(new Uint32Array());
});
