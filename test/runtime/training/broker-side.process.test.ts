import { existsSync } from 'node:fs';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sha256, toHex } from '../../../runtime/crypto/bytes.ts';
import { encodeShard } from '../../../runtime/data/arrow-shard.ts';
import {
  type RunWorkerOptions,
  runWorker,
  startWorker,
  type WorkerResult,
} from '../../../runtime/training/broker-side.ts';
import type { Progress } from '../../../runtime/training/frames.ts';
import { privacyOf } from '../../../runtime/training/privacy/terms.ts';
import { decodeSafeTensors, encodeSafeTensors } from '../../../runtime/training/safetensors.ts';
import { bundledWorker, testData } from './worker-setup.ts';

let worker: Awaited<ReturnType<typeof bundledWorker>>;

beforeAll(async () => {
  worker = await bundledWorker();
});
afterAll(() => worker.remove());

const error = (code: string, message: string) =>
  expect.objectContaining({ code, message: expect.stringContaining(message) });

/** One run in a worker of its own. */
async function run(options: RunWorkerOptions): Promise<WorkerResult> {
  const handle = await worker.start();
  try {
    return await runWorker(handle, options);
  } finally {
    await handle.stop();
  }
}

/** A run with every checkpoint it left. */
async function wholeRun(data = testData()): Promise<{ result: WorkerResult; checkpoints: Map<number, Uint8Array> }> {
  const checkpoints = new Map<number, Uint8Array>();
  const result = await run({ ...data, onCheckpoint: async (step, bytes) => void checkpoints.set(step, bytes) });
  return { result, checkpoints };
}

test('same seed and data: the same bytes; another seed: others', async () => {
  const [first, second, other] = [await wholeRun(), await wholeRun(), await wholeRun(testData({ seed: 1 }))];
  expect(second).toEqual(first);
  expect(other.result.model.weights).not.toEqual(first.result.model.weights);
  expect(first.result.steps).toBe(18);
  expect([...first.checkpoints.keys()]).toEqual([...Array(18).keys()].map((i) => i + 1));
  expect(first.result.metrics.test_accuracy).toBeGreaterThan(0.9);
  expect(Object.keys(first.result.metrics)).toEqual([
    'loss',
    'validation_loss',
    'validation_accuracy',
    'validation_macro_precision',
    'validation_macro_recall',
    'validation_macro_f1',
    'test_loss',
    'test_accuracy',
    'test_macro_precision',
    'test_macro_recall',
    'test_macro_f1',
  ]);
  const { test: counts, validation } = first.result.scores;
  expect([counts, validation].map((each) => each?.flat().reduce((sum, rows) => sum + rows, 0))).toEqual([40, 31]);
  expect(counts?.reduce((sum, row, i) => sum + (row[i] ?? 0), 0)).toBe(40 * (first.result.metrics.test_accuracy ?? 0));
});

test('no epochs: the initial weights are measured as their own run measured them, and come back unchanged', async () => {
  const whole = await wholeRun();
  const resume = [...whole.checkpoints.values()].at(-1) ?? expect.fail('no checkpoint');
  const tensors = decodeSafeTensors(resume).tensors.filter(({ name }) => /^(hidden|logits)\/(kernel|bias)$/.test(name));
  const initialWeights = encodeSafeTensors({ tensors, metadata: {} });
  const none = { epochs: 0, initial_weights: toHex(sha256(initialWeights)) };
  const untrained = { ...testData(none), initialWeights };
  const checkpoints: number[] = [];
  for (const train of [untrained.shards.train ?? [], []]) {
    const result = await run({
      ...untrained,
      shards: { ...untrained.shards, train },
      onCheckpoint: async (step) => void checkpoints.push(step),
    });
    const { loss: _, ...measured } = whole.result.metrics;
    expect(result).toEqual({ ...whole.result, metrics: measured, steps: 0 });
  }
  expect(checkpoints).toEqual([]);
  await expect(run({ ...untrained, shards: { train: [37] } })).rejects.toThrow(
    error('CONFIG_INVALID', 'epochs is 0, and neither the validation nor the test split has rows to measure'),
  );
  await expect(run(testData(none))).rejects.toThrow(error('EVIDENCE_MALFORMED', 'safetensors'));
});

