import { expect, test } from 'vitest';
import type { DatasetSchema, RowCoding } from '../../../runtime/statements/manifest.ts';
import { normaliser } from '../../../runtime/training/feed.ts';
import { rowEncoder } from '../../../scripts/model/row-encoder.ts';
import { rejection } from '../../runtime/rejection.ts';

const SCHEMA: DatasetSchema = {
  columns: ['age', 'weight'],
  featureCount: 2,
  dtype: 'float32',
  label: 'ill',
  classes: ['no', 'yes'],
  normalisation: { kind: 'none' },
};
const coded = (columns: readonly string[], coding: RowCoding): DatasetSchema => ({
  ...SCHEMA,
  columns,
  featureCount: columns.length,
  coding,
});
const encoded = (schema: DatasetSchema, header: readonly string[], cells: readonly string[]) => {
  const target = new Float32Array(2 * schema.featureCount).fill(9);
  rowEncoder(schema, header, 'rows.csv').encode(cells, 'rows.csv line 2', target, 1);
  return [...target.subarray(schema.featureCount)];
};

test('columns are found by name, whatever their order and case; others are left out', () => {
  expect(encoded(SCHEMA, ['ill', 'Weight', 'x', 'age'], ['yes', '70.5', 'z', '30'])).toEqual([30, 70.5]);
});

test('normalisation is that of the training, for bytes too', () => {
  const normalisation = { kind: 'standard', mean: [30, 70], deviation: [10, 3] } as const;
  expect(encoded({ ...SCHEMA, normalisation }, ['age', 'weight'], ['40', '71'])).toEqual([1, Math.fround(1 / 3)]);
  const bytes = { ...SCHEMA, dtype: 'uint8', normalisation: { kind: 'scale', divisor: 255 } } as const;
  const trained = new Float32Array(2);
  normaliser(bytes)(Uint8Array.of(7, 201), 0, trained, 0);
  expect(encoded(bytes, ['age', 'weight'], ['7', '201'])).toEqual([...trained]);
});

const ONE_HOT = coded(['age', 'town=A', 'town=B', 'weight'], {
  names: 'one-hot',
  categories: { town: ['A', 'B'] },
  fill: { age: 41 },
});
test.each([
  [
    ['30', 'B', '70'],
    [30, 0, 1, 70],
  ],
  [
    ['', 'A', '70'],
    [41, 1, 0, 70],
  ],
  [
    ['30', 'C', '70'],
    [30, 0, 0, 70],
  ],
])('one-hot: %j', (cells, expected) => {
  expect(encoded(ONE_HOT, ['age', 'town', 'weight'], cells)).toEqual(expected);
});

test.each([
  ['A', 1],
  [' B ', 2],
  ['C', 0],
  ['', 0],
])('ordinal: %j is %i', (town, code) => {
  const schema = coded(['town', 'age'], { names: 'ordinal', categories: { town: ['A', 'B'] }, fill: {} });
  expect(encoded(schema, ['age', 'town'], ['30', town])).toEqual([code, 30]);
});

test('what is missing or no number is named by line and column, never by value', () => {
  expect(() => encoded(SCHEMA, ['age', 'height'], ['1', '2'])).toThrow(
    rejection('CONFIG_INVALID', 'rows.csv: found no column weight; columns: age, height'),
  );
  expect(() => encoded(ONE_HOT, ['age', 'weight'], ['1', '2'])).toThrow(
    rejection('CONFIG_INVALID', 'rows.csv: found no column town'),
  );
  expect(() => encoded(SCHEMA, ['age', 'weight'], ['30', 'secret'])).toThrow(
    rejection('CONFIG_INVALID', 'rows.csv line 2, column weight: found something else, wanted a number'),
  );
  expect(() => encoded(SCHEMA, ['age', 'weight'], ['30', ''])).toThrow(
    rejection('CONFIG_INVALID', 'rows.csv line 2, column weight: found nothing, wanted a number'),
  );
  expect(() => encoded(SCHEMA, ['age', 'weight'], ['30', '1e39'])).toThrow('wanted a number');
});
