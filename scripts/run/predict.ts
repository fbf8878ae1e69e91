import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { csvCell, openCsv } from '../../runtime/data/prepare/csv.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { startBackend } from '../../runtime/training/backend.ts';
import { loadPredictor } from '../../runtime/training/predictor.ts';
import type { OpenedModel } from '../model/opened-model.ts';
import { rowEncoder } from '../model/row-encoder.ts';

/** Rows that go through the model at once. */
const BATCH_ROWS = 1024;
/** Float32 has no more. */
const DIGITS = 7;

export interface Prediction {
  /** Of the row in the table. */
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
 * Predicts the rows of a csv file, in its order and in flat memory. A label column is not needed, and left out where there is one.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for a column that is missing or a cell that is no number, by line and column
 */
export async function* predictRows(model: OpenedModel, inputPath: string): AsyncGenerator<Prediction[]> {
  const { columns, chunks } = await openCsv(inputPath);
  const { schema } = model.preprocessing;
  const encoder = rowEncoder(schema, columns, inputPath);
  const names = classNames(model);
  await startBackend(wasmFolder());
  const predictor = await loadPredictor(model);
  try {
    if (predictor.inputs !== schema.featureCount || predictor.outputs !== names.length) {
      const message = `model of ${predictor.inputs} inputs and ${predictor.outputs} outputs, wanted ${schema.featureCount} and ${names.length}`;
      throw new SecureTrainingError('EVIDENCE_MALFORMED', message);
    }
    const features = new Float32Array(BATCH_ROWS * schema.featureCount);
    for await (const { rows } of chunks) {
      for (let start = 0; start < rows.length; start += BATCH_ROWS) {
        const batch = rows.slice(start, start + BATCH_ROWS);
        for (const [i, { cells, line }] of batch.entries())
          encoder.encode(cells, `${inputPath} line ${line}`, features, i);
        const outputs = predictor.predict(features, batch.length);
        yield batch.map(({ line }, i) =>
          predictionOf(line, outputs.subarray(i * names.length, (i + 1) * names.length), names),
        );
      }
    }
  } finally {
    predictor.dispose();
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

function wasmFolder(): string {
  return dirname(
    createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm'),
  );
}
