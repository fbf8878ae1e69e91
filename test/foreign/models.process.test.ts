import { execFile, execFileSync } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import * as tfl from '@tensorflow/tfjs-layers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseMetricHistory } from '../../runtime/metric-history.ts';
import { exportModel } from '../../runtime/training/model.ts';
import { loadPredictor } from '../../runtime/training/predictor.ts';
import { decodeSafeTensors } from '../../runtime/training/safetensors.ts';
import { writeFormat } from '../../scripts/model/formats.ts';
import { encodeKeras } from '../../scripts/model/keras.ts';
import { readLayersModel } from '../../scripts/model/layers-model.ts';
import { type OpenedModel, readOpenedModel } from '../../scripts/model/opened-model.ts';
import { rowEncoder } from '../../scripts/model/row-encoder.ts';
import { predictRows } from '../../scripts/run/predict.ts';
import { flowers, opened, type Place, startPlace, train } from '../e2e/place.ts';

const PYTHON = fileURLToPath(new URL('../../.tools/models/bin/python', import.meta.url));
const SCRIPT = fileURLToPath(new URL('./models.py', import.meta.url));
const ROWS = 40;

function has(...modules: readonly string[]): boolean {
  try {
    const env = { ...process.env, KERAS_BACKEND: 'jax' };
    execFileSync(PYTHON, ['-c', `import ${modules.join(', ')}`], { stdio: 'ignore', env });
    return true;
  } catch {
    return false;
  }
}

async function python(...args: readonly string[]): Promise<unknown> {
  const { stdout } = await promisify(execFile)(PYTHON, [SCRIPT, ...args], { maxBuffer: 1 << 26 });
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '');
}

describe.skipIf(!has('safetensors', 'numpy'))('an opened model in other frameworks', () => {
  let place: Place;
  let folder: string;
  let model: OpenedModel;
  let rows: string;
  let ours: number[][];

  beforeAll(async () => {
    place = await startPlace({ rows: 600 });
    const runId = await train(place);
    await opened(place, runId);
    folder = join(place.dir, 'models', runId);
    model = await readOpenedModel(folder);
    rows = join(place.dir, 'rows.csv');
    await writeFile(rows, flowers(ROWS));
    ours = [];
    for await (const batch of predictRows(model, rows))
      ours.push(...batch.map(({ probabilities }) => [...probabilities]));
  });
  afterAll(() => place?.stop());

  const expectOurs = (theirs: unknown) => {
    expect(theirs).toHaveLength(ROWS);
    (theirs as number[][]).forEach((row, i) => {
      row.forEach((value, k) => {
        expect(value).toBeCloseTo(ours[i]?.[k] ?? Number.NaN, 5);
      });
    });
  };

  test('safetensors: numpy, and preprocessing from nothing but its metadata', async () => {
    const path = await writeFormat('safetensors', folder, model);
    expect(ours.flat().some((value) => value > 0.6)).toBe(true);
    expectOurs(await python('numpy', path ?? '', rows));
  });

  test('safetensors that Python wrote are read, as weights to start from', async () => {
    const shapes = { 'hidden/kernel': [8, 16], 'hidden/bias': [16], 'logits/kernel': [16, 3], 'logits/bias': [3] };
    const path = join(place.dir, 'python.safetensors');
    await python('write-weights', path, JSON.stringify(shapes));
    const { tensors } = decodeSafeTensors(Uint8Array.from(await readFile(path)));
    expect(Object.fromEntries(tensors.map(({ name, shape }) => [name, shape]))).toEqual(shapes);
    expect(tensors.every(({ values }) => values.some((value) => value !== 0))).toBe(true);
  });

  test.skipIf(!has('torch'))('safetensors: PyTorch', async () => {
    const path = await writeFormat('safetensors', folder, model);
    expectOurs(await python('torch', path ?? '', rows));
  });

  test.skipIf(!has('keras', 'jax', 'h5py'))('.keras: Keras 3', async () => {
    const path = await writeFormat('keras', folder, model);
    const { schema } = model.preprocessing;
    const encoder = rowEncoder(schema, [...schema.columns, 'label'], rows);
    const lines = flowers(ROWS).trimEnd().split('\n').slice(1);
    const inputs = lines.map((line, i) => {
      const target = new Float32Array(schema.featureCount);
      encoder.encode(line.split(','), `line ${i + 2}`, target, 0);
      return [...target];
    });
    const file = join(place.dir, 'inputs.json');
    await writeFile(file, JSON.stringify(inputs));
    expectOurs(await python('keras', path ?? '', file));
  });

  test.skipIf(!has('keras', 'jax', 'h5py'))(
    '.keras: layers beyond dense ones, with weights of every kind',
    async () => {
      const random = { biasInitializer: 'glorotNormal' } as const;
      const built = tfl.sequential({
        layers: [
          tfl.layers.reshape({ name: 'image', inputShape: [64], targetShape: [8, 8, 1] }),
          tfl.layers.conv2d({
            name: 'conv',
            filters: 4,
            kernelSize: 3,
            padding: 'same',
            activation: 'relu',
            ...random,
          }),
          tfl.layers.batchNormalization({ name: 'norm', movingMeanInitializer: 'glorotNormal' }),
          tfl.layers.maxPooling2d({ name: 'pool', poolSize: 2 }),
          tfl.layers.conv2d({ name: 'conv-2', filters: 4, kernelSize: 3, strides: 2, ...random }),
          tfl.layers.flatten({ name: 'flat' }),
          tfl.layers.dropout({ name: 'drop', rate: 0.3 }),
          tfl.layers.layerNormalization({ name: 'norm-2' }),
          tfl.layers.dense({ name: 'logits', units: 3 }),
          tfl.layers.softmax({ name: 'probabilities' }),
        ],
      });
      const { modelJson, weights } = await exportModel(built);
      const [path, inputs] = [join(place.dir, 'layers.keras'), join(place.dir, 'images.json')];
      await writeFile(path, encodeKeras(readLayersModel(modelJson, weights)));
      const features = Float32Array.from({ length: 2 * 64 }, (_, i) => Math.sin(i * 7));
      await writeFile(inputs, JSON.stringify([[...features.subarray(0, 64)], [...features.subarray(64)]]));
      const expected = (await loadPredictor({ modelJson, weights })).predict(features, 2);
      const theirs = (await python('keras', path, inputs)) as number[][];
      theirs.flat().forEach((value, i) => {
        expect(value).toBeCloseTo(expected[i] ?? Number.NaN, 5);
      });
      expect(theirs.flat()).toHaveLength(6);
    },
  );

  test.skipIf(!has('tensorboard'))("curves: TensorBoard's own loader", async () => {
    const [name = ''] = await readdir(join(folder, 'logs'));
    const found = (await python('events', join(folder, 'logs', name))) as [string, number, number, number][];
    const blob = await place.runs.get(`${model.content.runId}/metrics.json`);
    const points = parseMetricHistory(blob?.bytes ?? new Uint8Array());
    expect(points.length).toBeGreaterThanOrEqual(8);
    expect(found.map(([tag, step]) => [tag, step])).toEqual(points.map((point) => [point.name, point.step]));
    found.forEach(([, , time, value], i) => {
      expect(value).toBeCloseTo(points[i]?.value ?? Number.NaN, 5);
      expect(time).toBeCloseTo(Date.parse(points[i]?.at ?? '') / 1000, 3);
    });
  });
});
