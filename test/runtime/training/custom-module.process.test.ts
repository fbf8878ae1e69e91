import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CUSTOM_CODE_FILE } from '../../../runtime/catalogue.ts';
import { encodeShard } from '../../../runtime/data/arrow-shard.ts';
import { type RunWorkerOptions, runWorker, type WorkerResult } from '../../../runtime/training/broker-side.ts';
import type { CustomModuleError } from '../../../runtime/training/custom-error.ts';
import type { TrainingConfig } from '../../../runtime/training-config.ts';
import { bundleCustom } from '../../../scripts/custom/bundle-custom.ts';
import { bundledWorker, type TestData, testData } from './worker-setup.ts';

let worker: Awaited<ReturnType<typeof bundledWorker>>;
let sources: string;

beforeAll(async () => {
  worker = await bundledWorker();
  sources = await mkdtemp(join(tmpdir(), 'ctrain-sources-'));
});
afterAll(async () => {
  await worker.remove();
  await rm(sources, { recursive: true });
});

/** A good model, of which each test changes one line. */
const BUILD = `build: (tf, c) => tf.sequential({ layers: [tf.layers.dense({ name: 'only', units: c.output_size,
    inputShape: [c.input_size], kernelInitializer: tf.initializers.glorotUniform({ seed: c.seed }) })] })`;
const LOSS = 'loss: (tf, y, z) => tf.losses.softmaxCrossEntropy(tf.oneHot(y, 3), z)';
const model = (...members: readonly string[]) =>
  `import { defineModel } from 'confidential-training/model';\nlet calls = 0;\nconst kept = [];\nexport default defineModel({\n${members.join(',\n')},\n});`;
const GOOD = model(BUILD, LOSS);

interface Modules {
  readonly model?: string;
  readonly dataset?: string;
}

/** Puts modules into the worker's folder; the configuration names them. */
async function custom(modules: Modules, training: Partial<TrainingConfig['training']> = {}): Promise<TestData> {
  for (const [kind, source] of Object.entries(modules)) await writeFile(join(sources, `${kind}.ts`), source);
  const named = Object.fromEntries(Object.keys(modules).map((kind) => [kind, `./${kind}.ts`]));
  const { bytes } = await bundleCustom({ folder: sources, ...named });
  await writeFile(join(worker.dir, CUSTOM_CODE_FILE), bytes);
  return testData({ ...named, ...training });
}

async function run(options: RunWorkerOptions): Promise<WorkerResult> {
  const handle = await worker.start();
  try {
    return await runWorker(handle, options);
  } finally {
    await handle.stop();
  }
}

async function failing(options: RunWorkerOptions): Promise<CustomModuleError> {
  const error: unknown = await run(options).then(
    () => new Error('it trained'),
    (reason: unknown) => reason,
  );
  expect(error).toMatchObject({ name: 'SecureTrainingError', code: 'CONFIG_INVALID' });
  return error as CustomModuleError;
}

test.each(['', ', seed: 7'])('dropout%s: going on gives the same bytes', async (seed) => {
  const build = `build: (tf, c) => tf.sequential({ layers: [tf.layers.dropout({ rate: 0.5, inputShape: [c.input_size]${seed} }),
    tf.layers.dense({ name: 'only', units: c.output_size, kernelInitializer: tf.initializers.glorotUniform({ seed: c.seed }) })] })`;
  const data = await custom({ model: model(build, LOSS) });
  const kept = new Map<number, Uint8Array>();
  const whole = await run({ ...data, onCheckpoint: async (step, bytes) => void kept.set(step, bytes) });
  const resume = kept.get(7);
  if (resume === undefined) throw new Error('no checkpoint');
  expect(await run({ ...data, resume })).toEqual(whole);
});

test('a model of one’s own: the same bytes twice, going on from a checkpoint too; four digits leave', async () => {
  const metrics = 'metrics: { wrong: (tf, y, z) => tf.mean(tf.cast(tf.notEqual(tf.argMax(z, 1), y), "float32")) }';
  const data = await custom(
    { model: model(BUILD, LOSS, metrics) },
    { checkpoint_steps: 5, epochs: 8, learning_rate: 0.05 },
  );
  const checkpoints: Uint8Array[] = [];
  const whole = await run({ ...data, onCheckpoint: async (_, bytes) => void checkpoints.push(bytes) });
  expect(await run(data)).toEqual(whole);
  const resume = checkpoints[1];
  if (resume === undefined) throw new Error('no checkpoint');
  expect(await run({ ...data, resume })).toEqual(whole);
  expect(Object.keys(whole.metrics)).toEqual([
    'loss',
    'validation_loss',
    'validation_wrong',
    'validation_accuracy',
    'validation_macro_precision',
    'validation_macro_recall',
    'validation_macro_f1',
    'test_loss',
    'test_wrong',
    'test_accuracy',
    'test_macro_precision',
    'test_macro_recall',
    'test_macro_f1',
  ]);
  expect(whole.metrics.test_wrong).toBeLessThan(0.2);
  expect(Object.values(whole.metrics).every((value) => value === Number(value.toPrecision(4)))).toBe(true);
});

