import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseTrainingConfig } from '../../../runtime/training-config.ts';
import { bundleCustom } from '../../../scripts/custom/bundle-custom.ts';
import { checkCustom } from '../../../scripts/custom/check-custom.ts';

const EXAMPLES = join(import.meta.dirname, '../../../examples');
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ctrain-custom-'));
});
afterAll(() => rm(dir, { recursive: true }));

const configOf = (training: object) => parseTrainingConfig({ training: { hidden_size: 8, ...training } });

test.each([
  ['deck-model.ts', 12, 3, ['accuracy']],
  ['convnet.ts', 64, 3, ['accuracy']],
  ['regression.ts', 5, 1, ['mean_absolute_error']],
  ['text-classifier.ts', 10, 2, ['accuracy']],
])('%s goes all the way on made-up rows, and names its metrics', async (model, input_size, output_size, own) => {
  const custom = await bundleCustom({ folder: EXAMPLES, model });
  const names = ['loss', ...own];
  expect(await checkCustom(custom, configOf({ input_size, output_size, model }))).toEqual({
    metrics: ['loss', ...names.map((name) => `validation_${name}`), ...names.map((name) => `test_${name}`)],
  });
});

test('of a dataset only that it loads', async () => {
  const dataset = 'recording-dataset.ts';
  const custom = await bundleCustom({ folder: EXAMPLES, dataset });
  const { metrics } = await checkCustom(custom, configOf({ input_size: 4, output_size: 2, dataset }));
  expect(metrics).toContain('test_accuracy');
});

test.each([
  [
    'another shape than configured',
    `build: (tf) => tf.sequential({ layers: [tf.layers.dense({ units: 2, inputShape: [3] })] }), loss: () => 1`,
    'wanted one whose sizes multiply to input_size 4',
  ],
  [
    'a mistake that only the second split shows',
    `build: (tf, c) => tf.sequential({ layers: [tf.layers.dense({ units: 2, inputShape: [4] })] }),
    loss: (tf, y, z) => tf.mean(z), metrics: { m: (tf, y, z) => z }`,
    'metric m: found a tensor of [2,2], wanted a scalar',
  ],
])('%s is told in full, here where no row is', async (_, members, message) => {
  const text = `import { defineModel } from 'confidential-training/model';\nexport default defineModel({ ${members} });`;
  await writeFile(join(dir, 'model.ts'), text);
  const custom = await bundleCustom({ folder: dir, model: './model.ts' });
  await expect(checkCustom(custom, configOf({ input_size: 4, output_size: 2, model: './model.ts' }))).rejects.toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(message) }),
  );
});
