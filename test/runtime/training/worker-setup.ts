import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeShard } from '../../../runtime/data/arrow-shard.ts';
import { type RunWorkerOptions, startWorker, type WorkerHandle } from '../../../runtime/training/broker-side.ts';
import type { InputSchema } from '../../../runtime/training/frames.ts';
import { parseTrainingConfig, type TrainingConfig } from '../../../runtime/training-config.ts';
import { bundleTrainer, NATIVE_FILES } from '../../../scripts/bundle.ts';

/**
 * A bundled worker in a folder of its own, with nothing else in it.
 * @param nativeDir where the native engine is; its files are copied after bundling, 850 MB need not go through memory
 */
export async function bundledWorker(nativeDir?: string): Promise<{
  start(confine?: boolean): Promise<WorkerHandle>;
  dir: string;
  remove(): Promise<void>;
}> {
  const parent = await mkdtemp(join(tmpdir(), 'ctrain-worker-'));
  const dir = join(parent, 'bundle');
  await mkdir(dir);
  const empty = join(parent, 'native');
  await mkdir(empty);
  for (const name of NATIVE_FILES) await writeFile(join(empty, name), '');
  const { entries } = await bundleTrainer({
    only: ['worker'],
    ...(nativeDir === undefined ? {} : { nativeDir: empty }),
  });
  for (const { name, bytes } of entries) await writeFile(join(dir, name), bytes);
  if (nativeDir !== undefined) for (const name of NATIVE_FILES) await copyFile(join(nativeDir, name), join(dir, name));
  const start = (confine = true) =>
    startWorker({ node: process.execPath, script: join(dir, 'worker.mjs'), bundleDir: dir, confine });
  return { start, dir, remove: () => rm(parent, { recursive: true }) };
}

export interface TestData {
  readonly schema: InputSchema;
  readonly shards: Readonly<Record<string, readonly number[]>>;
  readonly config: TrainingConfig;
  openShard: RunWorkerOptions['openShard'];
}

const FEATURES = 12;
const CLASSES = 3;

/** A small problem that a few steps learn: the class is where a row is brightest. Shards are of uneven sizes on purpose. */
export function testData(training: Partial<TrainingConfig['training']> = {}): TestData {
  const shards = { train: [37, 50, 1, 23, 60], validation: [20, 11], test: [40] };
  const blocks = new Map<string, Uint8Array>();
  let state = 7;
  const random = () => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return state >>> 8;
  };
  for (const [split, sizes] of Object.entries(shards)) {
    for (const [index, rows] of sizes.entries()) {
      const labels = Int32Array.from({ length: rows }, () => random() % CLASSES);
      const features = new Uint8Array(rows * FEATURES);
      for (let i = 0; i < features.length; i++) {
        const bright = Math.floor((i % FEATURES) / 4) === labels[Math.floor(i / FEATURES)];
        features[i] = (random() % 100) + (bright ? 100 : 0);
      }
      blocks.set(`${split}/${index}`, encodeShard({ features, featureCount: FEATURES, labels }, { version: 1, split }));
    }
  }
  return {
    schema: {
      featureCount: FEATURES,
      dtype: 'uint8',
      classes: ['a', 'b', 'c'],
      normalisation: { kind: 'scale', divisor: 255 },
    },
    shards,
    config: parseTrainingConfig({
      training: {
        input_size: FEATURES,
        hidden_size: 16,
        output_size: CLASSES,
        epochs: 3,
        batch_size: 32,
        learning_rate: 0.01,
        schedule: 'constant',
        checkpoint_steps: 1,
        shuffle_rows: 90,
        ...training,
      },
    }),
    async openShard(split, index) {
      const block = blocks.get(`${split}/${index}`);
      if (block === undefined) throw new Error(`no shard ${split}/${index}`);
      return block;
    },
  };
}
