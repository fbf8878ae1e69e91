/**
 * One contestant of bench/native.ts: `stock` trains as tfjs-node does by itself, `ours` on compiled steps. For every line
 * `mlp|convnet BATCH sgd|adam MILLISECONDS` it answers with samples a second.
 */
import { createInterface } from 'node:readline';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { startBackend } from '../runtime/training/backend.ts';
import { namedWeights } from '../runtime/training/model.ts';
import { compileStep } from '../runtime/training/native/compile.ts';
import { batches, CLASSES, LEARNING_RATE, type ModelName, PIXELS } from './native-data.ts';

const { layers } = tfl;
const WARM_UP_STEPS = 20;
/** How often somebody looks at the loss. */
const LOSS_STEPS = 50;

const MODELS: Readonly<Record<ModelName, () => tfl.layers.Layer[]>> = {
  mlp: () => [layers.dense({ inputShape: [PIXELS], units: 512, activation: 'relu' })],
  convnet: () => [
    layers.reshape({ inputShape: [PIXELS], targetShape: [28, 28, 1] }),
    layers.conv2d({ filters: 8, kernelSize: 5, activation: 'relu' }),
    layers.maxPooling2d({ poolSize: 2 }),
    layers.conv2d({ filters: 16, kernelSize: 5, activation: 'relu' }),
    layers.maxPooling2d({ poolSize: 2 }),
    layers.flatten(),
  ],
};

type Step = (index: number) => unknown;

function stock(name: ModelName, rows: number, optimizer: 'sgd' | 'adam'): Step {
  const head = layers.dense({ units: CLASSES, activation: 'softmax' });
  const model = tfl.sequential({ layers: [...MODELS[name](), head] });
  const rule = optimizer === 'adam' ? tf.train.adam(LEARNING_RATE) : tf.train.sgd(LEARNING_RATE);
  model.compile({ optimizer: rule, loss: 'sparseCategoricalCrossentropy' });
  const data = batches(rows).map(({ features, labels }) => ({
    x: tf.tensor2d(features, [rows, PIXELS]),
    y: tf.tensor2d(Float32Array.from(labels), [rows, 1]),
  }));
  return async (index) => {
    const batch = data[index % data.length];
    if (batch !== undefined) await model.trainOnBatch(batch.x, batch.y);
  };
}

function ours(name: ModelName, rows: number, kind: 'sgd' | 'adam'): Step {
  const model = tfl.sequential({ layers: [...MODELS[name](), layers.dense({ units: CLASSES })] });
  const weights = namedWeights(model);
  const slots = (kind === 'adam' ? ['m', 'v'] : []).flatMap((slot) =>
    weights.map((weight) => ({
      name: `${weight.name}/adam/${slot}`,
      variable: tf.variable(tf.zerosLike(weight.variable)),
    })),
  );
  const step = compileStep({ model, optimizer: { kind }, state: [...weights, ...slots] });
  if (typeof step === 'string') throw new Error(step);
  const data = batches(rows);
  return (index) => {
    const batch = data[index % data.length];
    if (batch !== undefined) step.run({ ...batch, rows }, LEARNING_RATE);
    return index % LOSS_STEPS === 0 ? step.loss() : undefined;
  };
}

const [contestant, nativeDir = ''] = process.argv.slice(2);
await startBackend({ wasmDir: '', nativeDir, backend: 'native' });
const steps = new Map<string, Step>();
for await (const line of createInterface(process.stdin)) {
  const [name, rows, optimizer, milliseconds] = line.split(' ') as [ModelName, string, 'sgd' | 'adam', string];
  const key = `${name} ${rows} ${optimizer}`;
  const step = steps.get(key) ?? (contestant === 'stock' ? stock : ours)(name, Number(rows), optimizer);
  if (!steps.has(key)) for (let i = 0; i < WARM_UP_STEPS; i++) await step(i);
  steps.set(key, step);
  const start = performance.now();
  let count = 0;
  for (; performance.now() - start < Number(milliseconds); count++) await step(count);
  console.log((count * Number(rows) * 1000) / (performance.now() - start));
}
