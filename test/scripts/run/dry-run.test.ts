import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bundleCustom } from '../../../scripts/custom/bundle-custom.ts';
import { fittedConfiguration } from '../../../scripts/run/configuration.ts';
import { dryRunOnFile } from '../../../scripts/run/dry-run.ts';
import { dryRunLines } from '../../../scripts/run/dry-run-lines.ts';

let folder: string;
let input: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ctrain-dry-'));
  input = join(folder, 'rows.csv');
  const rows = Array.from({ length: 300 }, (_, i) => `${(i % 3) + Math.sin(i)},${Math.cos(i)},${'xyz'[i % 3]}`);
  await writeFile(input, `a,b,label\n${rows.join('\n')}\n`);
});
afterAll(() => rm(folder, { recursive: true }));

const rehearse = (set: readonly string[], custom = {}) =>
  dryRunOnFile(
    { inputPath: input },
    fittedConfiguration(['training.backend=wasm', ...set]),
    join(folder, 'work'),
    custom,
  );

test('one batch of the rows: layers, memory, steps, a lower loss, and nothing left behind', async () => {
  const found = await rehearse(['training.learning_rate=0.05', 'training.epochs=2', 'training.batch_size=64']);
  expect(found.layers).toMatchObject([
    { name: 'hidden', kind: 'Dense', shape: [16], parameters: 48, trained: 48 },
    { name: 'logits', kind: 'Dense', shape: [3], parameters: 51, trained: 51 },
    { name: 'probabilities', kind: 'Softmax', shape: [3], parameters: 0, trained: 0 },
  ]);
  const { rows = 0 } = found.run ?? {};
  expect(rows).toBeGreaterThan(150);
  expect(found.run).toEqual({ rows, stepsPerEpoch: Math.ceil(rows / 64), steps: 2 * Math.ceil(rows / 64) });
  expect(found.batch.rows).toBe(64);
  expect(found.batch.lossAfter).toBeLessThan(found.batch.lossBefore);
  expect(found.memory.checkpointBytes).toBe(3 * 4 * 99);
  expect(found).toMatchObject({ engine: { backend: 'wasm' }, native: { covers: true } });
  expect(await readdir(folder)).toEqual(['rows.csv']);

  const lines = dryRunLines(found);
  const rowsOfTable = lines.slice(0, 5);
  expect(new Set(rowsOfTable.map((line) => line.length)).size).toBe(1);
  expect(rowsOfTable[4]).toMatch(/total +99$/);
  expect(lines.at(-1)).toBe('nothing was sealed, uploaded, signed or started');
});

test('what cannot fit is one line', async () => {
  await expect(rehearse(['training.batch_size=65536', 'training.hidden_size=65536'])).rejects.toThrow(
    expect.objectContaining({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(/^this run needs about .* lower training\.batch_size$/),
    }),
  );
  expect(existsSync(join(folder, 'work'))).toBe(false);
});

const LAYER = "tf.layers.dense({ name: 'only', units: c.output_size, inputShape: [c.input_size], activation: 'selu' })";
const modelOf = (build: string) =>
  `import { defineModel } from 'confidential-training/model';
export default defineModel({
  build: (tf, c) => ${build},
  loss: (tf, y, z) => tf.losses.softmaxCrossEntropy(tf.oneHot(y, 3), z),
});`;

test('a model of one’s own is built, and what it throws is one line', async () => {
  const named = 'training.model=./model.ts';
  const sources = await mkdtemp(join(tmpdir(), 'ctrain-dry-model-'));
  const rehearseOwn = async (build: string) => {
    await writeFile(join(sources, 'model.ts'), modelOf(build));
    return rehearse([named], { custom: await bundleCustom({ folder: sources, model: './model.ts' }) });
  };
  try {
    const found = await rehearseOwn(`tf.sequential({ layers: [${LAYER}] })`);
    expect(found.layers).toMatchObject([{ name: 'only', shape: [3], parameters: 9 }]);
    expect(found.native).toMatchObject({ covers: false });
    expect(dryRunLines(found).join('\n')).toContain('does not cover the model: ');
  } finally {
    await rm(sources, { recursive: true });
  }
});
