import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { LOSSES, type LossName } from '../../../../runtime/training/model-definition.ts';
import { namedLoss } from '../../../../runtime/training/named-loss.ts';
import {
  type CompiledStep,
  compileStep,
  coverage,
  type StepBatch,
} from '../../../../runtime/training/native/compile.ts';
import type { Labels } from '../../../../runtime/training/native/losses.ts';
import type { Optimizer } from '../../../../runtime/training/native/optimizers.ts';
import { hasNative, startNative, startWasm } from './setup.ts';

const { layers } = tfl;
const CLASSES = 4;
const RATE = 0.05;

/** A layer by its text, so that a failing model can be read; weights are a function of its place. */
const build = (specs: readonly object[], inputShape: number[]): tfl.LayersModel => {
  const model = tfl.sequential();
  for (const [i, spec] of specs.entries()) {
    const { kind, ...config } = { kind: 'dense', ...spec } as { kind: keyof typeof layers };
    const make = layers[kind] as unknown as (config: object) => tfl.layers.Layer;
    const kernelInitializer = tfl.initializers.glorotUniform({ seed: i + 1 });
    const biasInitializer = tfl.initializers.randomUniform({ minval: -0.2, maxval: 0.2, seed: i + 51 });
    const embeddingsInitializer = tfl.initializers.randomUniform({ minval: -1, maxval: 1, seed: i + 1 });
    const seeded = kind === 'embedding' ? { embeddingsInitializer } : { kernelInitializer, biasInitializer };
    model.add(make({ ...seeded, ...config, ...(i === 0 && { inputShape }) }));
  }
  return model;
};

const weightsOf = (model: tfl.LayersModel) =>
  model.layers.flatMap((layer) =>
    layer.weights.map((weight) => ({
      name: `${layer.name}/${weight.originalName.split('/').at(-1)}`,
      variable: weight.read() as tf.Variable,
    })),
  );

/** Weights, and what the optimizer keeps, as an engine names it. */
const stateOf = (model: tfl.LayersModel, optimizer: Optimizer) => {
  const { kind } = optimizer;
  const { beta1 = 0.9, beta2 = 0.999 } = kind === 'adam' ? optimizer : {};
  const weights = weightsOf(model);
  const slots = { sgd: [], momentum: ['/momentum'], adam: ['/adam/m', '/adam/v'] }[kind];
  const zeros = slots.flatMap((slot) =>
    weights.map(({ name, variable }) => ({ name: name + slot, variable: tf.variable(tf.zerosLike(variable)) })),
  );
  const powers = [
    { name: 'adam/accBeta1', variable: tf.variable(tf.scalar(beta1)) },
    { name: 'adam/accBeta2', variable: tf.variable(tf.scalar(beta2)) },
  ];
  return [...weights, ...zeros, ...(kind === 'adam' ? powers : [])];
};

const compiled = (model: tfl.LayersModel, optimizer: Optimizer, state = stateOf(model, optimizer)): CompiledStep => {
  const step = compileStep({ model, optimizer, state });
  if (typeof step === 'string') throw new Error(step);
  return step;
};

const stockOptimizer = (optimizer: Optimizer) => {
  if (optimizer.kind === 'sgd') return tf.train.sgd(RATE);
  if (optimizer.kind === 'momentum') return tf.train.momentum(RATE, optimizer.momentum, optimizer.nesterov);
  return tf.train.adam(RATE, optimizer.beta1, optimizer.beta2, optimizer.epsilon);
};

/** One step as tfjs does it by itself. */
const stockStep = (model: tfl.LayersModel, optimizer: tf.Optimizer, { features, labels, rows }: StepBatch): number =>
  tf.tidy(() => {
    const x = tf.tensor(features, [rows, ...((model.inputs[0]?.shape ?? []).slice(1) as number[])]);
    const y = tf.oneHot(tf.tensor1d(labels, 'int32'), CLASSES);
    const variables = model.trainableWeights.map((weight) => weight.read() as tf.Variable);
    const { value, grads } = tf.variableGrads(
      () => tf.losses.softmaxCrossEntropy(y, model.apply(x) as tf.Tensor) as tf.Scalar,
      variables,
    );
    optimizer.applyGradients(variables.map(({ name }) => ({ name, tensor: grads[name] as tf.Tensor })));
    return value.dataSync()[0] ?? Number.NaN;
  });

