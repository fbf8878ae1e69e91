import { createHash } from 'node:crypto';
import { copyFile, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { leftRunning, listing, newFolder, run, SMALL, type Started, start } from './cli-process.ts';
import { flowers } from './place.ts';

const INPUTS = ['ctrain-key.json', 'training.json', 'flowers.csv'];
const TRAIN = ['train', '--data', 'flowers.csv', '--yes'];

let undisturbed: string;
let folder: string;

beforeAll(async () => {
  [undisturbed, folder] = [await newFolder(), await newFolder()];
  await writeFile(
    join(undisturbed, 'training.json'),
    JSON.stringify({ training: { ...SMALL, hidden_size: 128, epochs: 12 } }),
  );
  await writeFile(join(undisturbed, 'flowers.csv'), flowers(1500));
  await run(undisturbed, 'init');
  for (const name of INPUTS) await copyFile(join(undisturbed, name), join(folder, name));
  expect(await run(undisturbed, ...TRAIN)).toMatchObject({ code: 0 });
});
afterAll(async () => {
  for (const each of [undisturbed, folder]) await rm(each, { recursive: true, force: true });
});

/** Name of the one run, and the digest of its opened weights. */
async function weights(at: string): Promise<[string, string]> {
  const runIds = await readdir(join(at, 'models'));
  expect(runIds).toHaveLength(1);
  const [runId = ''] = runIds;
  return [
    runId,
    createHash('sha256')
      .update(await readFile(join(at, 'models', runId, 'model', 'weights.bin')))
      .digest('hex'),
  ];
}

/** Resolves when the machine's console says `text` once more than now; `false` when the command ended before. */
async function console(command: Started, text: string): Promise<boolean> {
  const serial = join(folder, '.ctrain', 'emulator', 'serial.log');
  const times = async () => (await readFile(serial, 'utf8').catch(() => '')).split(text).length;
  let running = true;
  void command.ended.then(() => {
    running = false;
  });
  for (const before = await times(); running; await delay(10)) if ((await times()) > before) return true;
  return false;
}

// Each goes on from what the one before left, at once: its emulator may still be ending.
test.each<[string, (command: Started) => Promise<boolean>]>([
  ['rows are being prepared', (command) => command.sees('deployment: ')],
  ['the emulator makes its keys', (command) => command.sees('✓ prepare data')],
  ['the emulator starts again', (command) => command.sees('✓ prepare data')],
  ['sealed rows are being uploaded', (command) => command.sees('✓ seal data')],
  ['rows have been uploaded', (command) => command.sees('✓ upload')],
  ['the agreement has been signed', (command) => command.sees('✓ agree')],
  ['a run is in the queue', (command) => command.sees('queued run-')],
  ['the machine boots', (command) => console(command, 'step=')],
  ['the model is being trained', (command) => console(command, 'step=training')],
  ['the model is being trained again', (command) => console(command, 'step=training')],
])('kill -9 of the command while %s', async (_, moment) => {
  const command = start(folder, ...TRAIN);
  expect(await moment(command)).toBe(true);
  command.kill('SIGKILL');
  expect((await command.ended).code).toBe(null);
});

test.skipIf(process.platform !== 'linux')(
  'a killed command leaves no emulator, blob server or trainer running',
  async () => {
    expect(await leftRunning(folder)).toEqual([]);
  },
);

test('the same command finishes the same run with the same weights, and no plaintext is left', async () => {
  const last = await run(folder, ...TRAIN);
  expect(last).toMatchObject({ code: 0, err: '' });
  expect(last.out).toContain('going on with run-');
  const [runId, digest] = await weights(folder);
  expect(digest).toBe((await weights(undisturbed))[1]);
  expect(JSON.parse((await run(folder, 'runs', '--json')).out)).toMatchObject([
    { request: { runId }, status: { state: 'finished' } },
  ]);
  expect((await listing(folder)).filter((name) => /processed|\.partial/.test(name))).toEqual([]);
});
