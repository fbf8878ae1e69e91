import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Ended, newFolder, run, SMALL } from './cli-process.ts';
import { flowers } from './place.ts';

let folder: string;
let runId: string;

const ctrain = (...args: string[]): Promise<Ended> => run(folder, ...args);
const path = (...parts: string[]) => join(folder, ...parts);
const text = (...parts: string[]) => readFile(path(...parts), 'utf8');

beforeAll(async () => {
  folder = await newFolder();
  await writeFile(path('flowers.csv'), flowers(600));
  await writeFile(path('training.json'), JSON.stringify({ training: { ...SMALL, epochs: 12 } }));
  await ctrain('init', '--name', 'Ada');
  const trained = await ctrain('train', '--data', 'flowers.csv', '--yes', '--json');
  expect(trained.code).toBe(0);
  runId = JSON.parse(trained.out).runId;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('a trained model comes with its card and its curves', async () => {
  expect((await readdir(path('models', runId))).sort()).toEqual([
    'agreement.dsse.json',
    'logs',
    'metrics.json',
    'model',
    'model-card.json',
    'model-card.md',
    'model.sig',
    'receipt-key.pem',
    'receipt.dsse.json',
    'release-replies.json',
  ]);
  expect(JSON.parse(await text('models', runId, 'model-card.json'))).toMatchObject({
    runId,
    kind: 'emulated',
    data: [{ dataset: 'flowers', version: 1, digest: expect.stringMatching(/^[0-9a-f]{64}$/) }],
    inputs: { featureCount: 8, columns: ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'], coded: [] },
    classes: ['0', '1', '2'],
    metrics: { test_accuracy: expect.any(Number), test_macro_f1: expect.any(Number) },
    scores: { test: { classes: [{ name: '0' }, { name: '1' }, { name: '2' }] } },
    receipt: { verdict: 'EMULATED', failed: [], hardware: 'EMULATED' },
  });
  expect(await text('models', runId, 'model-card.md')).toContain('verdict when it was opened: **EMULATED**');
  expect(await text('models', runId, 'model-card.md')).toMatch(/## Scores of the test split\n\n```\nclass .*\n0 /);
  const { points } = JSON.parse(await text('models', runId, 'metrics.json'));
  expect(points.filter(({ name }: { name: string }) => name === 'validation_accuracy')).toHaveLength(12);
  expect(await readdir(path('models', runId, 'logs'))).toEqual([
    expect.stringMatching(/^events\.out\.tfevents\.\d+\./),
  ]);
});

test('the formats, by name', async () => {
  const keras = await ctrain('open-model', runId, '--format', 'keras', '--output-dir', 'keras', '--json');
  expect(JSON.parse(keras.out)).toMatchObject({ file: join('keras', 'model.keras'), verdict: 'EMULATED' });
  const safetensors = await ctrain('open-model', runId, '-f', 'safetensors');
  expect(safetensors).toMatchObject({ code: 0, out: expect.stringContaining('written as models/') });
  expect((await readFile(path('keras', 'model.keras'))).subarray(0, 2).toString()).toBe('PK');
  expect(await ctrain('open-model', runId, '-f', 'onnx')).toMatchObject({
    code: 2,
    err: 'error: --format: found onnx, wanted one of tfjs, safetensors, keras [CONFIG_INVALID]\n',
  });
});

test('new rows get their classes, in csv and json', async () => {
  const known = flowers(60).trimEnd().split('\n');
  // Columns in another order, and no label: they are found by name.
  const turned = known.map((line) => line.split(',').slice(0, 8).reverse().join(','));
  await writeFile(path('new.csv'), `${turned.join('\n')}\n`);
  const csv = await ctrain('predict', '--model', join('models', runId), '--input', 'new.csv');
  expect(csv).toMatchObject({ code: 0, err: '' });
  const [header, ...lines] = csv.out.trimEnd().split('\n');
  expect(header).toBe('line,prediction,probability 0,probability 1,probability 2');
  const right = lines.filter((line, i) => line.split(',')[1] === known[i + 1]?.split(',')[8]);
  expect(right.length).toBeGreaterThan(50);
  const json = await ctrain('predict', '-m', join('models', runId), '-i', 'flowers.csv', '-o', 'p.json');
  expect(json).toMatchObject({ code: 0, out: '600 rows in p.json\n' });
  const predictions = JSON.parse(await text('p.json'));
  expect(predictions).toHaveLength(600);
  const { prediction, probabilities } = predictions[0];
  expect(Object.keys(probabilities)).toEqual(['0', '1', '2']);
  expect(probabilities[prediction]).toBe(Math.max(...Object.values<number>(probabilities)));
});

test('mistakes of a prediction are told in one line, and leave no file', async () => {
  await writeFile(path('bad.csv'), 'a,b,c,d,e,f,g,h\n1,2,3,4,5,6,7,8\n1,2,3,4,5,6,7,secret\n');
  const bad = await ctrain('predict', '-m', join('models', runId), '-i', 'bad.csv', '-o', 'bad.json');
  expect(bad).toMatchObject({
    code: 2,
    err: 'error: bad.csv line 3, column h: found something else, wanted a number [CONFIG_INVALID]\n',
  });
  expect((await readdir(folder)).filter((name) => name.includes('bad.json'))).toEqual([]);
  await mkdir(path('empty'));
  expect(await ctrain('predict', '-m', 'empty', '-i', 'bad.csv')).toMatchObject({
    code: 2,
    out: '',
    err: "error: no receipt.dsse.json in empty: 'ctrain open-model' leaves such a folder [CONFIG_INVALID]\n",
  });
});

test('two classes that somebody swapped in the opened model are noticed', async () => {
  await ctrain('open-model', runId, '--output-dir', 'swapped');
  const file = path('swapped', 'model', 'preprocessing.json');
  await writeFile(file, (await readFile(file, 'utf8')).replace('["0","1","2"]', '["1","0","2"]'));
  expect(await ctrain('predict', '-m', 'swapped', '-i', 'flowers.csv')).toMatchObject({
    code: 7,
    err: 'error: swapped/model/preprocessing.json is not the model of its receipt [CIPHERTEXT_REJECTED]\n',
  });
});

test('another run starts from its weights, and is compared with it', async () => {
  const weights = join('models', runId, 'model.safetensors');
  const other = await ctrain('train', '--data', 'flowers.csv', '--yes', '--json', '--initial-weights', weights);
  expect(other.code).toBe(0);
  const compared = await ctrain('runs', '--json', '--compare', runId, join('models', JSON.parse(other.out).runId));
  const { differences, metrics } = JSON.parse(compared.out);
  expect(compared.err).toBe('');
  expect(differences).toEqual([{ name: 'training.initial_weights', b: expect.stringMatching(/^[0-9a-f]{64}$/) }]);
  const loss = metrics.find(({ name }: { name: string }) => name === 'loss');
  expect(loss.b).toBeLessThan(loss.a);

  await writeFile(path('other.json'), JSON.stringify({ training: { ...SMALL, hidden_size: 5 } }));
  const wrong = await ctrain('train', '--data', 'flowers.csv', '-c', 'other.json', '-y', '--initial-weights', weights);
  expect(wrong).toMatchObject({
    code: 2,
    err: expect.stringContaining('initial weights have 4 tensors, wanted 4; it lacks: hidden/kernel of shape [8,5]'),
  });
});

test('runs whose deployment is gone are listed and compared by their cards; without one, by what the store holds', async () => {
  await rename(path('models'), path('elsewhere'));
  const stored = await ctrain('runs', '--compare', runId, runId);
  expect(stored).toMatchObject({ code: 0, out: expect.stringMatching(/test_macro_f1 .*\n.*same\n$/) });
  await rename(path('.ctrain', 'emulator'), path('emulator-before'));
  const listed = await ctrain('runs', '--models-dir', 'elsewhere');
  expect(listed.out).toMatch(new RegExp(`^${runId}  finished    emulated, not in this deployment, 20`, 'm'));
  expect(await ctrain('runs', '--compare', runId, runId)).toMatchObject({
    code: 2,
    err: expect.stringContaining(`error: found no run ${runId}, and no model card of it: see 'ctrain runs'`),
  });
});

test('rows made up from a manifest go through prepare-data and predict', async () => {
  const [work = ''] = await readdir(path('.ctrain', 'work'));
  const manifest = join('.ctrain', 'work', work, 'encrypted', 'manifest.dsse.json');
  const made = await ctrain(
    'sample-data',
    '-m',
    manifest,
    '-n',
    '300',
    '-o',
    'sample.csv',
    '--owner-key',
    'ctrain-key.json',
  );
  expect(made).toMatchObject({ code: 0, err: '', out: '300 made-up rows of 8 columns in sample.csv\n' });
  const again = await ctrain('sample-data', '-m', manifest, '-n', '300', '-o', 'again.csv');
  expect(again.err).toContain("nobody's signature was checked");
  expect(await text('again.csv')).toBe(await text('sample.csv'));
  expect(await ctrain('prepare-data', '-i', 'sample.csv', '-o', 'processed-sample')).toMatchObject({ code: 0 });
  const predicted = await ctrain('predict', '-m', join('elsewhere', runId), '-i', 'sample.csv');
  expect(predicted.out.trimEnd().split('\n')).toHaveLength(301);
  expect(await ctrain('sample-data', '-m', manifest, '-n', '300', '-o', 'sample.arrow')).toMatchObject({ code: 0 });
  const fromArrow = await ctrain('predict', '-m', join('elsewhere', runId), '-i', 'sample.arrow');
  // The header is a line of the csv file, and no row of the other.
  const withoutPlace = (out: string) => out.split('\n').map((line) => line.replace(/^\d+,/, ''));
  expect(withoutPlace(fromArrow.out)).toEqual(withoutPlace(predicted.out));
  expect(await ctrain('sample-data', '-m', manifest, '-n', '0')).toMatchObject({
    code: 2,
    err: 'error: --rows: found 0, wanted a whole number from 1 to 1000000 [CONFIG_INVALID]\n',
  });
});
