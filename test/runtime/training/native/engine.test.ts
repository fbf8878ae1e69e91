import { beforeAll, describe, expect, test } from 'vitest';
import { customObjective } from '../../../../runtime/training/custom-module.ts';
import { createEngine } from '../../../../runtime/training/engine.ts';
import { defineModel, type ModelDefinition } from '../../../../runtime/training/model-definition.ts';
import { parseTrainingConfig } from '../../../../runtime/training-config.ts';
import { hasNative, startNative } from './setup.ts';

const configOf = (optimizer: 'adam' | 'sgd') =>
  parseTrainingConfig({
    training: { input_size: 6, hidden_size: 8, output_size: 3, optimizer, learning_rate: 0.05 },
  });

function batchOf(step: number) {
  const rows = 5 + (step % 3);
  const features = Float32Array.from({ length: rows * 6 }, (_, i) => Math.sin(i * 7 + step));
  const labels = Int32Array.from({ length: rows }, (_, i) => (i + step) % 3);
  return { features, labels, rows };
}

const bits = (engine: ReturnType<typeof createEngine>) =>
  engine.snapshot().map(({ name, values }) => [name, [...new Uint32Array(values.slice().buffer)].join()]);

describe.skipIf(!hasNative)('an engine on the native backend', () => {
  beforeAll(startNative);

  test.each(['adam', 'sgd'] as const)('%s: a snapshot at any step goes on to the same bits', (optimizer) => {
    const whole = createEngine(configOf(optimizer));
    const snapshots = [whole.snapshot()];
    for (let step = 0; step < 6; step++) {
      whole.step(batchOf(step));
      snapshots.push(whole.snapshot());
    }
    const expected = bits(whole);
    for (const [from, snapshot] of snapshots.entries()) {
      const resumed = createEngine(configOf(optimizer));
      resumed.restore(snapshot);
      for (let step = from; step < 6; step++) resumed.step(batchOf(step));
      expect(bits(resumed)).toEqual(expected);
      resumed.dispose();
    }
    whole.dispose();
  });

  test('class weights are in the graph, weight decay is not', () => {
    const perClass = Float32Array.of(1, 4, 0.5);
    const training = { ...configOf('sgd').training, weight_decay: 1e-9 };
    const [compiled, stock] = [
      createEngine(configOf('sgd'), undefined, perClass),
      // So small a decay that it is none, and yet nothing that a graph has.
      createEngine({ training }, undefined, perClass),
    ];
    expect(compiled.coverage).toEqual({ covers: true });
    expect(stock.coverage).toEqual({ covers: false, reason: 'not covered: weight_decay' });
    for (let step = 0; step < 5; step++) for (const engine of [compiled, stock]) engine.step(batchOf(step));
    expect(compiled.loss()).toBeCloseTo(stock.loss(), 5);
    const [found, wanted] = [compiled.weights(), stock.weights()];
    for (const [i, { values }] of wanted.entries()) {
      for (const [j, value] of values.entries()) expect(found[i]?.values[j]).toBeCloseTo(value, 5);
    }
    compiled.dispose();
    stock.dispose();
  });

  test('evaluates and exports what it has learned', async () => {
    const engine = createEngine(configOf('adam'));
    expect(engine.coverage).toEqual({ covers: true });
    expect(engine.loss()).toBeNaN();
    const before = engine.evaluate(batchOf(0));
    const { weights: untrained } = await engine.exportModel();
    for (let step = 0; step < 100; step++) engine.step(batchOf(0));
    const after = engine.evaluate(batchOf(0));
    expect(after.lossSum).toBeLessThan(before.lossSum / 10);
    expect(after.correct).toBe(5);
    expect(engine.loss()).toBeCloseTo(after.lossSum / 5, 2);
    const { weights } = await engine.exportModel();
    expect(weights).not.toEqual(untrained);
    engine.dispose();
  });

  test('custom models with a named loss are one graph, those with a function are not', async () => {
    const { training } = configOf('adam');
    const config = { training: { ...training, output_size: 1 } };
    const schema = { featureCount: 6, dtype: 'float32', classes: [], normalisation: { kind: 'none' } } as const;
    const build: ModelDefinition['build'] = (tf, { input_size }) =>
      tf.sequential({ layers: [tf.layers.dense({ name: 'value', units: 1, inputShape: [input_size] })] });
    const engineOf = async (model: ModelDefinition) =>
      createEngine(config, await customObjective({ model }, { config, schema }));
    const named = await engineOf(defineModel({ build, loss: 'meanSquaredError' }));
    expect(named.coverage).toEqual({ covers: true });
    const own = await engineOf(
      defineModel({ build, loss: (tf, y, z) => tf.losses.meanSquaredError(y, tf.squeeze(z, [1])) }),
    );
    expect(own.coverage).toEqual({ covers: false, reason: "the loss is the module's own" });
    own.load(named.snapshot().filter(({ name }) => name.startsWith('value/') && !name.includes('adam')));
    for (let step = 0; step < 5; step++) {
      const { features, rows } = batchOf(step);
      const labels = Float32Array.from({ length: rows }, (_, i) => Math.cos(i + step));
      for (const engine of [named, own]) engine.step({ features, labels, rows });
      expect(named.loss()).toBeCloseTo(own.loss(), 4);
      expect(named.evaluate({ features, labels, rows }).lossSum).toBeCloseTo(
        own.evaluate({ features, labels, rows }).lossSum,
        3,
      );
    }
    for (const engine of [named, own]) engine.dispose();
  });
});
