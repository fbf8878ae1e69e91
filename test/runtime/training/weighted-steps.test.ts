import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import { startBackend } from '../../../runtime/training/backend.ts';
import { classWeights } from '../../../runtime/training/class-weights.ts';
import { createEngine, type Engine } from '../../../runtime/training/engine.ts';
import { parseTrainingConfig, type TrainingConfig } from '../../../runtime/training-config.ts';

const WASM = import.meta.resolve('@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm');
beforeAll(async () => {
  await startBackend({ wasmDir: dirname(fileURLToPath(WASM)) });
});

const RATE = 0.05;
const CLASSES = ['a', 'b', 'c'];
const configOf = (change: Partial<TrainingConfig['training']>) =>
  parseTrainingConfig({
    training: { input_size: 6, hidden_size: 8, output_size: 3, optimizer: 'sgd', learning_rate: RATE, ...change },
  });

const ROWS = 9;
const features = Float32Array.from({ length: ROWS * 6 }, (_, i) => Math.sin(i * 7));
const labels = Int32Array.from({ length: ROWS }, (_, i) => i % 3);
const batch = { features, labels, rows: ROWS };

const valuesOf = (engine: Engine) => new Map(engine.weights().map(({ name, values }) => [name, values.slice()]));

test('a row counts as much as its class in the loss that is learned from, and once in what is measured', () => {
  const config = configOf({ class_weights: { b: 3, c: 0.5 } });
  const weights = classWeights(config, CLASSES);
  expect(weights).toEqual(Float32Array.of(1, 3, 0.5));
  const [plain, weighted] = [createEngine(configOf({})), createEngine(config, undefined, weights)];
  expect(weighted.evaluate(batch)).toEqual(plain.evaluate(batch));
  let wanted = 0;
  for (let row = 0; row < ROWS; row++) {
    const one = { features: features.slice(row * 6, row * 6 + 6), labels: labels.slice(row, row + 1), rows: 1 };
    wanted += (plain.evaluate(one).lossSum * (weights?.[labels[row] ?? 0] ?? 0)) / ROWS;
  }
  plain.step(batch);
  weighted.step(batch);
  expect(weighted.loss()).toBeCloseTo(wanted, 5);
  expect(valuesOf(weighted)).not.toEqual(valuesOf(plain));
  plain.dispose();
  weighted.dispose();
});

test('a class that is not there is refused by name', () => {
  expect(() => classWeights(configOf({ class_weights: { d: 2 } }), CLASSES)).toThrow(
    expect.objectContaining({
      code: 'CONFIG_INVALID',
      message: 'class_weights names "d", which is no class of the data',
    }),
  );
  expect(classWeights(configOf({}), CLASSES)).toBeUndefined();
});

test.each(['sgd', 'adam'] as const)(
  '%s: decay takes its share of kernels beside the gradient, by the rate of the step',
  (optimizer) => {
    const [plain, decayed] = [
      createEngine(configOf({ optimizer })),
      createEngine(configOf({ optimizer, weight_decay: 0.5 })),
    ];
    const before = valuesOf(plain);
    plain.step(batch, RATE / 2);
    decayed.step(batch, RATE / 2);
    const found = valuesOf(decayed);
    for (const [name, values] of valuesOf(plain)) {
      const share = name.endsWith('kernel') ? (RATE / 2) * 0.5 : 0;
      const wanted = values.map((value, i) => value - share * (before.get(name)?.[i] ?? Number.NaN));
      for (const [i, value] of wanted.entries()) expect(found.get(name)?.[i]).toBeCloseTo(value, 6);
      // The share is more than the precision it is compared to.
      expect(values.some((value, i) => Math.abs(value - (found.get(name)?.[i] ?? 0)) > 1e-3)).toBe(share > 0);
    }
    expect(decayed.nativeCoverage()).toEqual({ covers: false, reason: 'not covered: weight_decay' });
    plain.dispose();
    decayed.dispose();
  },
);
