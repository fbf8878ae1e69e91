import { generateCek, openBytes, type SealedBytes, sealBytes } from '../runtime/crypto/sealed-object.ts';
import { type RunWorkerOptions, runWorker, type WorkerHandle } from '../runtime/training/broker-side.ts';
import type { TrainingConfig } from '../runtime/training-config.ts';
import { DIGIT_SCHEMA, digitConfig, digitShards } from './digits.ts';
import { trainingRate } from './fit.ts';
import { type Measure, median } from './measure.ts';
import { benchBackends, benchWorker } from './worker.ts';

export const SHARDS = 6;
export const SHARD_ROWS = 5_000;
const EPOCHS = 3;
const ROUNDS = 3;
const MEMORY_STEPS = 400;

/** Training from sealed shards, through broker, socket and worker; the baseline is the same rows in memory of one process. */
export async function benchFeed(): Promise<Measure[]> {
  const openShard = await sealedShards();
  const measures: Measure[] = [];
  for (const backend of benchBackends('feed')) {
    const worker = await benchWorker(backend);
    const rates = { sealed: [] as number[], memory: [] as number[] };
    try {
      for (let round = 0; round < ROUNDS; round++) {
        const handle = await worker.start();
        rates.sealed.push((await workerRate(handle, { openShard, config: digitConfig(EPOCHS) })).rate);
        rates.memory.push(await trainingRate(MEMORY_STEPS, backend));
      }
    } finally {
      await worker.remove();
    }
    const [value, baseline] = [median(rates.sealed), median(rates.memory)];
    measures.push({ name: `feed-${backend}`, value, unit: 'samples/s', baseline, ratio: value / baseline });
  }
  return measures;
}

/** Rows as digits have them, sealed, and what opens them. */
export async function sealedShards(): Promise<RunWorkerOptions['openShard']> {
  const cek = generateCek();
  const sealed: SealedBytes[] = [];
  for (const shard of digitShards(SHARDS, SHARD_ROWS)) sealed.push(await sealBytes(shard, cek));
  return async (_split, index) => {
    const object = sealed[index];
    if (object === undefined) throw new RangeError(`no shard ${index}`);
    const expected = {
      merkleRoot: object.root,
      leaves: object.leaves,
      shape: object.shape,
      nonceScheme: 'big-endian' as const,
    };
    return openBytes(object.sealed, cek, expected);
  };
}

interface WorkerRun extends Pick<RunWorkerOptions, 'openShard' | 'onCheckpoint'> {
  readonly config: TrainingConfig;
}

/** Trains over all shards and ends the worker. @returns samples per second, and how many steps they were taken over */
export async function workerRate(
  worker: WorkerHandle,
  { config, ...options }: WorkerRun,
): Promise<{ rate: number; steps: number }> {
  try {
    const shards = { train: Array<number>(SHARDS).fill(SHARD_ROWS) };
    let first: { at: number; step: number } | undefined;
    let last = { at: 0, step: 0 };
    const onProgress = ({ step }: { step: number }) => {
      last = { at: performance.now(), step };
      // The first window and the warm-up lie before the first progress.
      first ??= last;
    };
    await runWorker(worker, { config, schema: DIGIT_SCHEMA, shards, onProgress, ...options });
    const began = first ?? last;
    const steps = last.step - began.step;
    return { rate: (steps * config.training.batch_size * 1000) / (last.at - began.at), steps };
  } finally {
    await worker.stop();
  }
}