const batchOf = (inputShape: readonly number[], seed: number, integers = 0): StepBatch => {
  const rows = 3 + (seed % 3);
  const size = inputShape.reduce((a, b) => a * b, 1);
  const value = (i: number) => Math.sin(i * 12.9898 + seed * 78.233);
  const features = Float32Array.from({ length: rows * size }, (_, i) =>
    integers > 0 ? Math.floor(Math.abs(value(i)) * integers) % integers : value(i),
  );
  const labels = Int32Array.from({ length: rows }, (_, i) => (i * 7 + seed) % CLASSES);
  return { features, labels, rows };
};

const distance = (a: tfl.LayersModel, b: tfl.LayersModel) =>
  Math.max(
    ...weightsOf(a).map(({ variable }, i) =>
      tf.tidy(() => tf.max(tf.abs(tf.sub(variable, weightsOf(b)[i]?.variable as tf.Variable))).dataSync()[0] ?? 0),
    ),
  );

interface Model {
  readonly specs: readonly object[];
  readonly inputShape: number[];
  /** Inputs are whole numbers below this. */
  readonly integers?: number;
}

/** Five steps of each from the same weights. */
function expectEqualTraining({ specs, inputShape, integers }: Model, optimizer: Optimizer): void {
  const [ours, stock] = [build(specs, inputShape), build(specs, inputShape)];
  expect(distance(ours, stock)).toBe(0);
  const step = compiled(ours, optimizer);
  const stockRule = stockOptimizer(optimizer);
  for (let seed = 0; seed < 5; seed++) {
    const batch = batchOf(inputShape, seed, integers);
    step.run(batch, RATE);
    expect(step.loss()).toBeCloseTo(stockStep(stock, stockRule, batch), 3);
  }
  step.pull();
  expect(distance(ours, stock)).toBeLessThan(2e-3);
  step.dispose();
  ours.dispose();
  stock.dispose();
}

const activation = fc.constantFrom('linear', 'relu', 'relu6', 'elu', 'sigmoid', 'tanh');
const logits = { kind: 'dense', units: CLASSES };
const perceptron: fc.Arbitrary<Model> = fc
  .tuple(
    fc.integer({ min: 1, max: 9 }),
    fc.array(fc.record({ units: fc.integer({ min: 1, max: 12 }), activation, useBias: fc.boolean() }), {
      maxLength: 3,
    }),
  )
  .map(([inputs, hidden]) => ({ specs: [...hidden, logits], inputShape: [inputs] }));
const image = fc.tuple(fc.integer({ min: 7, max: 9 }), fc.integer({ min: 7, max: 9 }), fc.integer({ min: 1, max: 3 }));
const padding = fc.constantFrom('valid', 'same');
const convolution = fc.record({
  kind: fc.constant('conv2d'),
  filters: fc.integer({ min: 1, max: 4 }),
  kernelSize: fc.constantFrom(1, 2, [3, 2]),
  strides: fc.constantFrom(1, 2, 3),
  padding,
  activation,
  useBias: fc.boolean(),
});
const pooling = fc.record({
  kind: fc.constantFrom('maxPooling2d', 'averagePooling2d'),
  poolSize: fc.constantFrom(2, [1, 2]),
  strides: fc.constantFrom(1, 2),
  padding,
});
const ending = fc.constantFrom<object[]>([{ kind: 'flatten' }], [{ kind: 'globalAveragePooling2d' }]);
const convnet: fc.Arbitrary<Model> = fc
  .tuple(
    image,
    convolution,
    fc.option(pooling),
    fc.option(convolution.map((layer) => ({ ...layer, padding: 'same' }))),
    ending,
  )
  .map(([inputShape, first, pool, second, end]) => ({
    specs: [first, ...(pool === null ? [] : [pool]), ...(second === null ? [] : [second]), ...end, logits],
    inputShape,
  }));