test('moving means are kept in checkpoint and model, and are not trained', async () => {
  const build = `build: (tf, c) => tf.sequential({ layers: [
    tf.layers.batchNormalization({ name: 'norm', inputShape: [c.input_size] }),
    tf.layers.dense({ name: 'only', units: c.output_size, kernelInitializer: tf.initializers.zeros() })] })`;
  const data = await custom({ model: model(build, LOSS) }, { checkpoint_steps: 5 });
  const checkpoints: Uint8Array[] = [];
  const whole = await run({ ...data, onCheckpoint: async (_, bytes) => void checkpoints.push(bytes) });
  const topology = JSON.parse(new TextDecoder().decode(whole.model.modelJson)) as {
    weightsManifest: { weights: { name: string; shape: number[] }[] }[];
  };
  expect(topology.weightsManifest[0]?.weights.map(({ name, shape }) => [name, shape])).toEqual([
    ['norm/gamma', [12]],
    ['norm/beta', [12]],
    ['only/kernel', [12, 3]],
    ['only/bias', [3]],
    ['norm/moving_mean', [12]],
    ['norm/moving_variance', [12]],
  ]);
  const mean = new Float32Array(whole.model.weights.slice().buffer, (12 + 12 + 36 + 3) * 4, 12);
  expect(mean.every((value) => value > 0)).toBe(true);
  const resume = checkpoints[0];
  if (resume === undefined) throw new Error('no checkpoint');
  expect(await run({ ...data, resume })).toEqual(whole);
});

test.each<[string, Modules, string, string]>([
  [
    'throws in build',
    { model: model('build() { throw new RangeError("row 5") }', LOSS) },
    'it threw (RangeError at model.ts:5), step 0',
    'row 5',
  ],
  [
    'throws while it loads',
    { model: `throw new TypeError('at once');\nexport {}; ${GOOD}` },
    'it threw (TypeError at model.ts:1), step 0',
    'at once',
  ],
  [
    'throws in the fourth step, by a class named after a row',
    {
      model: model(
        BUILD,
        `loss(tf, y, z) {\n  class Patient_7_HIV extends Error {}\n  if (++calls > 3) throw new Patient_7_HIV('row');\n  return tf.mean(z); }`,
      ),
    },
    'it threw (Error at model.ts:9), step 4',
    'row',
  ],
  [
    'makes up its stack',
    {
      model: model(
        BUILD,
        `loss() { const e = new Error('x'); e.stack = 'x\\n    at f (Patient_7.ts:1:1)\\n    at f (Patient_7.ts:12345678:1)'; throw e; }`,
      ),
    },
    'it threw (Error at an unknown place), step 1',
    'Patient_7',
  ],
  [
    'no default export',
    { model: 'export default { build: 1 };' },
    'its default export is not what defineModel',
    'model.ts: wanted',
  ],
  [
    'no loss',
    { model: model(BUILD) },
    'it threw (TypeError at model.ts:4), step 0',
    'defineModel: wanted functions loss',
  ],
  ['a member too many', { model: model(BUILD, LOSS, 'optimizer: 1') }, 'it threw (TypeError', 'optimizer is no member'],
  [
    'a number for a model',
    { model: model('build: () => 5', LOSS) },
    'build did not return a tfjs model',
    'build gave number',
  ],
  [
    'wrong input and output',
    {
      model: model('build: (tf) => tf.sequential({ layers: [tf.layers.dense({ units: 4, inputShape: [5] })] })', LOSS),
    },
    'build did not return a tfjs model of the wanted input and output, step 0',
    'the first [null, 5]: wanted one whose sizes multiply to input_size 12; 1 outputs, the first [null, 4]: wanted one of [null, 3]',
  ],
  [
    'a loss that is no scalar',
    { model: model(BUILD, 'loss: (tf, y, z) => z') },
    'it gave something else than a tensor of the wanted shape, step 1',
    'loss: found a tensor of [32,3], wanted a scalar',
  ],
  [
    'a loss that is a number',
    { model: model(BUILD, 'loss: () => 0.5') },
    'it gave something else than a tensor',
    'loss: found number, wanted a scalar',
  ],
  [
    'a promise for a loss',
    { model: model(BUILD, 'loss: async (tf, y, z) => tf.mean(z)') },
    'it returned a promise where a tensor was wanted, step 1',
    'loss: found a promise',
  ],
  [
    'keeps a tensor',
    { model: model(BUILD, 'loss: (tf, y, z) => { kept.push(tf.keep(tf.add(z, 1))); return tf.mean(z); }') },
    'it keeps tensors: there are more after each step, step 2',
    'a step left 1 tensors more',
  ],
  [
    'keeps one in a metric',
    { model: model(BUILD, LOSS, 'metrics: { m: (tf, y, z) => tf.keep(tf.mean(z)) }') },
    'it keeps tensors',
    'an evaluation left 1 tensors more',
  ],
  [
    'a loss without a gradient',
    { model: model(BUILD, 'loss: (tf) => tf.scalar(1)') },
    'it threw (Error',
    'Cannot find a connection',
  ],
  [
    'a loss that is not finite',
    { model: model(BUILD, 'loss: (tf, y, z) => tf.log(tf.neg(tf.mean(tf.square(z))))') },
    'its loss or its weights are not finite: try a lower learning_rate, or normalised features, step ',
    'loss is not finite',
  ],
  [
    'a tensor of its own tfjs',
    { model: model(BUILD, 'loss: () => ({ shape: [], dataSync: () => [1] })') },
    'it gave something else than a tensor',
    'loss: found object',
  ],
])('%s: one sentence for everybody, the text for the owners', async (_, modules, sentence, text) => {
  const error = await failing(await custom(modules));
  expect(error.message).toContain(`custom module: ${sentence}`);
  expect(error.message).not.toContain('Patient');
  expect(error.failures).toEqual([error.message]);
  expect(error.text).toContain(text);
});

