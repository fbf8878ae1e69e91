import { createHash } from 'node:crypto';
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Ended, leftRunning, listing, newFolder, run, SMALL, type Started, start } from './cli-process.ts';
import { flowers } from './place.ts';

let folder: string;
let emulator: Started | undefined;

beforeAll(async () => {
  folder = await newFolder();
  await writeFile(join(folder, 'flowers.csv'), flowers(600));
});
afterAll(async () => {
  emulator?.kill('SIGKILL');
  await emulator?.ended;
  await rm(folder, { recursive: true, force: true });
});

const ctrain = (...args: string[]): Promise<Ended> => run(folder, ...args);

async function sha256(...path: string[]): Promise<string> {
  return createHash('sha256')
    .update(await readFile(join(folder, ...path)))
    .digest('hex');
}

test('one person alone: init, train, and what the run left', async () => {
  const init = await ctrain('init', '--name', 'Ada');
  expect(init).toMatchObject({ code: 0, err: '' });
  expect((await stat(join(folder, 'ctrain-key.json'))).mode & 0o777).toBe(0o600);
  expect(JSON.parse(await readFile(join(folder, 'training.json'), 'utf8')).training).toEqual({
    batch_size: 128,
    learning_rate: 0.002,
    seed: 42,
  });
  await writeFile(join(folder, 'training.json'), JSON.stringify({ training: SMALL }));

  const trained = await ctrain('train', '--data', 'flowers.csv', '--yes');
  expect(trained).toMatchObject({ code: 0, err: '' });
  const lines = trained.out.trimEnd().split('\n');
  expect(lines[0]).toMatch(/^deployment: emulator \(.*\.ctrain\/emulator\)$/);
  expect(
    lines.flatMap((line) => /^✓ (prepare data|seal data|upload|agree|train|open model) /.exec(line)?.[1] ?? []),
  ).toEqual(['prepare data', 'seal data', 'upload', 'agree', 'train', 'open model']);
  expect(trained.out).toContain('signed by Ada');
  expect(trained.out).toContain('EMULATED: everything fits, on an emulated machine');
  expect((await listing(folder)).filter((name) => name.includes('processed'))).toEqual([]);

  const listed = await ctrain('runs', '--json');
  const runs = JSON.parse(listed.out);
  expect(runs).toHaveLength(1);
  expect(runs[0]).toMatchObject({ status: { state: 'finished', progress: { step: 30, steps: 30 } } });
  const runId: string = runs[0].request.runId;
  expect((await ctrain('runs')).out).toMatch(new RegExp(`^${runId}  finished `));

  const before = await sha256('models', runId, 'model', 'weights.bin');
  const opened = await ctrain('open-model', runId, '--output-dir', 'again', '--json');
  expect(JSON.parse(opened.out)).toMatchObject({
    outputDir: 'again',
    model: [
      { name: 'model.json' },
      { name: 'weights.bin', plainSha256: before },
      { name: 'preprocessing.json' },
      { name: 'scores.json' },
    ],
    scores: { test: { classes: [{ name: '0', support: expect.any(Number) }, { name: '1' }, { name: '2' }] } },
  });
  expect(await sha256('again', 'model', 'weights.bin')).toBe(before);
  const [receipt, hint] = [join('models', runId), (await ctrain('open-model', runId)).out];
  expect(hint).toMatch(/^class +precision +recall +f1 +rows\n0 +[\d.]+ .*\n/);
  expect(hint).toContain(
    `\nmodel in ${receipt}; next: ctrain verify ${receipt} --emulator-roots .ctrain/emulator/roots.json\n`,
  );

  const verified = await ctrain('verify', receipt, '--emulator-roots', '.ctrain/emulator/roots.json');
  expect(verified).toMatchObject({ code: 12, err: '' });
  expect(verified.out).toMatch(/^EMULATED: /m);
  expect(verified.out).not.toContain('✗');
  const rejected = await ctrain('verify', receipt, '--json');
  expect(rejected).toMatchObject({ code: 10, err: '' });
  const { verdict, checks } = JSON.parse(rejected.out);
  expect(verdict).toBe('REJECTED');
  expect(
    checks.filter(({ passed }: { passed: boolean }) => !passed).map(({ detail }: { detail: string }) => detail),
  ).toEqual(['hardware: found EMULATED, wanted SEV-SNP', 'certificates lead to a pinned root']);
});

test('train again with the same rows: nothing is prepared again, the run is a new one, the weights are the same', async () => {
  const again = await ctrain('train', '--data', 'flowers.csv', '--yes');
  expect(again.code).toBe(0);
  expect(again.out).toContain('flowers version 1 was uploaded before');
  expect(again.out).not.toMatch(/✓ (prepare data|seal data|upload|agree) {2}/);
  const runIds = await readdir(join(folder, 'models'));
  expect(runIds).toHaveLength(2);
  const weights = await Promise.all(runIds.map((runId) => sha256('models', runId, 'model', 'weights.bin')));
  expect(new Set(weights).size).toBe(1);
});

