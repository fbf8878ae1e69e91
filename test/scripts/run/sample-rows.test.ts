import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { DatasetSchema } from '../../../runtime/statements/manifest.ts';
import { rowEncoder } from '../../../scripts/model/row-encoder.ts';
import { sampleRows } from '../../../scripts/run/sample-rows.ts';

const SCHEMA: DatasetSchema = {
  columns: ['age', 'town=A', 'town=B', 'dose'],
  featureCount: 4,
  dtype: 'float32',
  label: 'ill',
  classes: ['no', 'yes', 'unknown'],
  normalisation: { kind: 'standard', mean: [50, 0, 0, -3], deviation: [10, 1, 1, 0.5] },
  coding: { names: 'one-hot', categories: { town: ['A', 'B'] }, fill: {} },
};

test('the same seed makes the same rows, another one others', () => {
  expect(sampleRows(SCHEMA, 9, 1)).toEqual(sampleRows(SCHEMA, 9, 1));
  expect(sampleRows(SCHEMA, 9, 1).cells).not.toEqual(sampleRows(SCHEMA, 9, 2).cells);
});

test('every class as often, names that are known, numbers around the mean', () => {
  const { header, cells, labels } = sampleRows(SCHEMA, 300, 42);
  expect(header).toEqual(['age', 'town', 'dose', 'ill']);
  expect([0, 1, 2].map((label) => labels.filter((each) => each === label).length)).toEqual([100, 100, 100]);
  expect([...new Set(cells.map((row) => row[1]))].sort()).toEqual(['A', 'B']);
  const ages = cells.map((row) => Number(row[0]));
  const mean = ages.reduce((sum, age) => sum + age, 0) / ages.length;
  expect([mean > 40, mean < 60, Math.max(...ages) > 60, Math.min(...ages) < 40]).toEqual([true, true, true, true]);
});

test.each(['one-hot', 'ordinal'] as const)('%s: the table says what the features say', (names) => {
  const columns = names === 'one-hot' ? SCHEMA.columns : ['age', 'town', 'dose'];
  const schema: DatasetSchema = {
    ...SCHEMA,
    columns,
    featureCount: columns.length,
    normalisation: { kind: 'none' },
    coding: { names, categories: { town: ['A', 'B'] }, fill: {} },
  };
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 31 - 1 }), (seed) => {
      const { header, cells, features } = sampleRows(schema, 6, seed);
      const encoder = rowEncoder(schema, header, 'sample');
      const target = new Float32Array(features.length);
      cells.forEach((row, i) => {
        encoder.encode(row, `row ${i}`, target, i);
      });
      expect(target).toEqual(features);
    }),
    { numRuns: 20 },
  );
});

test.each<[DatasetSchema['normalisation'], number]>([
  [{ kind: 'scale', divisor: 16 }, 16],
  [{ kind: 'none' }, 255],
  [{ kind: 'standard', mean: [250, 1], deviation: [90, 90] }, 255],
])('bytes stay whole numbers within %j', (normalisation, top) => {
  const { coding: _, ...plain } = SCHEMA;
  const schema: DatasetSchema = { ...plain, columns: ['a', 'b'], featureCount: 2, dtype: 'uint8', normalisation };
  const { cells, features } = sampleRows(schema, 200, 3);
  const values = cells.flatMap((row) => row.slice(0, 2).map(Number));
  expect(values).toEqual([...features]);
  expect(values.every((value) => Number.isInteger(value) && value >= 0 && value <= top)).toBe(true);
  expect(new Set(values).size).toBeGreaterThan(5);
});