test.each([
  ['a build that never settles', { model: model('build: () => new Promise(() => {})', LOSS) }],
  ['a loss without end', { model: model(BUILD, 'loss: () => { for (;;); }') }],
  [
    'an open that never settles',
    {
      dataset:
        "import { defineDataset } from 'confidential-training/model';\nexport default defineDataset({ open: () => new Promise(() => {}) });",
    },
  ],
])('%s is ended by the broker', async (_, modules: Modules) => {
  const error = await failing({ ...(await custom(modules)), silenceInMs: 1500 });
  expect(error.text).toContain('nothing for 1500 ms');
  expect(error.message).toBe(
    'custom module: nothing was heard of it: a promise that never settles, or a loop without end, step 0',
  );
});

test('a model that does not fit is refused before a shard is asked for', async () => {
  let asked = 0;
  const data = await custom({ model: GOOD });
  const openShard = async () => {
    asked++;
    return new Uint8Array(0);
  };
  const error = await failing({ ...data, openShard, memoryBytes: 1e8 });
  expect(error.message).toBe(
    'custom module: it takes more memory than there is: fewer or smaller layers, or a lower training.batch_size or training.shuffle_rows, step 0',
  );
  expect(error.text).toMatch(/^this run needs about \d+ MB of memory/);
  expect(asked).toBe(0);
});

test('a broker that is slow itself blames nobody', async () => {
  const data = await custom({ model: GOOD }, { epochs: 1 });
  let slow = true;
  const result = await run({
    ...data,
    silenceInMs: 400,
    async openShard(split, index) {
      if (slow) await new Promise((done) => setTimeout(done, 1000));
      slow = false;
      return data.openShard(split, index);
    },
  });
  expect(result.steps).toBe(6);
});

test('a failure in the middle keeps the checkpoints before it', async () => {
  const data = await custom({
    model: model(BUILD, `loss(tf, y, z) { if (++calls > 4) throw new Error(); return tf.mean(z); }`),
  });
  const steps: number[] = [];
  const error = await failing({ ...data, onCheckpoint: async (step) => void steps.push(step) });
  expect(error.message).toBe('custom module: it threw (Error at model.ts:7), step 5');
  expect(steps).toEqual([1, 2, 3, 4]);
});

const dataset = (...members: readonly string[]) =>
  `import { defineDataset } from 'confidential-training/model';\nexport default defineDataset({\n${members.join(',\n')},\n});`;
/** Rows of twelve bytes and a class. */
const OPEN = `async open(bytes, place, c) {
  const rows = Array.from({ length: bytes.length / 13 }, (_, i) => bytes.subarray(i * 13, i * 13 + 13));
  return { features: Float32Array.from(rows.flatMap((row) => [...row.subarray(0, 12)])), labels: Int32Array.from(rows, (row) => row[12]) };
}`;
const rawShards = { train: [8, 5], validation: [3], test: [4] };
const raw = {
  shards: rawShards,
  openShard: async (split: string, index: number) => {
    const rows = rawShards[split as keyof typeof rawShards][index] ?? 0;
    return Uint8Array.from({ length: rows * 13 }, (_, i) => {
      const label = Math.floor(i / 13) % 3;
      return i % 13 === 12 ? label : Math.floor((i % 13) / 4) === label ? 1 : 0;
    });
  },
};

