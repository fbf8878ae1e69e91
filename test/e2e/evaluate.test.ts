import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Ended, newFolder, run, SMALL } from './cli-process.ts';
import { flowers } from './place.ts';

let folder: string;
let model: string;
let trained: { metrics: Record<string, number>; runId: string };
let dataset: string;
let processed: string;

const ctrain = (...args: string[]): Promise<Ended> => run(folder, ...args);
const path = (...parts: string[]) => join(folder, ...parts);

beforeAll(async () => {
  folder = await newFolder();
  await writeFile(path('flowers.csv'), flowers(600));
  await writeFile(path('training.json'), JSON.stringify({ training: { ...SMALL, epochs: 4 } }));
  await ctrain('init', '--name', 'Ada');
  const ended = await ctrain('train', '--data', 'flowers.csv', '--yes', '--json', '--keep-plaintext');
  expect(ended).toMatchObject({ code: 0 });
  trained = JSON.parse(ended.out);
  model = join('models', trained.runId);
  const [work = ''] = await readdir(path('.ctrain', 'work'));
  processed = join('.ctrain', 'work', work, 'processed');
  const names = await readdir(path('.ctrain', 'work', work));
  const uploaded = names.find((name) => name.startsWith('uploaded-')) ?? '';
  const { ownerId, version } = JSON.parse(await readFile(path('.ctrain', 'work', work, uploaded), 'utf8'));
  dataset = `${ownerId}/flowers/${version}`;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('the same rows have the same metrics: when it was trained, plain, and sealed with a receipt', async () => {
  const plain = await ctrain('evaluate', '-m', model, '--data', join(processed, 'test.csv'), '--json');
  expect(plain).toMatchObject({
    code: 0,
    err: 'plain rows, in this process: nothing is sealed, and nothing proves what comes of it\n',
  });
  const here = JSON.parse(plain.out);
  const sealed = await ctrain('evaluate', '-m', model, '--dataset', dataset, '--yes', '--json');
  expect(sealed).toMatchObject({ code: 0, err: expect.stringContaining('8-16-3, measured and not trained, to Ada') });
  const there = JSON.parse(sealed.out);
  expect(there).toMatchObject({ kind: 'emulated', verdict: 'EMULATED' });
  expect(Object.keys(there.metrics).sort()).toEqual(
    Object.keys(trained.metrics)
      .filter((name) => name !== 'loss')
      .sort(),
  );
  for (const [name, value] of Object.entries<number>(there.metrics)) {
    expect(value).toBeCloseTo(trained.metrics[name] ?? Number.NaN, 3);
    if (name.startsWith('test_')) expect(value).toBeCloseTo(here.metrics[name], 3);
  }
  expect(there.scores.test).toEqual(here.scores.test);
  expect(here.scores.test.classes.reduce((sum: number, { support }: { support: number }) => sum + support, 0)).toBe(
    here.rows,
  );

  // The receipt says which weights scored this, and that nothing was learned.
  expect(await readFile(path(there.folder, 'model', 'weights.bin'))).toEqual(
    await readFile(path(model, 'model', 'weights.bin')),
  );
  const card = JSON.parse(await readFile(path(there.folder, 'model-card.json'), 'utf8'));
  const { epochs, initial_weights } = card.configuration.training;
  expect(epochs).toBe(0);
  expect(card.limits).toContain(`Nothing was trained: the weights of digest ${initial_weights} were measured.`);
  const verified = await ctrain('verify', there.folder, '--emulator-roots', '.ctrain/emulator/roots.json');
  expect(verified).toMatchObject({ code: 12, err: '' });
});

test('a dataset of nothing but a test split is measured', async () => {
  const test = join(processed, 'test.csv');
  await ctrain('encrypt-data', '-i', test, '-o', join('only', 'test.enc'), '--dataset', 'only-test');
  expect(await ctrain('upload', '-i', 'only')).toMatchObject({ code: 0 });
  const ended = await ctrain('evaluate', '-m', model, '-s', dataset.replace('flowers', 'only-test'), '-y', '--json');
  expect(ended).toMatchObject({ code: 0 });
  const { metrics, scores } = JSON.parse(ended.out);
  const names = ['test_loss', 'test_accuracy', 'test_macro_f1'];
  expect(metrics).toEqual(Object.fromEntries(names.map((name) => [name, trained.metrics[name]])));
  expect(Object.keys(scores)).toEqual(['test']);
});

test('an agreement to measure is proposed, signed, and good for its model alone', async () => {
  const proposed = await ctrain('propose', '--dataset', dataset, '--evaluate', model, '--metric', 'test_confusion');
  expect(proposed).toMatchObject({ code: 0, out: expect.stringContaining('measured and not trained') });
  expect(await ctrain('approve', '--agreement', 'agreement.dsse.json', '--yes')).toMatchObject({ code: 0 });
  const measured = await ctrain('evaluate', '-m', model, '--agreement', 'agreement.dsse.json');
  expect(measured).toMatchObject({ code: 0, err: '' });
  expect(measured.out).toMatch(/test_accuracy +[\d.]+\n(.*\n)* {2}test split\n {2}class +precision/);
  const other = JSON.parse(
    (await ctrain('train', '--data', 'flowers.csv', '-y', '--json', '--set', 'training.seed=1')).out,
  );
  expect(await ctrain('evaluate', '-m', other.folder, '-a', 'agreement.dsse.json')).toMatchObject({
    code: 2,
    err: expect.stringMatching(
      /error: agreement training: found 0 epochs and weights of digest \w{12}, wanted 0 and the model's/,
    ),
  });
});

test('mistakes are told in one line, and nothing is run', async () => {
  const refused = async (message: string, ...args: string[]) =>
    expect(await ctrain('evaluate', '-m', model, ...args)).toMatchObject({
      code: 2,
      err: expect.stringContaining(message),
    });
  await refused('error: evaluate wants one of --data FILE, --dataset PREFIX and --agreement FILE [CONFIG_INVALID]\n');
  await refused('evaluate wants one of', '--data', 'flowers.csv', '--dataset', dataset);

  const [header = '', ...rows] = flowers(40).trimEnd().split('\n');
  const write = (name: string, lines: string[]) => writeFile(path(name), `${lines.join('\n')}\n`);
  await write(
    'unlabelled.csv',
    [header, ...rows].map((line) => line.split(',').slice(0, 8).join(',')),
  );
  await refused('error: unlabelled.csv: found no column label, which has the classes', '--data', 'unlabelled.csv');
  await write('foreign.csv', [header, ...rows.slice(0, 3), `${rows[3]?.slice(0, -1)}9`]);
  await refused(
    "error: foreign.csv line 5, column label: found none of the model's 3 classes",
    '--data',
    'foreign.csv',
  );
  await write('empty.csv', [header]);
  await refused('empty.csv: ', '--data', 'empty.csv');

  // Other rows have other means: to measure with these would be to measure something else.
  const sealing = async (name: string, lines: string[]) => {
    await write(`${name}.csv`, lines);
    const ended = await ctrain('train', '--data', `${name}.csv`, '-y', '--json', '-c', `${name}.json`);
    expect(ended).toMatchObject({ code: 0 });
    return `${dataset.split('/')[0]}/${name}/1`;
  };
  for (const name of ['narrow', 'elsewhere']) {
    await writeFile(path(`${name}.json`), JSON.stringify({ training: { hidden_size: 4, epochs: 1 } }));
  }
  const narrow = await sealing(
    'narrow',
    flowers(300)
      .trimEnd()
      .split('\n')
      .map((line) => line.split(',').slice(2).join(',')),
  );
  await refused(
    'error: the dataset has 6 features, the model takes 8 [CONFIG_INVALID]\n',
    '--dataset',
    narrow,
    '--yes',
  );
  const elsewhere = await sealing('elsewhere', flowers(300).trimEnd().split('\n'));
  await refused(
    "the dataset was not prepared as the model's rows were: normalisation of",
    '--dataset',
    elsewhere,
    '--yes',
  );

  const noWeights = await ctrain('train', '--data', 'flowers.csv', '-y', '--set', 'training.epochs=0');
  expect(noWeights).toMatchObject({
    code: 2,
    err: expect.stringContaining('training.epochs: found 0 without initial_weights'),
  });
});
