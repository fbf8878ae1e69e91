import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256, toHex } from '../../runtime/crypto/bytes.ts';
import { writeFileAtomic } from '../../runtime/data/atomic-file.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { encodeMetricHistory, type MetricPoint, parseMetricHistory } from '../../runtime/metric-history.ts';
import { mixedRows } from '../../runtime/mixture.ts';
import { encodePreprocessing } from '../../runtime/preprocessing.ts';
import { confusionMetric, releasedScores, SCORES_FILE } from '../../runtime/scores-file.ts';
import type { DatasetSchema } from '../../runtime/statements/manifest.ts';
import { runWorker, type WorkerResult } from '../../runtime/training/broker-side.ts';
import { CustomModuleError } from '../../runtime/training/custom-error.ts';
import type { Progress } from '../../runtime/training/frames.ts';
import { SCORED_SPLITS } from '../../runtime/training/scores.ts';
import type { TrainingConfig } from '../../runtime/training-config.ts';
import type { CustomBundle } from '../custom/bundle-custom.ts';
import { plainCard } from '../model/card.ts';
import { type ModelCard, writeCard } from '../model/card-file.ts';
import { encodeEventFile, eventFileName } from '../model/tensorboard.ts';
import { RUN_FOLDER } from './open-model.ts';
import type { PlainRows } from './plain-rows.ts';
import { ownLines, workerHere } from './worker-here.ts';

export interface TryOptions {
  readonly rows: PlainRows;
  readonly config: TrainingConfig;
  /** @default - the configuration names no module */
  readonly custom?: CustomBundle | undefined;
  /** @default - the seed decides */
  readonly initialWeights?: Uint8Array | undefined;
  /** Where a run that is stopped leaves its checkpoint, and finds it again. It must be another for other rows, code or configuration. */
  readonly checkpointFile: string;
  readonly modelsDir: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
}

export interface TriedRun {
  readonly folder: string;
  readonly card: ModelCard;
  readonly steps: number;
}

/** As a trainer rounds what an agreement lets out. */
const rounded = (value: number) => Math.round(value * 10_000) / 10_000;

/**
 * Trains on plain rows in this process and leaves a model folder without a receipt, whole or not at all. It goes on from the checkpoint
 * that an earlier call left.
 * @throws {@link SecureTrainingError} what the worker says, with all that a custom module said; the signal's reason where it is aborted
 */
export async function tryRun(options: TryOptions): Promise<TriedRun> {
  const { rows, config, custom, initialWeights, checkpointFile, signal } = options;
  const startedAt = new Date();
  const resume = await readFile(checkpointFile).catch(() => undefined);
  const pointsFile = `${checkpointFile}.metrics`;
  let points = resume === undefined ? [] : await earlierPoints(pointsFile);
  const drawn = mixedRows(rows.train, config.training.dataset_weights);
  const worker = await workerHere(config, custom);
  try {
    const result = await runWorker(worker, {
      config,
      schema: rows.schema,
      shards: rows.shards,
      openShard: rows.open,
      ...(initialWeights === undefined ? {} : { initialWeights }),
      ...(drawn === undefined ? {} : { drawn }),
      ...(resume === undefined ? {} : { resume: Uint8Array.from(resume) }),
      ...(signal === undefined ? {} : { abortSignal: signal }),
      ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
      onMetric: ({ name, step, value }) => {
        // After a resume the steps since the checkpoint are made again.
        points = points.filter((point) => point.name !== name || point.step < step);
        points.push({ name, step, value: rounded(value), at: new Date().toISOString() });
      },
      onCheckpoint: async (_, bytes) => {
        await writeFileAtomic(pointsFile, encodeMetricHistory(points));
        await writeFileAtomic(checkpointFile, bytes, { mode: 0o600 });
      },
    });
    const tried = await writeRun(options, result, points, startedAt);
    for (const file of [checkpointFile, pointsFile]) await rm(file, { force: true });
    return tried;
  } catch (error) {
    // The rows are the reader's own: nothing has to be kept from them.
    if (error instanceof CustomModuleError && error.text !== '')
      throw new SecureTrainingError('CONFIG_INVALID', `${error.message}\n${ownLines(error.text)}`, { cause: error });
    throw error;
  } finally {
    await worker.stop();
  }
}

/** Of the run that the checkpoint is of; a file that cannot be read is begun anew. */
async function earlierPoints(file: string): Promise<MetricPoint[]> {
  try {
    return [...parseMetricHistory(Uint8Array.from(await readFile(file)))];
  } catch {
    return [];
  }
}

async function writeRun(
  { rows: { schema }, config, modelsDir }: TryOptions,
  result: WorkerResult,
  points: readonly MetricPoint[],
  startedAt: Date,
): Promise<TriedRun> {
  const runId = tryId(startedAt);
  const folder = join(modelsDir, runId);
  const partial = join(modelsDir, `.${runId}.partial`);
  const files = modelFiles(result, schema);
  try {
    await mkdir(join(partial, RUN_FOLDER.model), { recursive: true, mode: 0o700 });
    for (const [name, bytes] of files) await writeFile(join(partial, RUN_FOLDER.model, name), bytes, { mode: 0o600 });
    await writeFile(join(partial, RUN_FOLDER.history), encodeMetricHistory(points));
    await mkdir(join(partial, RUN_FOLDER.logs));
    await writeFile(join(partial, RUN_FOLDER.logs, eventFileName(startedAt)), encodeEventFile(points, startedAt));
    const run = {
      runId,
      startedOn: startedAt.toISOString(),
      finishedOn: new Date().toISOString(),
      configuration: config,
      metrics: Object.fromEntries(Object.entries(result.metrics).map(([name, value]) => [name, rounded(value)])),
      engine: result.engine.backend,
      files: files.map(([name, bytes]) => ({ name, sha256: toHex(sha256(bytes)) })),
    };
    const card = plainCard(run, schema, result.scores);
    await writeCard(partial, card);
    await rename(partial, folder);
    return { folder, card, steps: result.steps };
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw error;
  }
}

function modelFiles({ model, scores }: WorkerResult, schema: DatasetSchema): (readonly [string, Uint8Array])[] {
  const counted = releasedScores(scores, { metrics: SCORED_SPLITS.map(confusionMetric) });
  return [
    ['model.json', model.modelJson],
    ['weights.bin', model.weights],
    ['preprocessing.json', encodePreprocessing(schema)],
    ...(counted === undefined ? [] : [[SCORES_FILE, counted] as const]),
  ];
}

/** Sorts by time, and two made in the same second differ. */
function tryId(now: Date): string {
  const stamp = now.toISOString().replace(/[-:]/g, '').slice(0, 15).replace('T', '-');
  return `try-${stamp}-${randomBytes(3).toString('hex')}`;
}