const embedded: fc.Arbitrary<Model> = fc
  .tuple(fc.integer({ min: 2, max: 6 }), fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 5 }), fc.boolean())
  .map(([integers, length, outputDim, pooled]) => ({
    specs: [
      { kind: 'embedding', inputDim: integers, outputDim },
      { kind: pooled ? 'globalAveragePooling1d' : 'flatten' },
      logits,
    ],
    inputShape: [length],
    integers,
  }));
const optimizers = fc.constantFrom<Optimizer>(
  { kind: 'sgd' },
  { kind: 'momentum', momentum: 0.9 },
  { kind: 'momentum', momentum: 0.8, nesterov: true },
  // A larger epsilon than tfjs's: Adam makes whole steps of gradients that are nothing but rounding.
  { kind: 'adam', epsilon: 1e-3 },
  { kind: 'adam', beta1: 0.8, beta2: 0.99, epsilon: 1e-3 },
);

interface Aim {
  readonly loss: LossName;
  readonly labels: Labels;
  readonly width: number;
}

/** Classes of several outputs, or one output that is a value or tells 0 from 1. */
const aims: fc.Arbitrary<Aim> = fc
  .record({ loss: fc.constantFrom(...LOSSES), width: fc.integer({ min: 1, max: 4 }), value: fc.boolean() })
  .map(({ loss, width, value }) => {
    const several = loss === 'softmaxCrossEntropy' || loss === 'categoricalCrossentropy';
    const labels = value && width === 1 && !several ? 'values' : 'classes';
    return { loss, labels, width: several ? width + 1 : width };
  });
const ENDS: Readonly<Partial<Record<LossName, string>>> = {
  categoricalCrossentropy: 'softmax',
  binaryCrossentropy: 'sigmoid',
};

/** As {@link expectEqualTraining}, by a named loss. */
function expectEqualLosses({ specs, inputShape }: Model, { loss, labels, width }: Aim, optimizer: Optimizer): void {
  const all = [...specs.slice(0, -1), { units: width, activation: ENDS[loss] ?? 'linear' }];
  const [ours, stock] = [build(all, inputShape), build(all, inputShape)];
  const step = compileStep({ model: ours, optimizer, state: stateOf(ours, optimizer), loss, labels });
  if (typeof step === 'string') throw new Error(step);
  const rule = stockOptimizer(optimizer);
  const variables = stock.trainableWeights.map((weight) => weight.read() as tf.Variable);
  for (let seed = 0; seed < 5; seed++) {
    const { features, rows, labels: classes } = batchOf(inputShape, seed);
    // A single output of a loss by probabilities lies between 0 and 1.
    const given =
      labels === 'values'
        ? Float32Array.from(classes, (each) => each / CLASSES)
        : Int32Array.from(classes, (each) => each % Math.max(width, 2));
    step.run({ features, rows, labels: given }, RATE);
    const value = tf.tidy(() => {
      const x = tf.tensor(features, [rows, ...inputShape]);
      const y = tf.tensor1d(given, labels === 'values' ? 'float32' : 'int32');
      const { value, grads } = tf.variableGrads(
        () => namedLoss(loss, y, stock.apply(x) as tf.Tensor) as tf.Scalar,
        variables,
      );
      rule.applyGradients(variables.map(({ name }) => ({ name, tensor: grads[name] as tf.Tensor })));
      return value.dataSync()[0] ?? Number.NaN;
    });
    expect(step.loss()).toBeCloseTo(value, 3);
  }
  step.pull();
  expect(distance(ours, stock)).toBeLessThan(2e-3);
  step.dispose();
  ours.dispose();
  stock.dispose();
}

// Models need a backend to be built on, even where none computes.
beforeAll(() => (hasNative ? startNative() : startWasm()));

