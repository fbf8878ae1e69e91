import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { describe, expect, test } from 'vitest';
import { startBackend } from '../../../../runtime/training/backend.ts';
import { clippedGradients, type RowLoss } from '../../../../runtime/training/privacy/clipped-gradients.ts';
import { privacyObstacles } from '../../../../runtime/training/privacy/row-layers.ts';

const wasm = import.meta.resolve('@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm');
// Before the models below are made, not before the first test.
await startBackend({ wasmDir: dirname(fileURLToPath(wasm)) });

const seeded = (seed: number) => tfl.initializers.randomUniform({ minval: -0.5, maxval: 0.5, seed });

const dense = (units: number, seed: number, more: object = {}) =>
  tfl.layers.dense({ units, kernelInitializer: seeded(seed), biasInitializer: seeded(seed + 50), ...more });

const perceptron = () =>
  tfl.sequential({ layers: [dense(7, 1, { inputShape: [5], activation: 'tanh' }), dense(3, 2), tfl.layers.softmax()] });

const convolutional = () =>
  tfl.sequential({
    layers: [
      tfl.layers.conv2d({
        inputShape: [8, 9, 2],
        filters: 3,
        kernelSize: [3, 2],
        strides: [2, 1],
        padding: 'same',
        activation: 'relu',
        kernelInitializer: seeded(3),
        biasInitializer: seeded(4),
      }),
      tfl.layers.maxPooling2d({ poolSize: 2 }),
      tfl.layers.conv2d({ filters: 2, kernelSize: 2, useBias: false, kernelInitializer: seeded(5) }),
      tfl.layers.flatten(),
      dense(3, 6, { useBias: false }),
    ],
  });

const crossEntropy: RowLoss = (labels, logits) =>
  tf.losses.softmaxCrossEntropy(labels, logits, undefined, undefined, tf.Reduction.NONE);

/** One row after the other, as the definition says: gradient, norm over all weights, clip, add. */
function rowByRow(model: tfl.LayersModel, ending: number, x: tf.Tensor, labels: tf.Tensor, norm: number): number[][] {
  const variables = model.trainableWeights.map((weight) => weight.read() as tf.Variable);
  const head = tfl.model({
    inputs: model.inputs,
    outputs: model.layers[model.layers.length - 1 - ending]?.output as tfl.SymbolicTensor,
  });
  const sums = variables.map(({ size }) => new Array<number>(size).fill(0));
  for (let row = 0; row < (x.shape[0] ?? 0); row++) {
    const { grads } = tf.variableGrads(
      () => tf.sum(crossEntropy(tf.slice(labels, row, 1), head.apply(tf.slice(x, row, 1)) as tf.Tensor)) as tf.Scalar,
      variables,
    );
    const own = variables.map(({ name }) => [...(grads[name] as tf.Tensor).dataSync()]);
    const length = Math.sqrt(own.flat().reduce((sum, value) => sum + value * value, 0));
    const factor = Math.min(1, norm / (length + 1e-6));
    own.forEach((values, i) => {
      values.forEach((value, at) => {
        const sum = sums[i] as number[];
        sum[at] = (sum[at] ?? 0) + factor * value;
      });
    });
  }
  return sums;
}

describe.each([
  ['perceptron', perceptron, [5], 1],
  ['convolutional', convolutional, [8, 9, 2], 0],
] as const)('%s', (_, make, shape, ending) => {
  const model = make();
  const x = () => tf.randomUniform([6, ...shape], -2, 2, 'float32', 8);
  const labels = () => tf.oneHot(tf.tensor1d([0, 1, 2, 2, 1, 0], 'int32'), 3);

  // 0.3 clips every row, 2 some of them, 1000 none.
  test.each([0.3, 2, 1000])('is clipped to %f as row by row', (norm) => {
    const { sums, loss } = clippedGradients(model, crossEntropy, norm, ending)(x(), labels());
    const wanted = rowByRow(model, ending, x(), labels(), norm);
    expect(sums.map(({ shape: found }) => found)).toEqual(model.trainableWeights.map((weight) => weight.shape));
    sums.forEach((sum, i) => {
      const found = [...sum.dataSync()];
      found.forEach((value, at) => void expect(value).toBeCloseTo(wanted[i]?.[at] ?? Number.NaN, 4));
    });
    expect(loss.dataSync()[0]).toBeGreaterThan(0);
  });

  test('one row moves the sum by no more than the norm', () => {
    const gradients = clippedGradients(model, crossEntropy, 0.5, ending);
    const all = gradients(x(), labels()).sums;
    const less = gradients(tf.slice(x(), 1, 5), tf.slice(labels(), 1, 5)).sums;
    const squares = all.map((sum, i) => tf.sum(tf.squaredDifference(sum, less[i] as tf.Tensor)).dataSync()[0] ?? 0);
    expect(Math.sqrt(squares.reduce((sum, value) => sum + value, 0))).toBeLessThanOrEqual(0.5 + 1e-4);
  });

  test('leaves no tensor behind but its result', () => {
    const gradients = clippedGradients(model, crossEntropy, 1, ending);
    const [given, wanted] = [x(), labels()];
    tf.dispose(gradients(given, wanted));
    const before = tf.memory().numTensors;
    tf.dispose(gradients(given, wanted));
    expect(tf.memory().numTensors).toBe(before);
  });
});

const input = { inputShape: [4] };
test.each<[string, () => tfl.LayersModel, string]>([
  [
    'batch normalisation',
    () =>
      tfl.sequential({ layers: [dense(3, 1, { ...input, name: 'a' }), tfl.layers.batchNormalization({ name: 'b' })] }),
    'layer b (BatchNormalization) may mix rows, or has no rule',
  ],
  [
    'a graph',
    () => {
      const from = tfl.input({ shape: [4] });
      return tfl.model({ inputs: from, outputs: dense(2, 1).apply(from) as tfl.SymbolicTensor });
    },
    'it is not a sequence of layers',
  ],
  [
    'dense over two axes',
    () => tfl.sequential({ layers: [dense(3, 1, { inputShape: [4, 2], name: 'c' })] }),
    'layer c (Dense) works on more than one axis',
  ],
  [
    'a penalty',
    () => tfl.sequential({ layers: [dense(3, 1, { ...input, name: 'd', kernelRegularizer: 'l1l2' })] }),
    'layer d (Dense) has a regularizer',
  ],
  [
    'a frozen layer',
    () => tfl.sequential({ layers: [dense(3, 1, { ...input, name: 'e', trainable: false })] }),
    'layer e (Dense) is frozen',
  ],
  [
    'a dilated convolution',
    () =>
      tfl.sequential({
        layers: [tfl.layers.conv2d({ inputShape: [9, 9, 1], filters: 1, kernelSize: 2, dilationRate: 2, name: 'f' })],
      }),
    'layer f (Conv2D) is dilated',
  ],
])('refuses %s by name', (_, make, failure) => {
  const model = make();
  expect(privacyObstacles(model)).toEqual([failure]);
  expect(() => clippedGradients(model, crossEntropy, 1)).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(failure), failures: [failure] }),
  );
});
