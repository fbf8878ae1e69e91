import { extname } from 'node:path';
import { SecureTrainingError } from '../errors.ts';
import type { DatasetSchema, Split } from '../statements/manifest.ts';
import { readArrowFile } from './arrow-file.ts';
import {
  allocateFeatures,
  allocateLabels,
  type FeatureArray,
  featureType,
  type LabelArray,
  type Rows,
} from './arrow-shard.ts';
import { type Cell, cellNumber } from './prepare/cells.ts';
import { canonicalLabel } from './prepare/labels.ts';
import { openTable } from './prepare/open-table.ts';
import type { Table } from './prepare/table.ts';

const BYTE_MAXIMUM = 255;

/**
 * Rows of a prepared file (csv, Arrow or Parquet) in file order, `rowsPerShard` at a time and fewer in the last piece. Each piece is
 * fresh memory; no more than two are held.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when the file does not hold what its `dataset.json` says
 */
export async function* readPreparedRows(
  path: string,
  schema: DatasetSchema,
  split: Split,
  rowsPerShard: number,
): AsyncGenerator<Rows> {
  const source = rowsOf(path, schema, split);
  let shard = new ShardBuilder(schema, rowsPerShard);
  for await (const { features, labels, featureCount } of source) {
    for (let taken = 0; taken < labels.length; ) {
      const count = Math.min(shard.room, labels.length - taken);
      shard.add(
        features.subarray(taken * featureCount, (taken + count) * featureCount),
        labels.subarray(taken, taken + count),
      );
      taken += count;
      if (shard.room > 0) continue;
      yield shard.rows();
      shard = new ShardBuilder(schema, rowsPerShard);
    }
  }
  if (shard.length > 0) yield shard.rows();
}

class ShardBuilder {
  length = 0;
  readonly #featureCount: number;
  readonly #features: FeatureArray;
  readonly #labels: LabelArray;

  constructor({ featureCount, dtype, classes }: DatasetSchema, capacity: number) {
    this.#featureCount = featureCount;
    this.#features = allocateFeatures(capacity, featureCount, dtype);
    this.#labels = allocateLabels(capacity, classes);
  }

  get room(): number {
    return this.#labels.length - this.length;
  }

  add(features: FeatureArray, labels: LabelArray): void {
    this.#features.set(features, this.length * this.#featureCount);
    this.#labels.set(labels, this.length);
    this.length += labels.length;
  }

  rows(): Rows {
    return {
      features: this.#features.subarray(0, this.length * this.#featureCount),
      featureCount: this.#featureCount,
      labels: this.#labels.subarray(0, this.length),
    };
  }
}

async function* rowsOf(path: string, schema: DatasetSchema, split: Split): AsyncGenerator<Rows> {
  const extension = extname(path);
  if (extension === '.arrow') yield* arrowRows(path, schema, split);
  else yield* tableRows(path, await openTable(path, extension === '.parquet' ? 'parquet' : 'csv'), schema);
}

async function* arrowRows(path: string, schema: DatasetSchema, split: Split): AsyncGenerator<Rows> {
  for await (const rows of readArrowFile(path)) {
    if (rows.split !== split) throw invalid(path, `found rows of split ${rows.split}, wanted ${split}`);
    if (rows.featureCount !== schema.featureCount || featureType(rows.features) !== schema.dtype) {
      throw invalid(
        path,
        `found ${rows.featureCount} features of ${featureType(rows.features)}, wanted ${schema.featureCount} of ${schema.dtype}`,
      );
    }
    const bad =
      schema.classes.length === 0
        ? rows.labels.findIndex((label) => !Number.isFinite(label))
        : rows.labels.findIndex((label) => label < 0 || label >= schema.classes.length);
    if (bad >= 0) throw invalid(path, `found a label outside its ${schema.classes.length} classes`);
    yield rows;
  }
}

async function* tableRows(path: string, table: Table, schema: DatasetSchema): AsyncGenerator<Rows> {
  const { columns, unit } = table;
  const wanted = [schema.label, ...schema.columns];
  const missing = wanted.find((column) => !columns.includes(column));
  if (missing !== undefined) throw invalid(path, `column ${missing} of its dataset.json is missing`);
  if (columns.length !== wanted.length) throw invalid(path, `found ${columns.length} columns, wanted ${wanted.length}`);
  const labelColumn = columns.indexOf(schema.label);
  const featureColumns = schema.columns.map((column) => columns.indexOf(column));
  const classIndex = new Map(schema.classes.map((name, i) => [name, i]));
  const { featureCount, dtype } = schema;
  for await (const { rows } of table.chunks) {
    const features = allocateFeatures(rows.length, featureCount, dtype);
    const labels = allocateLabels(rows.length, schema.classes);
    const isValue = schema.classes.length === 0;
    let at = 0;
    rows.forEach(({ cells, place, problem }, r) => {
      const where = `${path} ${unit} ${place}`;
      if (problem !== undefined) throw invalid(where, problem);
      const cell = cells[labelColumn] ?? '';
      const label = isValue ? labelValue(cell) : classIndex.get(canonicalLabel(String(cell)));
      if (label === undefined) {
        const wanted = isValue ? 'found no number for a label' : `found a label outside its ${classIndex.size} classes`;
        throw invalid(`${where}, column ${schema.label}`, wanted);
      }
      labels[r] = label;
      for (const column of featureColumns) {
        const value = numberOf(cells[column] ?? '');
        if (!fits(value, dtype))
          throw invalid(`${where}, column ${columns[column]}`, `found no number of type ${dtype}`);
        features[at++] = value;
      }
    });
    yield { features, featureCount, labels };
  }
}

function numberOf(cell: Cell): number {
  return typeof cell === 'number' ? cell : cellNumber(cell);
}

function labelValue(cell: Cell): number | undefined {
  const value = numberOf(cell);
  return Number.isFinite(Math.fround(value)) ? value : undefined;
}

function fits(value: number, dtype: DatasetSchema['dtype']): boolean {
  if (dtype === 'float32') return Number.isFinite(Math.fround(value));
  return value >= 0 && value <= BYTE_MAXIMUM && Number.isInteger(value);
}

function invalid(where: string, message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', `${where}: ${message}`);
}