describe.skipIf(!hasNative)('a compiled step', () => {
  test.each([
    ['dense', perceptron],
    ['convolution and pooling', convnet],
    ['embedding', embedded],
  ])('%s: five steps leave the weights that tfjs leaves', (_name, models) => {
    fc.assert(
      fc.property(models, optimizers, (model, optimizer) => {
        expectEqualTraining(model, optimizer);
      }),
      { numRuns: 15 },
    );
  });

  test('losses by name: five steps leave the weights that tfjs leaves', () => {
    fc.assert(
      fc.property(perceptron, aims, optimizers, (model, aim, optimizer) => {
        expectEqualLosses(model, aim, optimizer);
      }),
      { numRuns: 40 },
    );
  });

  test("Adam with tfjs's own numbers leaves the weights that tfjs leaves", () => {
    expectEqualTraining({ specs: [{ units: 6, activation: 'tanh' }, logits], inputShape: [5] }, { kind: 'adam' });
  });

  test('what it takes over and gives back continues to the same bits', () => {
    const optimizer: Optimizer = { kind: 'adam' };
    const specs = [{ units: 7, activation: 'relu' }, logits];
    const whole = build(specs, [3]);
    const other = build(specs, [3]);
    const state = stateOf(whole, optimizer);
    const [first, second] = [compiled(whole, optimizer, state), compiled(other, optimizer)];
    for (let seed = 0; seed < 4; seed++) for (const step of [first, second]) step.run(batchOf([3], seed), RATE);
    first.pull();
    first.dispose();
    const resumed = compiled(whole, optimizer, state);
    for (let seed = 4; seed < 8; seed++) for (const step of [resumed, second]) step.run(batchOf([3], seed), RATE);
    for (const step of [resumed, second]) step.pull();
    expect(distance(whole, other)).toBe(0);
  });

  test('row weights multiply the loss of their rows', () => {
    const [model, half] = [build([logits], [3]), build([logits], [3])];
    const batch = batchOf([3], 0);
    const [all, weighted] = [compiled(model, { kind: 'sgd' }), compiled(half, { kind: 'sgd' })];
    all.run({ ...batch, rows: 1 }, RATE);
    weighted.run(
      batch,
      RATE,
      Float32Array.from({ length: batch.rows }, (_, i) => (i === 0 ? 1 : 0)),
    );
    for (const step of [all, weighted]) step.pull();
    expect(weighted.loss()).toBeCloseTo(all.loss(), 5);
    expect(distance(model, half)).toBeLessThan(1e-6);
  });

  test('a layer that is not trainable stays as it is', () => {
    const model = build([{ units: 3 }, logits], [2]);
    const [frozen, learning] = model.layers;
    if (frozen !== undefined) frozen.trainable = false;
    const before = model.layers.map((layer) => [...(layer.getWeights()[0]?.dataSync() ?? [])]);
    const step = compiled(model, { kind: 'sgd' });
    step.run(batchOf([2], 0), RATE);
    step.pull();
    expect([...(frozen?.getWeights()[0]?.dataSync() ?? [])]).toEqual(before[0]);
    expect([...(learning?.getWeights()[0]?.dataSync() ?? [])]).not.toEqual(before[1]);
  });

  test('keeps no tensor', () => {
    const step = compiled(build([{ units: 3 }, logits], [2]), { kind: 'sgd' });
    step.run(batchOf([2], 0), RATE);
    step.pull();
    const { numTensors } = tf.memory();
    for (let seed = 0; seed < 20; seed++) step.run(batchOf([2], seed), RATE);
    step.pull();
    step.push();
    expect(tf.memory().numTensors).toBe(numTensors);
    step.dispose();
  });

  test.each([
    [
      [1, 2],
      [1, 4, 1, 1],
    ],
    [
      [2, 1],
      [1, 1, 1, 1],
    ],
  ] as [[number, number], [number, number, number, number]][])(
    'tfjs itself does not convolve at strides %s, where kernels are wrong',
    (strides, filter) => {
      const convolve = () =>
        tf.conv2d(tf.ones([2, 7, 5, 1]) as tf.Tensor4D, tf.ones(filter) as tf.Tensor4D, strides, 'valid');
      expect(convolve).toThrow(
        expect.objectContaining({
          code: 'CONFIG_INVALID',
          message: `native convolutions give wrong values where strides differ: found ${strides[0]} and ${strides[1]}`,
        }),
      );
    },
  );
});