test('bytes of one’s own, for the declarative model and for one of one’s own', async () => {
  const declarative = await run({ ...(await custom({ dataset: dataset(OPEN) }, { epochs: 40 })), ...raw });
  expect(declarative.metrics.test_accuracy).toBe(1);
  const toBatch = `toBatch: (tf, batch, c) => ({ x: tf.tensor2d(batch.features, [batch.rows, 12]), y: tf.oneHot(tf.tensor1d(batch.labels, 'int32'), 3) })`;
  const metrics =
    'metrics: { right: (tf, y, z) => tf.mean(tf.cast(tf.equal(tf.argMax(z, 1), tf.argMax(y, 1)), "float32")) }';
  const modules = {
    dataset: dataset(OPEN, toBatch),
    model: model(BUILD, 'loss: (tf, y, z) => tf.losses.softmaxCrossEntropy(y, z)', metrics),
  };
  const own = await run({ ...(await custom(modules, { epochs: 60 })), ...raw });
  expect(own.metrics.test_right).toBe(1);
});

test.each<[string, Modules, string, string]>([
  [
    'nothing',
    { dataset: dataset('open: () => undefined') },
    'its dataset gave other rows',
    'train shard 0: features are undefined, wanted 8 rows of 12',
  ],
  [
    'too few rows',
    { dataset: dataset('open: () => ({ features: new Float32Array(24), labels: new Int32Array(2) })') },
    'its dataset gave other rows',
    'features are 24 in Float32Array',
  ],
  [
    'too few labels',
    { dataset: dataset('open: (b, p) => ({ features: new Float32Array(p.rows * 12), labels: new Int32Array(1) })') },
    'its dataset gave other rows',
    'labels are 1 in Int32Array',
  ],
  [
    'labels of another type',
    {
      dataset: dataset(
        'open: (b, p) => ({ features: new Float32Array(p.rows * 12), labels: new Float32Array(p.rows) })',
      ),
    },
    'its dataset gave other rows',
    'labels are 8 in Float32Array',
  ],
  [
    'a label outside',
    {
      dataset: dataset(
        'open: (b, p) => ({ features: new Float32Array(p.rows * 12), labels: new Int32Array(p.rows).fill(3) })',
      ),
    },
    'a label is outside the classes',
    'train shard 0, row 0: its label is not one of 3 classes',
  ],
  [
    'an exception',
    { dataset: dataset('open: () => { throw new SyntaxError("byte 7") }') },
    'it threw (SyntaxError at dataset.ts:3), step 0',
    'byte 7',
  ],
  [
    'toBatch without a model',
    { dataset: dataset(OPEN, 'toBatch: () => ({})') },
    'its default export is not',
    'toBatch needs a model of its own',
  ],
  [
    'wrong x',
    { dataset: dataset(OPEN, 'toBatch: (tf) => ({ x: tf.zeros([1]), y: tf.zeros([1]) })'), model: GOOD },
    'it gave something else than a tensor',
    'x of toBatch: found a tensor of [1], wanted a tensor of [13,12]',
  ],
])('a dataset that gives %s', async (_, modules, sentence, text) => {
  const error = await failing({ ...(await custom(modules)), ...raw });
  expect(error.message).toContain(`custom module: ${sentence}`);
  expect(error.text).toContain(text);
});

test('a worker without the file says so, and no agreement is broken by a configuration alone', async () => {
  const data = await custom({ model: GOOD });
  await rm(join(worker.dir, CUSTOM_CODE_FILE));
  const error = await failing(data);
  expect(error.text).toBe('the trainer bundle has no custom.mjs');
});

test('what a module said last is heard while large blocks are still on their way to it', async () => {
  const data = await custom({
    model: model(BUILD, `loss(tf, y, z) { if (++calls > 1) throw new Error(); return tf.mean(z); }`),
  });
  const rows = 60_000;
  const block = (split: string) =>
    encodeShard(
      { features: new Uint8Array(rows * 12), featureCount: 12, labels: new Int32Array(rows) },
      { version: 1, split },
    );
  for (let i = 0; i < 5; i++) {
    const error = await failing({
      ...data,
      shards: { train: [32, rows, rows, rows, rows] },
      openShard: async (split, index) =>
        index === 0
          ? encodeShard(
              { features: new Uint8Array(32 * 12), featureCount: 12, labels: new Int32Array(32) },
              { version: 1, split },
            )
          : block(split),
    });
    expect(error.message).toBe('custom module: it threw (Error at model.ts:7), step 2');
  }
});
