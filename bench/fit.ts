import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import { startBackend, useTransposedGradient } from '../runtime/training/backend.ts';
import { createEngine } from '../runtime/training/engine.ts';
import { createFeed } from '../runtime/training/feed.ts';
import { DIGIT_SCHEMA, digitConfig, digitLikeRows } from './digits.ts';
import type { Measure } from './measure.ts';
import { type BenchBackend, nativeFolder } from './worker.ts';

const ROWS = 16_384;
const WARM_UP_STEPS = 20;

/** Training speed from rows in memory; the baseline is the same step with tfjs's own gradient of a matrix product. */
export async function benchFit(): Promise<Measure[]> {
  const value = await trainingRate(400);
  useStockGradient();
  const baseline = await trainingRate(40);
  useTransposedGradient();
  return [{ name: 'fit', value, unit: 'samples/s', baseline, ratio: value / baseline }];
}

/** Samples per second over `steps` steps, feeding included. */
export async function trainingRate(steps: number, backend: BenchBackend = 'wasm'): Promise<number> {
  await ensureBackend(backend);
  const config = digitConfig(1_000);
  const { training } = config;
  const rows = digitLikeRows(ROWS);
  const feed = createFeed({
    seed: training.seed,
    epochs: training.epochs,
    shardRows: [ROWS],
    bufferRows: training.shuffle_rows,
    batchRows: training.batch_size,
    schema: DIGIT_SCHEMA,
    from: { epoch: 0, row: 0 },
    fetch: async () => ({ ...rows, rows: ROWS }),
  });
  const engine = createEngine(config);
  let startedAt = 0;
  for (let step = -WARM_UP_STEPS; step < steps; step++) {
    if (step === 0) startedAt = performance.now();
    // An epoch ends with undefined, and the next call begins another.
    const batch = (await feed.next()) ?? (await feed.next());
    if (batch !== undefined) engine.step(batch);
  }
  const seconds = (performance.now() - startedAt) / 1000;
  engine.dispose();
  return (steps * training.batch_size) / seconds;
}

/** tfjs-core 4.22 gradients/BatchMatMul_grad.ts, for operands that are not transposed. */
function useStockGradient(): void {
  tf.unregisterGradient(tf.BatchMatMul);
  tf.registerGradient({
    kernelName: tf.BatchMatMul,
    inputsToSave: ['a', 'b'],
    gradFunc: (dy, saved) => {
      const [a, b] = saved as [tf.Tensor, tf.Tensor];
      return {
        a: () => tf.matMul(dy as tf.Tensor, b, false, true),
        b: () => tf.matMul(a, dy as tf.Tensor, true, false),
      };
    },
  });
}

/** tfjs takes its wasm paths once a process. */
async function ensureBackend(backend: BenchBackend): Promise<void> {
  if (tf.getBackend() === { wasm: 'wasm', native: 'tensorflow' }[backend]) return;
  const wasm = import.meta.resolve('@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm');
  await startBackend({ wasmDir: dirname(fileURLToPath(wasm)), backend, ...nativeFolder(backend) });
}
