import { tableFromArrays, tableToIPC } from 'apache-arrow';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { allocateLabels, decodeShard, encodeShard, type Rows, shardRows } from '../../../runtime/data/arrow-shard.ts';

const metadata = { version: 1, split: 'train' } as const;
const rows: Rows = { features: Uint8Array.of(0, 255, 7, 8, 9, 10), featureCount: 2, labels: Int32Array.of(2, 0, 1) };
const malformed = (message: string) =>
  expect.objectContaining({ code: 'EVIDENCE_MALFORMED', message: `shard: ${message}` });

test('gives back what was put in, as views', () => {
  const bytes = encodeShard(rows, metadata);
  const shard = decodeShard(bytes);
  expect(shard).toEqual({ ...rows, rows: 3, dtype: 'uint8', metadata });
  expect(shard.features.buffer).toBe(bytes.buffer);
});

test('labels are classes or values', () => {
  const given: Rows = { ...rows, labels: Float32Array.of(-0.5, 3.25, 1e9) };
  expect(decodeShard(encodeShard(given, metadata)).labels).toEqual(given.labels);
  expect(allocateLabels(2, [])).toEqual(new Float32Array(2));
  expect(allocateLabels(2, ['a', 'b'])).toEqual(new Int32Array(2));
});

test('round trips any rows, the same bytes each time', () => {
  const values = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 60 }),
    fc.float32Array({ minLength: 1, maxLength: 60, noNaN: true }),
  );
  fc.assert(
    fc.property(values, fc.integer({ min: 1, max: 5 }), (all, featureCount) => {
      const count = Math.floor(all.length / featureCount);
      const given: Rows = {
        features: all.slice(0, count * featureCount),
        featureCount,
        labels: Int32Array.from({ length: count }, (_, i) => i),
      };
      fc.pre(count > 0);
      const bytes = encodeShard(given, metadata);
      const { features, labels, featureCount: width } = decodeShard(bytes);
      expect({ features, labels, featureCount: width }).toEqual(given);
      expect(encodeShard(given, metadata)).toEqual(bytes);
    }),
    { numRuns: 30 },
  );
});

test('a shard cut anywhere is refused, never read as fewer rows', () => {
  const bytes = encodeShard(rows, metadata);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: bytes.length - 1 }), (length) => {
      expect(() => decodeShard(bytes.slice(0, length))).toThrow(
        expect.objectContaining({ code: 'EVIDENCE_MALFORMED' }),
      );
    }),
    { numRuns: 50 },
  );
});

test.each([
  [
    'other columns',
    tableFromArrays({ a: Int32Array.of(1), b: Int32Array.of(1) }),
    'wanted exactly the columns features and label',
  ],
  [
    'features that are no list',
    tableFromArrays({ features: Int32Array.of(1), label: Int32Array.of(1) }),
    'column features is not a fixed-size list',
  ],
  ['one column', tableFromArrays({ label: Int32Array.of(1) }), 'wanted exactly the columns features and label'],
])('refuses %s', (_, table, message) => {
  expect(() => decodeShard(tableToIPC(table, 'file'))).toThrow(malformed(message));
});

test('refuses an empty file', () => {
  expect(() => decodeShard(new Uint8Array())).toThrow(malformed('found 0 record batches, wanted 1'));
});

test('refuses rows that are not as wide as they say', () => {
  expect(() => encodeShard({ ...rows, featureCount: 3 }, metadata)).toThrow(RangeError);
});

test.each([
  [784, 'uint8', 8192],
  [784, 'float32', 5349],
  [1, 'uint8', 8192],
  [20_000_000, 'uint8', 1],
] as const)('%i features of %s fill a shard with %i rows', (featureCount, dtype, count) => {
  expect(shardRows(featureCount, dtype)).toBe(count);
});
