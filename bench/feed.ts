import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateCek, openBytes, type SealedBytes, sealBytes } from '../runtime/crypto/sealed-object.ts';
import { runWorker, startWorker } from '../runtime/training/broker-side.ts';
import { bundleTrainer } from '../scripts/bundle.ts';
import { DIGIT_SCHEMA, digitConfig, digitShards } from './digits.ts';
import { trainingRate } from './fit.ts';
import type { Measure } from './measure.ts';

const SHARDS = 6;
const SHARD_ROWS = 5_000;
const EPOCHS = 3;

/** Training from sealed shards, through broker, socket and worker; the baseline is the same rows in memory of one process. */
export async function benchFeed(): Promise<Measure[]> {
  const dir = await mkdtemp(join(tmpdir(), 'ctrain-bench-'));
  try {
    const { entries } = await bundleTrainer({ only: ['worker'] });
    for (const { name, bytes } of entries) await writeFile(join(dir, name), bytes);
    const cek = generateCek();
    const sealed: SealedBytes[] = [];
    for (const shard of digitShards(SHARDS, SHARD_ROWS)) sealed.push(await sealBytes(shard, cek));
    const open = async (_split: string, index: number) => {
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
    const value = await workerRate(dir, open);
    const baseline = await trainingRate(400);
    return [{ name: 'feed', value, unit: 'samples/s', baseline, ratio: value / baseline }];
  } finally {
    await rm(dir, { recursive: true });
  }
}

async function workerRate(
  dir: string,
  openShard: (split: string, index: number) => Promise<Uint8Array>,
): Promise<number> {
  const worker = await startWorker({
    node: process.execPath,
    script: join(dir, 'worker.mjs'),
    bundleDir: dir,
    confine: true,
  });
  try {
    const config = digitConfig(EPOCHS);
    const shards = { train: Array<number>(SHARDS).fill(SHARD_ROWS) };
    let first: { at: number; step: number } | undefined;
    let last = { at: 0, step: 0 };
    const onProgress = ({ step }: { step: number }) => {
      last = { at: performance.now(), step };
      // The first window and the warm-up lie before the first progress.
      first ??= last;
    };
    await runWorker(worker, { config, schema: DIGIT_SCHEMA, shards, openShard, onProgress });
    const began = first ?? last;
    return ((last.step - began.step) * config.training.batch_size * 1000) / (last.at - began.at);
  } finally {
    await worker.stop();
  }
}
