import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { startBackend } from '../../../runtime/training/backend.ts';
import { completeGradients } from '../../../runtime/training/custom-gradients.ts';

const WASM = import.meta.resolve('@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm');

beforeAll(async () => {
  await startBackend(dirname(fileURLToPath(WASM)));
  completeGradients();
});

const wave = (shape: [number, number, number, number], phase: number) =>
  tf.tensor4d(
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(i * 1.7 + phase)),
    shape,
  );

/** By what each weight changes a sum, a little up and a little down: nothing of tfjs's own differentiation. */
function byDifferences(f: (x: tf.Tensor4D) => tf.Tensor, at: tf.Tensor4D): number[] {
  const values = at.dataSync() as Float32Array;
  const step = 0.05;
  const sumAt = (index: number, change: number) =>
    tf.tidy(() => {
      const moved = values.slice();
      moved[index] = (moved[index] ?? 0) + change;
      return tf.sum(f(tf.tensor4d(moved, at.shape))).dataSync()[0] ?? Number.NaN;
    });
  return Array.from(values, (_, i) => (sumAt(i, step) - sumAt(i, -step)) / (2 * step));
}

test.each<[string, number, 'same' | 'valid', number]>([
  ['stride 1, same', 1, 'same', 1],
  ['stride 2, same', 2, 'same', 1],
  ['stride 2, valid', 2, 'valid', 1],
  ['dilated', 1, 'valid', 2],
])('a convolution’s gradients are the differences it makes: %s', (_, strides, pad, dilation) => {
  const [x, filter] = [wave([2, 6, 5, 2], 0), wave([3, 2, 2, 3], 1)];
  const run = (a: tf.Tensor4D, b: tf.Tensor4D) => tf.square(tf.conv2d(a, b, strides, pad, 'NHWC', dilation));
  const wanted = byDifferences((b) => run(x, b), filter);
  const found = tf
    .grad((b) => run(x, b as tf.Tensor4D))(filter)
    .dataSync();
  for (const [i, value] of wanted.entries()) expect(found[i]).toBeCloseTo(value, 1);
  // tfjs has no gradient of a dilated convolution's input to compare with.
  if (dilation > 1) return;
  const before = byDifferences((a) => run(a, filter), x);
  const after = tf
    .grad((a) => run(a as tf.Tensor4D, filter))(x)
    .dataSync();
  for (const [i, value] of before.entries()) expect(after[i]).toBeCloseTo(value, 1);
});

test('an embedding’s gradient adds up where a word is there twice, as a product with its one-hot rows does', () => {
  const words = tf.tensor2d([1, 3, 1, 0, 1, 4], [2, 3], 'int32');
  const weights = tf.tensor2d(
    Float32Array.from({ length: 10 }, (_, i) => Math.cos(i)),
    [5, 2],
  );
  const gather = tf
    .grad((w) => tf.square(tf.gather(w, words)))(weights)
    .arraySync();
  const product = tf.grad((w) => tf.square(tf.matMul(tf.reshape(tf.oneHot(words, 5), [6, 5]), w as tf.Tensor2D)))(
    weights,
  );
  for (const [row, values] of (product.arraySync() as number[][]).entries()) {
    for (const [column, value] of values.entries()) expect((gather as number[][])[row]?.[column]).toBeCloseTo(value, 5);
  }
});