test('going on from any checkpoint gives the same model, metrics and later checkpoints', async () => {
  const whole = await wholeRun();
  for (const [step, resume] of whole.checkpoints) {
    const later = new Map<number, Uint8Array>();
    const result = await run({ ...testData(), resume, onCheckpoint: async (at, bytes) => void later.set(at, bytes) });
    expect(result).toEqual(whole.result);
    expect(later).toEqual(new Map([...whole.checkpoints].filter(([at]) => at > step)));
  }
});

test.each([
  { schedule: 'cosine', warmup_steps: 4 },
  { schedule: 'cosine', class_weights: { b: 3 }, weight_decay: 0.5 },
  { optimizer: 'sgd', momentum: 0.9, schedule: 'step', decay_steps: 5, decay_factor: 0.5 },
] as const)('going on is exact with %j', async (change) => {
  const whole = await wholeRun(testData(change));
  for (const step of [1, 7, 12]) {
    const resume = whole.checkpoints.get(step);
    if (resume === undefined) throw new Error('no checkpoint');
    expect(await run({ ...testData(change), resume })).toEqual(whole.result);
  }
  const constant = await wholeRun(testData('optimizer' in change ? { optimizer: change.optimizer } : {}));
  expect(whole.result.model.weights).not.toEqual(constant.result.model.weights);
});

test('stops early, and where it went on from makes no difference', async () => {
  // A rate at which the loss soon no longer falls.
  const change = { epochs: 40, optimizer: 'sgd', learning_rate: 9, early_stopping_epochs: 2 } as const;
  const whole = await wholeRun(testData(change));
  expect(whole.result.steps).toBeLessThan(240);
  expect(whole.result.steps % 6).toBe(0);
  const resume = whole.checkpoints.get(whole.result.steps);
  if (resume === undefined) throw new Error('no checkpoint');
  expect(await run({ ...testData(change), resume })).toEqual(whole.result);
});

test('with privacy: it learns, goes on counting after a resume, ends with its budget, and is refused what would undo it', async () => {
  const change = {
    privacy_noise: 0.6,
    privacy_delta: 0.001,
    epochs: 12,
    optimizer: 'sgd',
    learning_rate: 0.5,
  } as const;
  const { result, checkpoints } = await wholeRun(testData(change));
  expect(result.steps).toBe(72);
  expect(result.metrics.test_accuracy).toBeGreaterThan(0.6);
  const resume = checkpoints.get(40);
  if (resume === undefined) throw new Error('no checkpoint');
  const seen: number[] = [];
  const later = await run({ ...testData(change), resume, onCheckpoint: async (step) => void seen.push(step) });
  expect([later.steps, seen[0]]).toEqual([72, 41]);
  // What is drawn is the system's: a seed that everybody knows would take the noise off again.
  expect((await wholeRun(testData(change))).result.model.weights).not.toEqual(result.model.weights);

  const limited = await wholeRun(testData({ ...change, privacy_noise: 2, privacy_budget: 3 }));
  const { config } = testData({ ...change, privacy_noise: 2, privacy_budget: 3 });
  const rows = testData(change).shards.train?.reduce((sum, count) => sum + count, 0) ?? 0;
  expect(limited.result.steps).toBeLessThan(72);
  expect(privacyOf(config, rows, limited.result.steps)?.epsilon).toBeLessThanOrEqual(3);
  expect(privacyOf(config, rows, limited.result.steps + 1)?.epsilon).toBeGreaterThan(3);
  expect(limited.checkpoints.has(limited.result.steps)).toBe(true);
  const failure = {
    code: 'CONFIG_INVALID',
    message: expect.stringContaining('privacy_delta is 0.05, wanted below 1/rows'),
  };
  await expect(run(testData({ ...change, privacy_delta: 0.05 }))).rejects.toMatchObject(failure);
});

