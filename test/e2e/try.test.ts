import { createHash } from 'node:crypto';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { listing, newFolder, run, SMALL, start } from './cli-process.ts';
import { flowers } from './place.ts';

const BANNER = 'NOT CONFIDENTIAL: plain rows, in this process; no keys, no receipt\n';
const TRAINING = { ...SMALL, epochs: 3, backend: 'wasm' };
const TRY = ['try', '--data', 'flowers.csv'];

let folder: string;

beforeAll(async () => {
  folder = await newFolder();
  await writeFile(join(folder, 'flowers.csv'), flowers(400));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const configure = (training: object) => writeFile(join(folder, 'training.json'), JSON.stringify({ training }));

async function weights(runId: string): Promise<string> {
  const bytes = await readFile(join(folder, 'models', runId, 'model', 'weights.bin'));
  return createHash('sha256').update(bytes).digest('hex');
}

/** The curves, but for the time of day. */
async function points(runId: string): Promise<unknown[]> {
  const { points: found } = JSON.parse(await readFile(join(folder, 'models', runId, 'metrics.json'), 'utf8'));
  return found.map(({ name, step, value }: { name: string; step: number; value: number }) => [name, step, value]);
}

/** A run that must succeed: what it prints as JSON. */
async function tried(...args: string[]): Promise<{ runId: string; kind: string; metrics: Record<string, number> }> {
  const { code, out, err } = await run(folder, ...TRY, '--json', ...args);
  expect([code, err]).toEqual([0, BANNER]);
  return JSON.parse(out);
}

test('a run on plain rows makes the bits that a sealed one makes, and what it leaves is a model like any other', async () => {
  await configure(TRAINING);
  const plain = await tried();
  expect(plain).toMatchObject({ kind: 'plain', metrics: { test_accuracy: expect.any(Number) } });
  expect((await listing(folder)).filter((name) => !name.startsWith('models'))).toEqual([
    'flowers.csv',
    'training.json',
  ]);
  const files = ['logs', 'metrics.json', 'model', 'model-card.json', 'model-card.md'];
  expect((await readdir(join(folder, 'models', plain.runId))).sort()).toEqual(files);

  await run(folder, 'init', '--config', 'unused.json');
  const train = await run(folder, 'train', '--data', 'flowers.csv', '--yes', '--json');
  const sealed = JSON.parse(train.out) as { runId: string; metrics: Record<string, number> };
  expect(await weights(plain.runId)).toBe(await weights(sealed.runId));
  expect(plain.metrics).toMatchObject(sealed.metrics);

  const model = join('models', plain.runId);
  const predicted = await run(folder, 'predict', '--model', model, '--input', 'flowers.csv');
  expect(predicted).toMatchObject({ code: 0 });
  expect(predicted.out.split('\n').length).toBeGreaterThan(400);
  const compared = await run(folder, 'runs', '--compare', plain.runId, sealed.runId);
  expect([compared.code, compared.out]).toEqual([0, expect.stringContaining('plain')]);
  const verified = await run(folder, 'verify', model);
  expect([verified.code !== 0, verified.err]).toEqual([true, expect.stringContaining('receipt.dsse.json')]);
}, 120_000);

test('ctrl-C and kill -9 leave no rows for good; the same command goes on to the same bits', async () => {
  await configure({ ...TRAINING, hidden_size: 256, epochs: 150, checkpoint_steps: 50 });
  const whole = await tried();
  const interrupted = start(folder, ...TRY);
  expect(await interrupted.sees('prepare data')).toBe(true);
  interrupted.kill('SIGINT');
  expect(await interrupted.ended).toMatchObject({
    code: 130,
    err: expect.stringContaining('the same command goes on'),
  });
  const plaintext = async () => (await listing(folder)).filter((name) => name.includes('plain-'));
  expect(await plaintext()).toEqual([]);

  const killed = start(folder, ...TRY);
  expect(await killed.sees('prepare data')).toBe(true);
  killed.kill('SIGKILL');
  await killed.ended;
  expect((await plaintext()).length).toBeGreaterThan(0);
  const resumed = await tried();
  expect(await weights(resumed.runId)).toBe(await weights(whole.runId));
  expect(await points(resumed.runId)).toEqual(await points(whole.runId));
  expect(await plaintext()).toEqual([]);
  expect((await listing(folder)).filter((name) => name.includes('.checkpoint'))).toEqual([]);
}, 120_000);

const MODEL = `import { defineModel } from 'confidential-training/model';
export default defineModel({
  build: (tf, c) => tf.sequential({ layers: [tf.layers.dense({ name: 'only', units: c.output_size, inputShape: [c.input_size] })] }),
  loss(tf, labels) { throw new RangeError(\`met \${labels.shape}\`); },
});`;

test("what a custom module throws is told whole: the rows are the reader's own", async () => {
  await writeFile(join(folder, 'model.ts'), MODEL);
  await configure({ ...TRAINING, model: './model.ts' });
  const { code, err } = await run(folder, ...TRY);
  expect(code).toBe(2);
  expect(err).toBe(
    `${BANNER}error: custom module: it threw (RangeError at model.ts:4), step 1\nRangeError: met 32\n    at loss (model.ts:4:28) [CONFIG_INVALID]\n`,
  );
}, 60_000);

test.each([
  [['try'], 'error: try wants --data FILE [CONFIG_INVALID]\n'],
  [[...TRY, '--set', 'training.epoch=3'], '--set: training.epoch: unknown key, did you mean training.epochs?'],
  [['try', '--data', 'nothing.csv'], 'nothing.csv'],
  [[...TRY, '--set', 'training.dataset_weights={"other":1}'], 'dataset_weights'],
])('%j is one line', async (args, message) => {
  const { code, err } = await run(folder, ...args);
  expect([code, err]).toEqual([2, expect.stringContaining(message)]);
  expect(err.replace(BANNER, '').trimEnd().split('\n')).toHaveLength(1);
});
