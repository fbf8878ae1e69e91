import {
  type Data,
  DataType,
  Field,
  FixedSizeList,
  Float32,
  Int32,
  makeData,
  RecordBatch,
  RecordBatchReader,
  Schema,
  Struct,
  Table,
  tableToIPC,
  Uint8,
} from 'apache-arrow';
import { SecureTrainingError } from '../errors.ts';

/** Column names of a shard: https://arrow.apache.org/docs/format/Columnar.html, file (random access) format. */
const FEATURES = 'features';
const LABEL = 'label';
/** Key of the schema's metadata under which {@link ShardMetadata} stands as JSON. */
const METADATA_KEY = 'ctrain';

export type FeatureType = 'uint8' | 'float32';
export type FeatureArray = Uint8Array | Float32Array;

/** Classes by their index, or values: a schema without classes has labels of float32. */
export type LabelArray = Int32Array | Float32Array;

/** Rows side by side: row `i` is `features[i * featureCount …]` with label `labels[i]`. */
export interface Rows {
  readonly features: FeatureArray;
  readonly featureCount: number;
  readonly labels: LabelArray;
}

/** Says what a shard is, inside what is sealed. */
export interface ShardMetadata {
  readonly version: 1;
  readonly split: string;
}

export interface Shard extends Rows {
  readonly rows: number;
  readonly dtype: FeatureType;
  readonly metadata: ShardMetadata;
}

/** Most rows of a shard, and most bytes of its features: four regions, what a reader holds of one shard. */
export const SHARD_ROWS = 8192;
const SHARD_BYTES = 16_777_216;

/** Rows that fill a shard: {@link SHARD_ROWS}, or fewer where rows are wide. */
export function shardRows(featureCount: number, dtype: FeatureType): number {
  const rowBytes = featureCount * (dtype === 'uint8' ? 1 : 4);
  return Math.max(1, Math.min(SHARD_ROWS, Math.floor(SHARD_BYTES / rowBytes)));
}

/** Memory for the features of so many rows. */
export function allocateFeatures(rows: number, featureCount: number, dtype: FeatureType): FeatureArray {
  return dtype === 'uint8' ? new Uint8Array(rows * featureCount) : new Float32Array(rows * featureCount);
}

/** Memory for the labels of so many rows. */
export function allocateLabels(rows: number, classes: readonly string[]): LabelArray {
  return classes.length === 0 ? new Float32Array(rows) : new Int32Array(rows);
}

/** One Arrow IPC file with one record batch; the same rows always give the same bytes. */
export function encodeShard(rows: Rows, metadata: ShardMetadata): Uint8Array {
  const schema = shardSchema(featureType(rows.features), rows.featureCount, metadata, labelType(rows.labels));
  return tableToIPC(new Table(schema, [shardBatch(schema, rows)]), 'file');
}

/**
 * Opens what {@link encodeShard} wrote. The arrays are views of `bytes` where Arrow can give them, so keep `bytes` as it is.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` on anything else than a shard; never with a value found in a row
 */
export function decodeShard(bytes: Uint8Array): Shard {
  const { schema, batches } = read(bytes);
  const [batch] = batches;
  if (batch === undefined || batches.length !== 1) throw malformed(`found ${batches.length} record batches, wanted 1`);
  return { ...batchRows(batch), rows: batch.numRows, metadata: shardMetadata(schema) };
}

export function shardSchema(
  dtype: FeatureType,
  featureCount: number,
  metadata: ShardMetadata,
  labels: Int32 | Float32 = new Int32(),
): Schema {
  const item = new Field('item', dtype === 'uint8' ? new Uint8() : new Float32(), false);
  return new Schema(
    [new Field(FEATURES, new FixedSizeList(featureCount, item), false), new Field(LABEL, labels, false)],
    new Map([[METADATA_KEY, JSON.stringify({ version: metadata.version, split: metadata.split })]]),
  );
}

