import { extname } from 'node:path';
import { readArrowFile } from '../../runtime/data/arrow-file.ts';
import { featureType } from '../../runtime/data/arrow-shard.ts';
import { canonicalLabel } from '../../runtime/data/prepare/labels.ts';
import { openTable, tableTypeOf } from '../../runtime/data/prepare/open-table.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import type { DatasetSchema } from '../../runtime/statements/manifest.ts';
import { startBackend } from '../../runtime/training/backend.ts';
import { createEngine } from '../../runtime/training/engine.ts';
import { evaluateRows } from '../../runtime/training/evaluation.ts';
import type { ShardRows } from '../../runtime/training/feed.ts';
import { readLayersModel } from '../model/layers-model.ts';
import type { OpenedModel } from '../model/opened-model.ts';
import { rowEncoder } from '../model/row-encoder.ts';
import { type SplitScores, splitScores } from '../model/score-table.ts';
import { wasmFolder } from './predict.ts';

export interface PlainEvaluation {
  readonly rows: number;
  /** By the names that a sealed run gives them. */
  readonly metrics: Readonly<Record<string, number>>;
  readonly scores?: SplitScores;
}

const DIGITS = 4;

/**
 * Measures a model on all rows of a file, in this process, by the code that a sealed run measures with.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for a column that is missing, a cell or class that the model does not know, by
 *   line and column; or a model whose outputs only a module of its own understands
 */
export async function evaluatePlain(model: OpenedModel, path: string): Promise<PlainEvaluation> {
  const { configuration } = model.content;
  const { schema } = model.preprocessing;
  const { model: module, dataset, output_size } = configuration.training;
  if (module !== undefined || dataset !== undefined) {
    const message = `the model has code of its own (${module ?? dataset}), which runs in a trainer only: wanted --dataset or --agreement`;
    throw new SecureTrainingError('CONFIG_INVALID', message);
  }
  await startBackend({ wasmDir: wasmFolder() });
  const engine = createEngine(configuration);
  try {
    engine.load(readLayersModel(model.modelJson, model.weights).tensors);
    let rows = 0;
    const counted = async function* (shards: AsyncIterable<ShardRows>) {
      for await (const shard of shards) {
        rows += shard.rows;
        yield shard;
      }
    };
    const isArrow = extname(path).toLowerCase() === '.arrow';
    const { metrics, confusion } = await evaluateRows(
      counted(isArrow ? arrowRows(schema, path) : tableRows(schema, path)),
      engine,
      { schema: isArrow ? schema : encoded(schema), outputs: output_size },
    );
    if (rows === 0) throw new SecureTrainingError('CONFIG_INVALID', `${path}: it has no rows`);
    return {
      rows,
      metrics: Object.fromEntries(
        Object.entries(metrics).map(([name, value]) => [`test_${name}`, Number(value.toFixed(DIGITS))]),
      ),
      ...(confusion === undefined ? {} : { scores: splitScores(confusion, schema.classes) }),
    };
  } finally {
    engine.dispose();
  }
}

/** Of rows that {@link rowEncoder} has normalised already. */
function encoded(schema: DatasetSchema): DatasetSchema {
  return { ...schema, dtype: 'float32', normalisation: { kind: 'none' } };
}

async function* tableRows(schema: DatasetSchema, path: string): AsyncGenerator<ShardRows> {
  const { columns, unit, chunks } = await openTable(path, tableTypeOf(path));
  const encoder = rowEncoder(schema, columns, path);
  const exact = columns.indexOf(schema.label);
  const label = exact >= 0 ? exact : columns.findIndex((name) => name.toLowerCase() === schema.label.toLowerCase());
  if (label < 0) {
    throw new SecureTrainingError('CONFIG_INVALID', `${path}: found no column ${schema.label}, which has the classes`);
  }
  const classes = new Map(schema.classes.map((name, i) => [name, i]));
  for await (const { rows } of chunks) {
    const features = new Float32Array(rows.length * schema.featureCount);
    const labels = new Int32Array(rows.length);
    for (const [i, { cells, place, problem }] of rows.entries()) {
      const where = `${path} ${unit} ${place}`;
      if (problem !== undefined) throw new SecureTrainingError('CONFIG_INVALID', `${where}: ${problem}`);
      encoder.encode(cells, where, features, i);
      const found = classes.get(canonicalLabel(String(cells[label] ?? '')));
      if (found === undefined) {
        const message = `${where}, column ${columns[label]}: found none of the model's ${classes.size} classes`;
        throw new SecureTrainingError('CONFIG_INVALID', message);
      }
      labels[i] = found;
    }
    yield { features, labels, rows: rows.length };
  }
}

async function* arrowRows(schema: DatasetSchema, path: string): AsyncGenerator<ShardRows> {
  for await (const { features, featureCount, labels } of readArrowFile(path)) {
    const dtype = featureType(features);
    if (featureCount !== schema.featureCount || dtype !== schema.dtype) {
      const message = `${path}: found ${featureCount} features of ${dtype}, wanted ${schema.featureCount} of ${schema.dtype}`;
      throw new SecureTrainingError('CONFIG_INVALID', message);
    }
    if (!(labels instanceof Int32Array) || labels.some((each) => each < 0 || each >= schema.classes.length)) {
      throw new SecureTrainingError(
        'CONFIG_INVALID',
        `${path}: found a label outside the model's ${schema.classes.length} classes`,
      );
    }
    yield { features, labels, rows: labels.length };
  }
}