const branches = () => {
  const input = tfl.input({ shape: [4] });
  const ends = [1, 2].map(() => layers.dense({ units: CLASSES }).apply(input) as tfl.SymbolicTensor);
  return tfl.model({ inputs: input, outputs: layers.add().apply(ends) as tfl.SymbolicTensor });
};

test.each<[string, () => tfl.LayersModel, string | undefined]>([
  ['a chain of dense layers', () => build([{ units: 3 }, logits], [2]), undefined],
  ['dropout', () => build([{ kind: 'dropout', rate: 0.5 }, logits], [2]), 'is of a kind that has no kernels here'],
  ['a regularizer', () => build([{ units: 4, kernelRegularizer: 'l1l2' }], [2]), 'has a kernelRegularizer'],
  ['a constraint', () => build([{ units: 4, biasConstraint: 'nonNeg' }], [2]), 'has a biasConstraint'],
  ['another activation', () => build([{ units: 4, activation: 'softsign' }], [2]), 'has activation softsign'],
  ['rows of rows', () => build([{ units: 4 }, { kind: 'flatten' }], [2, 2]), 'has an input of 3 dimensions, not 2'],
  [
    'masked zeros',
    () =>
      build(
        [{ kind: 'embedding', inputDim: 3, outputDim: 2, maskZero: true }, { kind: 'globalAveragePooling1d' }, logits],
        [2],
      ),
    'masks zeros',
  ],
  [
    'images of unknown size',
    () =>
      build(
        [{ kind: 'conv2d', filters: 1, kernelSize: 1 }, { kind: 'globalAveragePooling2d' }, logits],
        [null as never, 4, 1],
      ),
    'sizes that change',
  ],
  [
    'dilated filters',
    () =>
      build([{ kind: 'conv2d', filters: 1, kernelSize: 2, dilationRate: 2 }, { kind: 'flatten' }, logits], [3, 4, 1]),
    'has dilated filters',
  ],
  [
    'strides that differ',
    () =>
      build([{ kind: 'conv2d', filters: 1, kernelSize: 1, strides: [1, 2] }, { kind: 'flatten' }, logits], [3, 4, 1]),
    'has strides that differ',
  ],
  ['branches', branches, 'has 2 inputs'],
  [
    'logits in a picture',
    () => build([{ kind: 'reshape', targetShape: [2, 2] }], [4]),
    'the logits have 3 dimensions, not 2',
  ],
])('coverage: %s', (_name, model, reason) => {
  const found = coverage({ model: model(), optimizer: { kind: 'sgd' } });
  expect(found).toEqual(
    reason === undefined ? { covers: true } : { covers: false, reason: expect.stringContaining(reason) },
  );
});

test.each<[Partial<Aim>, object, string]>([
  [{ labels: 'values' }, logits, 'the labels are one value a row, the model has 4 outputs'],
  [{ labels: 'values' }, { units: 1 }, 'the loss is softmaxCrossEntropy, the labels are values'],
  [{ loss: 'categoricalCrossentropy' }, logits, 'categoricalCrossentropy wants softmax at the end'],
  [{ loss: 'binaryCrossentropy' }, { units: 1, activation: 'tanh' }, 'binaryCrossentropy wants sigmoid at the end'],
  [{}, { units: 4, activation: 'softmax' }, 'has activation softmax'],
])('coverage: %j of %j', (aim, last, reason) => {
  const found = coverage({ model: build([last], [2]), optimizer: { kind: 'sgd' }, ...aim });
  expect(found).toEqual({ covers: false, reason: expect.stringContaining(reason) });
});
