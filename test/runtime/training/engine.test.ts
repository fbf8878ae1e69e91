import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { beforeAll, expect, test } from 'vitest';
import { startBackend } from '../../../runtime/training/backend.ts';
import { createEngine } from '../../../runtime/training/engine.ts';
import { exportModel } from '../../../runtime/training/model.ts';
import { loadPredictor } from '../../../runtime/training/predictor.ts';
import { parseTrainingConfig } from '../../../runtime/training-config.ts';

const WASM = import.meta.resolve('@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm');

beforeAll(async () => {
  const info = await startBackend({ wasmDir: dirname(fileURLToPath(WASM)) });
  expect(info).toMatchObject({ backend: 'wasm', simd: true, threads: 1 });
});

const configOf = (optimizer: 'adam' | 'sgd', learning_rate = 0.05) =>
  parseTrainingConfig({ training: { input_size: 6, hidden_size: 8, output_size: 3, optimizer, learning_rate } });

function batchOf(step: number) {
  const rows = 5 + (step % 3);
  const features = Float32Array.from({ length: rows * 6 }, (_, i) => Math.sin(i * 7 + step));
  const labels = Int32Array.from({ length: rows }, (_, i) => (i + step) % 3);
  return { features, labels, rows };
}

const bits = (engine: ReturnType<typeof createEngine>) =>
  engine
    .snapshot()
    .map(({ name, values }) => [
      name,
      Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('hex'),
    ]);

test.each(['adam', 'sgd'] as const)('%s: a snapshot at any step goes on to the same bits', (optimizer) => {
  const whole = createEngine(configOf(optimizer));
  const snapshots = [whole.snapshot()];
  for (let step = 0; step < 12; step++) {
    whole.step(batchOf(step));
    snapshots.push(whole.snapshot());
  }
  const expected = bits(whole);
  for (const [from, snapshot] of snapshots.entries()) {
    const resumed = createEngine(configOf(optimizer));
    resumed.restore(snapshot);
    for (let step = from; step < 12; step++) resumed.step(batchOf(step));
    expect(bits(resumed)).toEqual(expected);
    resumed.dispose();
  }
  whole.dispose();
});

test('the power that tfjs would compute again is not the product that Adam holds', () => {
  const engine = createEngine(configOf('adam'));
  for (let step = 0; step < 40; step++) engine.step(batchOf(step));
  const stored = engine.snapshot().find(({ name }) => name === 'adam/accBeta2')?.values[0];
  const computed = tf.tidy(() => tf.pow(0.999, 41).dataSync()[0]);
  expect(stored).not.toBe(computed);
  engine.dispose();
});

test('learns, evaluates over what it learned, and keeps no tensor', () => {
  const engine = createEngine(configOf('adam'));
  expect(engine.coverage).toEqual({ covers: false, reason: 'the backend is wasm, not native' });
  engine.step(batchOf(0));
  const before = engine.evaluate(batchOf(0));
  const { numTensors } = tf.memory();
  for (let step = 0; step < 100; step++) engine.step(batchOf(0));
  expect(tf.memory().numTensors).toBe(numTensors);
  const after = engine.evaluate(batchOf(0));
  expect(after.lossSum).toBeLessThan(before.lossSum / 10);
  expect(after.correct).toBe(5);
  expect(engine.loss()).toBeCloseTo(after.lossSum / 5, 2);
  engine.dispose();
});

test('every engine that is disposed leaves nothing behind', () => {
  const { numTensors } = tf.memory();
  const engine = createEngine(configOf('adam'));
  engine.step(batchOf(0));
  engine.snapshot();
  engine.dispose();
  expect(tf.memory().numTensors).toBe(numTensors);
});

test('initial weights are a function of the seed', () => {
  const seeds = [1, 1, 2].map((seed) => {
    const { training } = configOf('sgd');
    return JSON.stringify(bits(createEngine({ training: { ...training, seed } })));
  });
  expect(seeds[0]).toBe(seeds[1]);
  expect(seeds[0]).not.toBe(seeds[2]);
});

test('a snapshot of another model is refused with what is missing', () => {
  const sgd = createEngine(configOf('sgd'));
  const adam = createEngine(configOf('adam'));
  expect(() => adam.restore(sgd.snapshot())).toThrow(
    expect.objectContaining({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('hidden/kernel/adam/m of shape [6,8]'),
    }),
  );
});