test.each([
  { max_steps: 8 },
  { validation_epochs: 2 },
  { epochs: 12, optimizer: 'sgd', learning_rate: 9, early_stopping_epochs: 2, keep: 'best', checkpoint_steps: 5 },
] as const)('going on from any checkpoint is exact with %j', async (change) => {
  const whole = await wholeRun(testData(change));
  expect(whole.checkpoints.has(whole.result.steps)).toBe(true);
  if ('max_steps' in change) expect(whole.result.steps).toBe(8);
  for (const resume of [...whole.checkpoints.values()].slice(-4)) {
    expect(await run({ ...testData(change), resume })).toEqual(whole.result);
  }
});

test('time that is up ends a run regularly, and it does not go on', async () => {
  const whole = await wholeRun(testData({ max_minutes: 1e-9 }));
  expect(whole.result.steps).toBe(1);
  expect(whole.result.metrics).toHaveProperty('test_loss');
  const resume = whole.checkpoints.get(1);
  if (resume === undefined) throw new Error('no checkpoint');
  expect(await run({ ...testData({ max_minutes: 1e-9 }), resume })).toEqual(whole.result);
});

test('kill -9 at any step: the run says UNAVAILABLE, and goes on from what was kept to the same model', async () => {
  const whole = await wholeRun();
  for (let victim = 1; victim <= 17; victim += 4) {
    const handle = await worker.start();
    let kept: Uint8Array | undefined;
    const killed = runWorker(handle, {
      ...testData(),
      async onCheckpoint(step, bytes) {
        if (step > victim) return;
        kept = bytes;
        if (step === victim) process.kill(handle.pid, 'SIGKILL');
      },
    });
    await expect(killed).rejects.toThrow(error('UNAVAILABLE', 'worker was ended by SIGKILL'));
    const result = await run({ ...testData(), ...(kept === undefined ? {} : { resume: kept }) });
    expect(result).toEqual(whole.result);
  }
});

test('abort: a last checkpoint, then the reason; going on from it gives the same model', async () => {
  const whole = await wholeRun();
  const controller = new AbortController();
  let last: { step: number; bytes: Uint8Array } | undefined;
  const aborted = run({
    ...testData({ checkpoint_steps: 4 }),
    abortSignal: controller.signal,
    onCheckpoint: async (step, bytes) => {
      last = { step, bytes };
      controller.abort(new Error('machine is being evicted'));
    },
  });
  await expect(aborted).rejects.toThrow('machine is being evicted');
  const sparse = testData({ checkpoint_steps: 4 });
  const result = await run({ ...sparse, ...(last === undefined ? {} : { resume: last.bytes }) });
  expect(last?.step).toBeGreaterThanOrEqual(4);
  expect(result.model).toEqual(whole.result.model);
});

test('mixed by weight: going on from any checkpoint gives the same model, and not that of rows that come once each', async () => {
  const mixed = { ...testData(), drawn: [74, 20, 3, 23, 51] };
  const checkpoints: Uint8Array[] = [];
  const whole = await run({ ...mixed, onCheckpoint: async (_, bytes) => void checkpoints.push(bytes) });
  const resume = checkpoints[7];
  if (resume === undefined) throw new Error('no eighth checkpoint');
  expect((await run({ ...mixed, resume })).model).toEqual(whole.model);
  expect((await run(testData())).model).not.toEqual(whole.model);
  await expect(run({ ...testData(), resume })).rejects.toThrow(
    error('CONFIG_INVALID', 'checkpoint belongs to another configuration or other data'),
  );
});

test('at most two shards are asked for at a time, and each step of the order is the worker’s', async () => {
  const data = testData();
  let open = 0;
  let most = 0;
  await run({
    ...data,
    async openShard(split, index) {
      most = Math.max(most, ++open);
      // A turn of the event loop: what the worker would ask beyond its limit has time to arrive.
      await new Promise((done) => setTimeout(done, 5));
      open--;
      return data.openShard(split, index);
    },
  });
  expect(most).toBe(2);
});

