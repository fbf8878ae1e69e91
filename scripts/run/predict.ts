import { createRequire } from 'node:module';
import { dirname, extname } from 'node:path';
import { readArrowFile } from '../../runtime/data/arrow-file.ts';
import { featureType } from '../../runtime/data/arrow-shard.ts';
import { csvCell } from '../../runtime/data/prepare/cells.ts';
import { openTable, tableTypeOf } from '../../runtime/data/prepare/open-table.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import type { DatasetSchema } from '../../runtime/statements/manifest.ts';
import { startBackend } from '../../runtime/training/backend.ts';
import { normaliser } from '../../runtime/training/feed.ts';
import { loadPredictor } from '../../runtime/training/predictor.ts';
import type { OpenedModel } from '../model/opened-model.ts';
import { rowEncoder } from '../model/row-encoder.ts';

/** Rows that go through the model at once. */
const BATCH_ROWS = 1024;
/** Float32 has no more. */
const DIGITS = 7;

export interface Prediction {
  /** Of the row in a text file; else its number, from 1. */
  readonly line: number;
  /** The most probable class. */
  readonly prediction: string;
  /** One for each of {@link classNames}. */
  readonly probabilities: readonly number[];
}

/** Names of a model's outputs; one that no class of the data stands for is called by its number. */
export function classNames({ preprocessing, content }: OpenedModel): readonly string[] {
  const { classes } = preprocessing.schema;
  return Array.from({ length: content.configuration.training.output_size }, (_, i) => classes[i] ?? `output ${i}`);
}

/**
 * Predicts the rows of a file, in its order and in flat memory: a table as the owner had it (no label is needed), or an
 * Arrow file that `prepare-data` wrote.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for a column that is missing or a cell that is no number, by line and column
 */
export async function* predictRows(model: OpenedModel, inputPath: string): AsyncGenerator<Prediction[]> {
  const { schema } = model.preprocessing;
  const names = classNames(model);
  await startBackend({ wasmDir: wasmFolder() });
  const predictor = await loadPredictor(model);
  try {
    if (predictor.inputs !== schema.featureCount || predictor.outputs !== names.length) {
      const message = `model of ${predictor.inputs} inputs and ${predictor.outputs} outputs, wanted ${schema.featureCount} and ${names.length}`;
      throw new SecureTrainingError('EVIDENCE_MALFORMED', message);
    }
    const isArrow = extname(inputPath).toLowerCase() === '.arrow';
    for await (const { places, features } of isArrow ? arrowRows(schema, inputPath) : tableRows(schema, inputPath)) {
      const outputs = predictor.predict(features, places.length);
      yield places.map((place, i) =>
        predictionOf(place, outputs.subarray(i * names.length, (i + 1) * names.length), names),
      );
    }
  } finally {
    predictor.dispose();
  }
}

/** Rows ready for the model; the features are overwritten by the next ones. */
interface ReadyRows {
  /** Line or number of each, from 1. */
  readonly places: readonly number[];
  readonly features: Float32Array;
}

async function* tableRows(schema: DatasetSchema, path: string): AsyncGenerator<ReadyRows> {
  const { columns, unit, chunks } = await openTable(path, tableTypeOf(path));
  const encoder = rowEncoder(schema, columns, path);
  const features = new Float32Array(BATCH_ROWS * schema.featureCount);
  for await (const { rows } of chunks) {
    for (let start = 0; start < rows.length; start += BATCH_ROWS) {
      const batch = rows.slice(start, start + BATCH_ROWS);
      for (const [i, { cells, place, problem }] of batch.entries()) {
        const where = `${path} ${unit} ${place}`;
        if (problem !== undefined) throw new SecureTrainingError('CONFIG_INVALID', `${where}: ${problem}`);
        encoder.encode(cells, where, features, i);
      }
      yield { places: batch.map(({ place }) => (unit === 'line' ? place : place + 1)), features };
    }
  }
}

/** Coded and filled already, as what a model is trained on; only not normalised. */
async function* arrowRows(schema: DatasetSchema, path: string): AsyncGenerator<ReadyRows> {
  const normalise = normaliser(schema);
  const features = new Float32Array(BATCH_ROWS * schema.featureCount);
  let before = 0;
  for await (const { features: raw, featureCount, labels } of readArrowFile(path)) {
    const dtype = featureType(raw);
    if (featureCount !== schema.featureCount || dtype !== schema.dtype) {
      const message = `${path}: found ${featureCount} features of ${dtype}, wanted ${schema.featureCount} of ${schema.dtype}`;
      throw new SecureTrainingError('CONFIG_INVALID', message);
    }
    for (let start = 0; start < labels.length; start += BATCH_ROWS) {
      const count = Math.min(BATCH_ROWS, labels.length - start);
      for (let i = 0; i < count; i++) normalise(raw, start + i, features, i);
      const first = before + start + 1;
      yield { places: Array.from({ length: count }, (_, i) => first + i), features };
    }
    before += labels.length;
  }
}

function predictionOf(line: number, outputs: Float32Array, names: readonly string[]): Prediction {
  const best = outputs.indexOf(Math.max(...outputs));
  return {
    line,
    prediction: names[best] ?? '',
    probabilities: Array.from(outputs, (value) => Number(value.toPrecision(DIGITS))),
  };
}

/** First line of a csv file of predictions. */
export function predictionHeader(names: readonly string[]): string {
  return ['line', 'prediction', ...names.map((name) => csvCell(`probability ${name}`))].join(',');
}

export function predictionLine({ line, prediction, probabilities }: Prediction): string {
  return [line, csvCell(prediction), ...probabilities].join(',');
}

/** Where tfjs's wasm files are installed. */
export function wasmFolder(): string {
  return dirname(
    createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm'),
  );
}