test('weights to start from are taken as they are, and only if they fit', () => {
  const first = createEngine(configOf('adam'));
  first.step(batchOf(1));
  const weights = first.snapshot().filter(({ name }) => !name.includes('adam'));
  const second = createEngine(configOf('adam'));
  second.load(weights);
  expect(bits(second).slice(0, 4)).toEqual(bits(first).slice(0, 4));
  expect(() => second.load(weights.slice(1))).toThrow(
    expect.objectContaining({
      code: 'CONFIG_INVALID',
      message: 'initial weights have 3 tensors, wanted 4; it lacks: hidden/kernel of shape [6,8]',
    }),
  );
  const turned = weights.map((tensor, i) => (i === 0 ? { ...tensor, shape: [8, 6] } : tensor));
  expect(() => second.load(turned)).toThrow('it lacks: hidden/kernel of shape [6,8]');
  expect(() => second.load(first.snapshot())).toThrow('initial weights have 14 tensors, wanted 4');
});

test('weights that are not trained keep their names in the exported model', async () => {
  const model = tfl.sequential({
    layers: [
      tfl.layers.batchNormalization({ name: 'norm', inputShape: [3], movingMeanInitializer: 'glorotNormal' }),
      tfl.layers.dense({ name: 'out', units: 2 }),
    ],
  });
  const { modelJson, weights } = await exportModel(model);
  const x = tf.tensor2d([[1, 2, 3]]);
  const expected = (model.predict(x) as tf.Tensor).dataSync();
  const specs: { name: string; shape: number[] }[] = JSON.parse(new TextDecoder().decode(modelJson)).weightsManifest[0]
    .weights;
  expect(specs.map(({ name, shape }) => [name, shape.join()])).toEqual([
    ['norm/gamma', '3'],
    ['norm/beta', '3'],
    ['out/kernel', '3,2'],
    ['out/bias', '2'],
    ['norm/moving_mean', '3'],
    ['norm/moving_variance', '3'],
  ]);
  const predictor = await loadPredictor({ modelJson, weights });
  expect(predictor.predict(Float32Array.of(1, 2, 3), 1)).toEqual(expected);
});

test('the exported model is one that tfjs loads and that answers alike', async () => {
  const engine = createEngine(configOf('sgd'));
  for (let step = 0; step < 5; step++) engine.step(batchOf(step));
  const { modelJson, weights } = await engine.exportModel();
  const json = JSON.parse(new TextDecoder().decode(modelJson));
  expect(json.weightsManifest[0].weights.map(({ name }: { name: string }) => name)).toEqual([
    'hidden/kernel',
    'hidden/bias',
    'logits/kernel',
    'logits/bias',
  ]);
  const model = await tfl.loadLayersModel(
    tf.io.fromMemory({
      modelTopology: json.modelTopology,
      weightSpecs: json.weightsManifest[0].weights,
      weightData: weights.slice().buffer,
    }),
  );
  const { features, labels, rows } = batchOf(0);
  const answers = tf.argMax(model.predict(tf.tensor2d(features, [rows, 6])) as tf.Tensor, 1).dataSync();
  const correct = labels.filter((label, i) => label === answers[i]).length;
  expect(engine.evaluate(batchOf(0)).correct).toBe(correct);
});

/** Every way to multiply, against derivatives taken by differences. */
test.each([
  [false, false],
  [false, true],
  [true, false],
  [true, true],
])('gradient of matMul, transposed: %s, %s', (transposeA, transposeB) => {
  const a = tf.tensor2d(
    Array.from({ length: 6 }, (_, i) => Math.cos(i)),
    transposeA ? [3, 2] : [2, 3],
  );
  const b = tf.tensor2d(
    Array.from({ length: 12 }, (_, i) => Math.sin(i + 1)),
    transposeB ? [4, 3] : [3, 4],
  );
  const f = (x: tf.Tensor, y: tf.Tensor) => tf.sum(tf.square(tf.matMul(x, y, transposeA, transposeB))) as tf.Scalar;
  const gradients = tf.grads((x, y) => f(x as tf.Tensor, y as tf.Tensor))([a, b]);
  for (const [index, operand] of [a, b].entries()) {
    const values = operand.dataSync();
    const numeric = Array.from(values, (_, i) => {
      const at = (delta: number) => {
        const moved = tf.tensor(
          values.map((value, j) => (i === j ? value + delta : value)),
          operand.shape,
        );
        return f(index === 0 ? moved : a, index === 0 ? b : moved).dataSync()[0] ?? 0;
      };
      return (at(0.01) - at(-0.01)) / 0.02;
    });
    const found = Array.from(gradients[index]?.dataSync() ?? []);
    for (const [i, value] of found.entries()) expect(value).toBeCloseTo(numeric[i] ?? Number.NaN, 2);
  }
});
