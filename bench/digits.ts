import { encodeShard, type Rows } from '../runtime/data/arrow-shard.ts';
import { parseTrainingConfig, type TrainingConfig } from '../runtime/training-config.ts';

const PIXELS = 784;

/** Rows with the shape and sparseness of MNIST (four of five pixels are zero); what they show does not matter for speed. */
export function digitLikeRows(count: number): Rows {
  const features = new Uint8Array(count * PIXELS);
  let state = 1;
  for (let i = 0; i < features.length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    features[i] = state >>> 30 === 0 ? (state >>> 16) & 255 : 0;
  }
  const labels = Int32Array.from({ length: count }, (_, i) => i % 10);
  return { features, featureCount: PIXELS, labels };
}

export function digitShards(shards: number, rows: number): Uint8Array[] {
  return Array.from({ length: shards }, () => encodeShard(digitLikeRows(rows), { version: 1, split: 'train' }));
}

/** 784-512-10, batches of 128, Adam: the configuration that the README starts with. */
export function digitConfig(epochs: number): TrainingConfig {
  return parseTrainingConfig({
    training: { input_size: PIXELS, hidden_size: 512, output_size: 10, epochs, checkpoint_steps: 1_000_000 },
  });
}

export const DIGIT_SCHEMA = {
  featureCount: PIXELS,
  dtype: 'uint8',
  classes: Array.from({ length: 10 }, (_, i) => String(i)),
  normalisation: { kind: 'scale', divisor: 255 },
} as const;