export function shardBatch(schema: Schema, rows: Rows): RecordBatch {
  const length = rows.labels.length;
  if (rows.features.length !== length * rows.featureCount) {
    throw new RangeError(`${rows.features.length} features do not make ${length} rows of ${rows.featureCount}`);
  }
  const list = schema.fields[0]?.type as FixedSizeList<Uint8 | Float32>;
  const child: Data<Uint8 | Float32> =
    rows.features instanceof Uint8Array
      ? makeData({ type: new Uint8(), length: rows.features.length, nullCount: 0, data: rows.features })
      : makeData({ type: new Float32(), length: rows.features.length, nullCount: 0, data: rows.features });
  const children = [
    makeData({ type: list, length, nullCount: 0, child }),
    rows.labels instanceof Float32Array
      ? makeData({ type: new Float32(), length, nullCount: 0, data: rows.labels })
      : makeData({ type: new Int32(), length, nullCount: 0, data: rows.labels }),
  ];
  return new RecordBatch(schema, makeData({ type: new Struct(schema.fields), length, nullCount: 0, children }));
}

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` when the batch has other columns than a shard */
export function batchRows(batch: RecordBatch): Rows & { readonly dtype: FeatureType } {
  const [features, label] = batch.schema.fields;
  if (batch.schema.fields.length !== 2 || features?.name !== FEATURES || label?.name !== LABEL) {
    throw malformed(`wanted exactly the columns ${FEATURES} and ${LABEL}`);
  }
  const [list, labelData] = batch.data.children;
  const item = list?.children[0];
  if (!DataType.isFixedSizeList(features.type) || list === undefined || item === undefined) {
    throw malformed(`column ${FEATURES} is not a fixed-size list`);
  }
  if (!(isInteger(label.type, 32, true) || DataType.isFloat(label.type)) || labelData === undefined) {
    throw malformed(`column ${LABEL} is neither Int32 nor Float32`);
  }
  if (list.nullCount > 0 || item.nullCount > 0 || labelData.nullCount > 0) throw malformed('a value is null');
  const featureCount = features.type.listSize;
  const count = featureCount * batch.numRows;
  const values: unknown = item.values;
  const known = isInteger(item.type, 8, false) || DataType.isFloat(item.type);
  if (!known || !(values instanceof Uint8Array || values instanceof Float32Array)) {
    throw malformed(`column ${FEATURES} holds neither Uint8 nor Float32`);
  }
  const labels: unknown = labelData.values;
  if (
    !(labels instanceof Int32Array || labels instanceof Float32Array) ||
    values.length < count ||
    labels.length < batch.numRows
  ) {
    throw malformed(`columns are shorter than ${batch.numRows} rows`);
  }
  return {
    features: values.subarray(0, count),
    featureCount,
    labels: labels.subarray(0, batch.numRows),
    dtype: values instanceof Uint8Array ? 'uint8' : 'float32',
  };
}

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` when the schema does not carry our metadata */
export function shardMetadata(schema: Schema): ShardMetadata {
  const text = schema.metadata.get(METADATA_KEY);
  try {
    const value: unknown = JSON.parse(text ?? '');
    if (typeof value === 'object' && value !== null && 'version' in value && 'split' in value) {
      if (value.version === 1 && typeof value.split === 'string') return { version: 1, split: value.split };
    }
  } catch {
    // Falls through to the one message for every way in which it can be wrong.
  }
  throw malformed(`schema metadata ${METADATA_KEY} is missing or not version 1`);
}

/** Arrow gives read columns the general `Int`, never its subclasses. */
function isInteger(type: DataType, bits: number, signed: boolean): boolean {
  return DataType.isInt(type) && type.bitWidth === bits && type.isSigned === signed;
}

function labelType(labels: LabelArray): Int32 | Float32 {
  return labels instanceof Float32Array ? new Float32() : new Int32();
}

export function featureType(features: FeatureArray): FeatureType {
  return features instanceof Uint8Array ? 'uint8' : 'float32';
}

function read(bytes: Uint8Array): { schema: Schema; batches: RecordBatch[] } {
  try {
    const reader = RecordBatchReader.from(bytes);
    reader.open();
    return { schema: reader.schema, batches: [...reader] };
  } catch (cause) {
    // Arrow's own message may quote bytes it stumbled over: it stays in the cause.
    throw malformed('it is not an Arrow IPC file', cause);
  }
}

function malformed(message: string, cause?: unknown): SecureTrainingError {
  return new SecureTrainingError('EVIDENCE_MALFORMED', `shard: ${message}`, { cause });
}