test('one shard that two epochs ask for at once is sent twice', async () => {
  const data = testData();
  const shards = { train: [37] };
  const asked: number[] = [];
  const { steps } = await run({
    ...data,
    shards,
    async openShard(split, index) {
      asked.push(index);
      await new Promise((done) => setTimeout(done, 20));
      return data.openShard(split, index);
    },
  });
  expect(asked).toEqual([0, 0, 0]);
  expect(steps).toBe(6);
});

test('progress comes rarely, but always for the last step', async () => {
  const seen: { at: number; progress: Progress }[] = [];
  const onProgress = (progress: Progress) => void seen.push({ at: performance.now(), progress });
  await run({ ...testData({ epochs: 300, checkpoint_steps: 10_000 }), onProgress });
  expect(seen.at(-1)?.progress).toMatchObject({ step: 1800, steps: 1800, epoch: 300, epochs: 300 });
  const seconds = ((seen.at(-1)?.at ?? 0) - (seen[0]?.at ?? 0)) / 1000;
  expect(seen.length).toBeLessThanOrEqual(2 + 5.5 * seconds);
  for (const { progress } of seen) expect(progress.samplesPerSecond).toBeGreaterThan(0);
});

test('only the train split is needed', async () => {
  const data = testData({ optimizer: 'sgd' });
  const { metrics } = await run({ ...data, shards: { train: data.shards.train ?? [] } });
  expect(Object.keys(metrics)).toEqual(['loss']);
});

const shard = (rows: number, featureCount: number, split: string, label = 0) =>
  encodeShard(
    { features: new Uint8Array(rows * featureCount), featureCount, labels: new Int32Array(rows).fill(label) },
    { version: 1, split },
  );

test.each<[string, Partial<RunWorkerOptions>, string, string]>([
  ['no Arrow', { openShard: async () => new Uint8Array(100) }, 'EVIDENCE_MALFORMED', 'worker: shard: '],
  ['other row count', { openShard: async () => shard(4, 12, 'train') }, 'EVIDENCE_MALFORMED', ': 4 rows, wanted '],
  [
    'other width',
    { shards: { train: [4] }, openShard: async () => shard(4, 3, 'train') },
    'EVIDENCE_MALFORMED',
    'train shard 0: 3 features, wanted 12',
  ],
  [
    'other split',
    { shards: { train: [4] }, openShard: async () => shard(4, 12, 'test') },
    'EVIDENCE_MALFORMED',
    'train shard 0: it belongs to another split',
  ],
  [
    'label outside',
    { shards: { train: [4] }, openShard: async () => shard(4, 12, 'train', 3) },
    'CONFIG_INVALID',
    'train shard 0, row 0: its label is not one of 3 classes',
  ],
  [
    'input_size',
    { config: testData({ input_size: 5 }).config },
    'CONFIG_INVALID',
    'input_size is 5, the dataset has 12 features',
  ],
  [
    'output_size',
    { config: testData({ output_size: 2 }).config },
    'CONFIG_INVALID',
    'output_size is 2, the dataset has 3 classes',
  ],
  [
    'early stopping without validation',
    { config: testData({ early_stopping_epochs: 1 }).config, shards: { train: [4] } },
    'CONFIG_INVALID',
    'early_stopping_epochs is set, the validation split has no rows',
  ],
  [
    'a weight of no class',
    { config: testData({ class_weights: { d: 2 } }).config },
    'CONFIG_INVALID',
    'class_weights names "d", which is no class of the data',
  ],
  ['no rows', { shards: { train: [] } }, 'CONFIG_INVALID', 'the train split has no rows'],
  [
    'diverging',
    {
      config: testData({ optimizer: 'sgd', learning_rate: 10 }).config,
      schema: { ...testData().schema, normalisation: { kind: 'scale', divisor: 1e-30 } },
    },
    'CONFIG_INVALID',
    'loss is not finite after step',
  ],
  [
    'more memory than there is',
    { config: testData({ batch_size: 65_536, hidden_size: 65_536 }).config, memoryBytes: 24e9 },
    'CONFIG_INVALID',
    'worker: this run needs about 69.2 GB of memory (batch 68.7 GB), the machine has 21.6 GB for it: lower training.batch_size',
  ],
  ['resume from rubbish', { resume: new Uint8Array(10) }, 'EVIDENCE_MALFORMED', 'worker: safetensors: '],
  ['shard gone', { openShard: () => Promise.reject(new Error('blob is gone')) }, '', 'blob is gone'],
  ['store down', { onCheckpoint: () => Promise.reject(new Error('store is down')) }, '', 'store is down'],
])('ends with what was wrong: %s', async (_, change, code, message) => {
  const expected = code === '' ? expect.objectContaining({ message }) : error(code, message);
  await expect(run({ ...testData(), ...change })).rejects.toThrow(expected);
});

