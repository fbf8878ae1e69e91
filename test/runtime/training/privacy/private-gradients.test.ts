import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { expect, test } from 'vitest';
import { startBackend } from '../../../../runtime/training/backend.ts';
import { rowLossOf } from '../../../../runtime/training/named-loss.ts';
import { privateGradients } from '../../../../runtime/training/privacy/private-gradients.ts';

const wasm = import.meta.resolve('@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm');
await startBackend({ wasmDir: dirname(fileURLToPath(wasm)) });

const [WIDTH, CLASSES, ROWS] = [5, 3, 300];
const model = tfl.sequential({
  layers: [
    tfl.layers.dense({
      units: CLASSES,
      inputShape: [WIDTH],
      kernelInitializer: tfl.initializers.glorotNormal({ seed: 1 }),
    }),
  ],
});
const variables = model.trainableWeights.map((weight) => weight.read() as tf.Variable);
const batch = {
  features: Float32Array.from({ length: ROWS * WIDTH }, (_, i) => Math.sin(i * 1.7)),
  labels: Int32Array.from({ length: ROWS }, (_, i) => i % CLASSES),
  rows: ROWS,
};
const rowLoss = rowLossOf('softmaxCrossEntropy');
if (rowLoss === undefined) throw new Error('no loss');
const inputs = ({ features, labels, rows }: typeof batch) => ({
  x: tf.tensor2d(features, [rows, WIDTH]),
  y: tf.tensor1d(labels, 'int32'),
});
const terms = { noiseMultiplier: 1e-9, clipNorm: 1e6, delta: 1e-5, budget: 0 };
const gradients = (change: Partial<typeof terms>, expectedRows = ROWS) =>
  privateGradients({
    model,
    rowLoss,
    ending: 0,
    terms: { ...terms, ...change },
    expectedRows,
    inputs: inputs as never,
  });

test('with next to no noise and nothing to clip, the gradient of the mean loss', () => {
  const { gradients: found, loss } = gradients({ noiseMultiplier: 1e-12 })(batch);
  const { value, grads } = tf.variableGrads(() => {
    const { x, y } = inputs(batch);
    return tf.mean(rowLoss(y, model.apply(x) as tf.Tensor)) as tf.Scalar;
  }, variables);
  expect(loss).toBeCloseTo(value.dataSync()[0] ?? 0, 5);
  for (const [i, { name }] of variables.entries()) {
    const wanted = grads[name]?.dataSync() ?? [];
    for (const [k, each] of [...(found[i]?.dataSync() ?? [])].entries()) {
      expect(each).toBeCloseTo(wanted[k] ?? Number.NaN, 4);
    }
  }
});

test('what is divided by is what was expected', () => {
  const [whole] = gradients({})(batch).gradients;
  const [half] = gradients({}, 2 * ROWS)(batch).gradients;
  for (const [k, each] of [...(half?.dataSync() ?? [])].entries()) {
    expect(each).toBeCloseTo((whole?.dataSync()[k] ?? Number.NaN) / 2, 4);
  }
});

test('no batch moves the sum further than its rows times the norm, and noise has its deviation', () => {
  const { gradients: clipped } = gradients({ clipNorm: 0.01, noiseMultiplier: 1e-9 }, 1)(batch);
  const norm = Math.hypot(...clipped.flatMap((each) => [...each.dataSync()]));
  expect(norm).toBeLessThanOrEqual(ROWS * 0.01);
  const empty = { features: new Float32Array(), labels: new Int32Array(), rows: 0 };
  const draws = Array.from({ length: 200 }, () => gradients({ clipNorm: 2, noiseMultiplier: 3 }, 1)(empty));
  const values = draws.flatMap(({ gradients: noise }) => noise.flatMap((each) => [...each.dataSync()]));
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
  // 3,600 values: the deviation of their deviation is 6 / sqrt(7200).
  expect(Math.abs(deviation - 6)).toBeLessThan(0.6);
  expect(draws[0]?.loss).toBeUndefined();
});

test('no tensor is left but the gradients', () => {
  const step = gradients({});
  const before = tf.memory().numTensors;
  const { gradients: found } = step(batch);
  expect(tf.memory().numTensors - before).toBe(found.length);
  tf.dispose(found);
});

test('a layer that mixes rows is refused by name', () => {
  const mixing = tfl.sequential({
    layers: [tfl.layers.dense({ units: 3, inputShape: [WIDTH] }), tfl.layers.batchNormalization({ name: 'mixer' })],
  });
  const message = expect.stringContaining('layer mixer (BatchNormalization) may mix rows');
  const build = () =>
    privateGradients({ model: mixing, rowLoss, ending: 0, terms, expectedRows: 1, inputs: inputs as never });
  expect(build).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID', message }));
});
