import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { listing, newFolder, run, SMALL } from './cli-process.ts';
import { flowers } from './place.ts';

let folder: string;

beforeAll(async () => {
  folder = await newFolder();
  await writeFile(join(folder, 'flowers.csv'), flowers(200));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('without a key, a configuration or an emulator: one batch, and nothing is made', async () => {
  // The native engine's libraries have a word of their own to say.
  const wasm = ['--set', 'training.backend=wasm'];
  const { code, out, err } = await run(folder, 'train', '--data', 'flowers.csv', '--dry-run', ...wasm);
  expect([code, err]).toEqual([0, '']);
  expect(out).toContain('layer          kind     output  parameters\n');
  expect(out).toContain('nothing was sealed, uploaded, signed or started\n');
  expect(await listing(folder)).toEqual(['flowers.csv']);
});

/** Fails in the middle of training, not when it is tried. */
const MODEL = `import { defineModel } from 'confidential-training/model';
let calls = 0;
export default defineModel({
  build: (tf, c) => tf.sequential({ layers: [tf.layers.dense({ name: 'only', units: c.output_size,
    inputShape: [c.input_size], kernelInitializer: tf.initializers.glorotUniform({ seed: c.seed }) })] }),
  loss(tf, y, z) {
    const loss = tf.losses.softmaxCrossEntropy(tf.oneHot(y, 3), z);
    return ++calls > 25 ? tf.mul(loss, Number.NaN) : loss;
  },
});`;

test('a loss that is no number: what is kept is told, each time, and a dry run of the agreement still looks', async () => {
  await run(folder, 'init');
  await writeFile(join(folder, 'model.ts'), MODEL);
  const training = { ...SMALL, model: './model.ts', epochs: 10, checkpoint_steps: 8 };
  await writeFile(join(folder, 'training.json'), JSON.stringify({ training }));
  const message =
    /custom module: its loss or its weights are not finite: try a lower learning_rate, or normalised features, step \d+; the last good checkpoint, of step (8|16|24), is kept \[CONFIG_INVALID\]\n$/;
  for (const runs of [1, 2]) {
    const { code, err } = await run(folder, 'train', '--data', 'flowers.csv', '--yes');
    expect([code, err]).toEqual([2, expect.stringMatching(message)]);
    const listed = JSON.parse((await run(folder, 'runs', '--json')).out) as { status: { state: string } }[];
    expect(listed.map(({ status }) => status.state)).toEqual(Array(runs).fill('refused'));
  }

  const work = (await readdir(join(folder, '.ctrain', 'work'), { recursive: true })).sort();
  const agreement = join('.ctrain', 'work', work.find((name) => name.includes('agreement-')) ?? '');
  const { code, out } = await run(folder, 'train', '--agreement', agreement, '--dry-run');
  expect(code).toBe(0);
  expect(out).toContain('steps          not known: the deployment does not run\n');
  expect(out).toContain("native engine  does not cover the model: the loss is the module's own\n");
}, 120_000);