test('another configuration is another agreement about the same sealed rows', async () => {
  await writeFile(join(folder, 'wider.json'), JSON.stringify({ training: { ...SMALL, hidden_size: 32, epochs: 1 } }));
  const wider = await ctrain('train', '--data', 'flowers.csv', '--config', 'wider.json', '--json', '--yes');
  expect(wider.code).toBe(0);
  expect(JSON.parse(wider.out)).toMatchObject({ verdict: 'EMULATED', metrics: { test_accuracy: expect.any(Number) } });
  expect(wider.err).toMatch(/8-32-3, 1 epochs/);
  expect(wider.err).toContain('flowers version 1 (manifest ');
});

test('without --yes and without a terminal nobody signs', async () => {
  await writeFile(join(folder, 'other.json'), JSON.stringify({ training: { ...SMALL, epochs: 3 } }));
  const unsigned = await ctrain('train', '--data', 'flowers.csv', '-c', 'other.json');
  expect(unsigned.code).toBe(8);
  expect(unsigned.err).toBe(
    'error: Sign this? There is no terminal to ask on: say --yes if that is what you mean [CONSENT_MISSING]\n',
  );
});

test('an emulator in a terminal of its own serves other commands', async () => {
  emulator = start(folder, 'emulator');
  expect(await emulator.sees('ready: ')).toBe(true);
  const runs = await ctrain('runs', '--json');
  expect(runs).toMatchObject({ code: 0, err: 'deployment: emulator (running, .ctrain/emulator)\n' });
  expect(JSON.parse(runs.out)).toHaveLength(3);
  expect(await ctrain('emulator')).toMatchObject({
    code: 2,
    err: expect.stringContaining('an emulator is already running on'),
  });
});

test("the deck's two commands, and the others step by step", async () => {
  await writeFile(join(folder, 'data.csv'), flowers(400));
  const prepared = await ctrain(
    'prepare-data',
    '--input-path',
    'data.csv',
    '--output-dir',
    'processed',
    '--data-type',
    'csv',
  );
  expect(prepared).toMatchObject({
    code: 0,
    out: 'report: processed/report.html\nnext: ctrain encrypt-data --input-path processed\n',
  });
  const sealed = await ctrain(
    'encrypt-data',
    '--input-path',
    'processed/train.csv',
    '--output-path',
    'encrypted/train.enc',
    '--key-name',
    'training-key',
  );
  expect(sealed).toMatchObject({ code: 0, out: 'next: ctrain upload --input-path encrypted\n' });
  for (const split of ['validation', 'test']) {
    const short = await ctrain(
      'encrypt-data',
      '-i',
      `processed/${split}.csv`,
      '-o',
      `encrypted/${split}.enc`,
      '-k',
      'training-key',
      '--json',
    );
    expect(JSON.parse(short.out)).toMatchObject({
      dataset: 'data',
      version: 1,
      sealed: [{ name: `${split}.enc` }],
      dropped: [],
    });
  }

  const uploaded = await ctrain('upload', '-i', 'encrypted', '--json');
  const { prefix, sent } = JSON.parse(uploaded.out);
  expect(sent).toEqual(['train.enc', 'validation.enc', 'test.enc']);
  expect((await ctrain('upload')).out).toBe(`next: ctrain propose --dataset ${prefix}\n`);

  const proposed = await ctrain('propose', '-s', prefix, '-k', 'training-key', '-o', 'a.dsse.json', '-n', 'study');
  expect(proposed).toMatchObject({ code: 0 });
  expect(proposed.out).toMatch(/^agreement {3}study, train, up to 10 runs/);
  const unsigned = await ctrain('train', '--agreement', 'a.dsse.json');
  expect(unsigned).toMatchObject({
    code: 8,
    err: expect.stringMatching(/^error: agreement study: .*Ada.* \[CONSENT_MISSING\]\n$/),
  });
  const approved = await ctrain('approve', '-a', 'a.dsse.json', '-y');
  expect(approved).toMatchObject({ code: 0, out: expect.stringContaining('signed as Ada') });
  const trained = await ctrain('train', '-a', 'a.dsse.json', '-m', 'deck');
  expect(trained).toMatchObject({ code: 0, err: '', out: expect.stringContaining('EMULATED: everything fits') });
  expect(await readdir(join(folder, 'deck'))).toHaveLength(1);
});

test.skipIf(process.platform !== 'linux')('Ctrl-C ends the emulator and leaves no child behind', async () => {
  expect((await leftRunning(folder, 0)).length).toBeGreaterThanOrEqual(3);
  emulator?.kill('SIGINT');
  expect(await emulator?.ended).toMatchObject({ code: 0, err: '' });
  expect(await leftRunning(folder)).toEqual([]);
});
