export const PIXELS = 784;
export const CLASSES = 10;
export const LEARNING_RATE = 0.01;
export type ModelName = 'mlp' | 'convnet';

const BATCHES = 16;

/** Batches in memory, as every contestant has them: what is compared is the step and not the feeding. */
export function batches(rows: number): { features: Float32Array; labels: Int32Array }[] {
  return Array.from({ length: BATCHES }, (_, batch) => ({
    features: Float32Array.from({ length: rows * PIXELS }, (_, i) => Math.max(0, Math.sin(i * 7 + batch))),
    labels: Int32Array.from({ length: rows }, (_, i) => (i + batch) % CLASSES),
  }));
}