test('a run that diverges keeps only checkpoints that are good to go on from', async () => {
  const kept: { step: number; bytes: Uint8Array }[] = [];
  const data = {
    ...testData({ optimizer: 'sgd', learning_rate: 10, hidden_size: 64, checkpoint_steps: 1 }),
    schema: { ...testData().schema, normalisation: { kind: 'scale', divisor: 1e-12 } } as const,
  };
  const failure = run({ ...data, onCheckpoint: async (step, bytes) => void kept.push({ step, bytes }) });
  await expect(failure).rejects.toThrow(error('CONFIG_INVALID', 'loss is not finite after step'));
  expect(kept.length).toBeGreaterThan(0);
  for (const { bytes } of kept) {
    for (const { values } of decodeSafeTensors(bytes).tensors) expect(values.every(Number.isFinite)).toBe(true);
  }
});

test('nothing of a run that does not fit is asked for', async () => {
  let asked = 0;
  const openShard = async () => {
    asked++;
    return shard(4, 12, 'train');
  };
  const failure = run({ ...testData(), openShard, memoryBytes: 1e8 });
  await expect(failure).rejects.toThrow(error('CONFIG_INVALID', 'worker: this run needs about 3'));
  expect(asked).toBe(0);
});

test('what the worker says last is heard, though a block is on its way to it', async () => {
  // Far more than a socket holds: the broker cannot have written it all when the worker gives up on the block before it.
  const long = new Uint8Array(64 * 1024 * 1024);
  let asked = 0;
  const openShard = async () => (asked++ === 0 ? shard(4, 12, 'train') : long);
  const failure = run({ ...testData(), shards: { train: [5, 5] }, openShard });
  await expect(failure).rejects.toThrow(error('EVIDENCE_MALFORMED', ': 4 rows, wanted 5'));
  expect(asked).toBe(2);
});

test('a checkpoint of another configuration is refused', async () => {
  const { checkpoints } = await wholeRun();
  const resume = checkpoints.get(3);
  if (resume === undefined) throw new Error('no checkpoint');
  await expect(run({ ...testData({ seed: 2 }), resume })).rejects.toThrow(
    error('CONFIG_INVALID', 'checkpoint belongs to another configuration or other data'),
  );
});

test('without its wasm file the worker does not fall back to another backend', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'ctrain-worker-'));
  await cp(join(worker.dir, 'worker.mjs'), join(dir, 'worker.mjs'));
  const started = startWorker({
    node: process.execPath,
    script: join(dir, 'worker.mjs'),
    bundleDir: dir,
    confine: true,
  });
  await expect(started).rejects.toThrow(error('CONFIG_INVALID', 'worker: tfjs backend'));
  await rm(dir, { recursive: true });
});

test('a script that is no worker is UNAVAILABLE, and leaves no process', async () => {
  const started = startWorker({
    node: process.execPath,
    script: join(worker.dir, 'none.mjs'),
    bundleDir: worker.dir,
    confine: false,
  });
  await expect(started).rejects.toThrow(error('UNAVAILABLE', 'worker ended with exit code 1'));
});

test.skipIf(!existsSync('/proc/self/status'))('stop leaves no process', async () => {
  const handle = await worker.start();
  expect(existsSync(`/proc/${handle.pid}`)).toBe(true);
  await handle.stop();
  expect(existsSync(`/proc/${handle.pid}`)).toBe(false);
});
