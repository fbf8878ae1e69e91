import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeShard } from '../../runtime/data/arrow-shard.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import type { DatasetSchema } from '../../runtime/statements/manifest.ts';
import { runWorker, startWorker } from '../../runtime/training/broker-side.ts';
import { CustomModuleError } from '../../runtime/training/custom-error.ts';
import type { TrainingConfig } from '../../runtime/training-config.ts';
import { bundleTrainer } from '../bundle.ts';
import type { CustomBundle } from './bundle-custom.ts';

/** A run so small that it costs a second: two whole batches and a short one, and both other splits. */
const BATCH_ROWS = 3;
const ROWS = { train: [7], validation: [2], test: [2] } as const;
const PATIENCE_MS = 60_000;

export interface CheckedCustom {
  /** Names of all metrics of a run: what an agreement lets out. */
  readonly metrics: readonly string[];
}

/**
 * Tries custom modules before anything is sealed or agreed on: in a real worker, on made-up rows of noughts and ones, from build to
 * the exported model. Of a custom dataset only that it loads can be known, for nobody can make its bytes up.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`, with all that the module said: here it can quote nobody's rows
 */
export async function checkCustom(
  custom: CustomBundle,
  config: TrainingConfig,
  schema?: Pick<DatasetSchema, 'classes'>,
): Promise<CheckedCustom> {
  const parent = await mkdtemp(join(tmpdir(), 'ctrain-check-'));
  try {
    const bundleDir = join(parent, 'bundle');
    await mkdir(bundleDir);
    const { entries } = await bundleTrainer({ only: ['worker'], custom });
    for (const { name, bytes } of entries) await writeFile(join(bundleDir, name), bytes);
    return { metrics: await tryRun(bundleDir, config, schema?.classes ?? madeUpClasses(config)) };
  } catch (error) {
    if (!(error instanceof CustomModuleError)) throw error;
    throw new SecureTrainingError('CONFIG_INVALID', `${error.message}: ${error.text}`, { cause: error });
  } finally {
    await rm(parent, { recursive: true, force: true });
  }
}

async function tryRun(bundleDir: string, { training }: TrainingConfig, classes: readonly string[]): Promise<string[]> {
  // The weights come with the run: here the seed's will do.
  const { initial_weights: _, ...rest } = training;
  const { input_size: width } = rest;
  const config = { training: { ...rest, epochs: 1, batch_size: BATCH_ROWS } };
  const worker = await startWorker({
    node: process.execPath,
    script: join(bundleDir, 'worker.mjs'),
    bundleDir,
    confine: true,
  });
  const needed = new Error('a shard is needed');
  let measured: readonly string[] = training.model === undefined ? ['accuracy'] : [];
  try {
    await runWorker(worker, {
      config,
      schema: { featureCount: width, dtype: 'float32', classes, normalisation: { kind: 'none' } },
      shards: ROWS,
      silenceInMs: PATIENCE_MS,
      onBuilt: (names) => {
        measured = names;
      },
      openShard: async (split) => {
        if (training.dataset !== undefined) throw needed;
        return madeUpShard(ROWS[split as keyof typeof ROWS][0], width, classes.length, split);
      },
    });
  } catch (error) {
    if (error !== needed) throw error;
  } finally {
    await worker.stop();
  }
  return [
    'loss',
    ...['validation', 'test'].flatMap((split) => ['loss', ...measured].map((name) => `${split}_${name}`)),
  ];
}

/** Noughts and ones are rows for every model, also for one that looks words up by their number. */
function madeUpShard(rows: number, featureCount: number, classes: number, split: string): Uint8Array {
  const features = Float32Array.from({ length: rows * featureCount }, (_, i) => ((i * 7) % 3) % 2);
  const labels =
    classes === 0
      ? Float32Array.from({ length: rows }, (_, i) => i / rows)
      : Int32Array.from({ length: rows }, (_, i) => i % classes);
  return encodeShard({ features, featureCount, labels }, { version: 1, split });
}

/** Where the data are not known: one output is taken for a value, more for classes. */
function madeUpClasses({ training }: TrainingConfig): string[] {
  return training.output_size === 1 ? [] : Array.from({ length: training.output_size }, (_, i) => String(i));
}
