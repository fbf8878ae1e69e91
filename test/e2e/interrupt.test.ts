import { createHash } from 'node:crypto';
import { copyFile, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { leftRunning, newFolder, run, SMALL, start } from './cli-process.ts';
import { flowers } from './place.ts';

const TRAIN = ['train', '--data', 'flowers.csv', '--yes'];
// Long enough to be interrupted, and no checkpoint but the last and those of an interruption.
const TRAINING = { ...SMALL, hidden_size: 512, epochs: 300, checkpoint_steps: 1_000_000 };

let undisturbed: string;
let folder: string;

beforeAll(async () => {
  [undisturbed, folder] = [await newFolder(), await newFolder()];
  await writeFile(join(undisturbed, 'training.json'), JSON.stringify({ training: TRAINING }));
  await writeFile(join(undisturbed, 'flowers.csv'), flowers(1500));
  await run(undisturbed, 'init');
  for (const name of ['ctrain-key.json', 'training.json', 'flowers.csv']) {
    await copyFile(join(undisturbed, name), join(folder, name));
  }
});
afterAll(async () => {
  for (const each of [undisturbed, folder]) await rm(each, { recursive: true, force: true });
});

async function weights(at: string): Promise<string> {
  const [runId = '', ...others] = await readdir(join(at, 'models'));
  expect(others).toEqual([]);
  const bytes = await readFile(join(at, 'models', runId, 'model', 'weights.bin'));
  return createHash('sha256').update(bytes).digest('hex');
}

const serial = () => readFile(join(folder, '.ctrain', 'emulator', 'serial.log'), 'utf8');

test('ctrl-C in mid-training: one line, exit code 130, nothing left running; the same command goes on to the same bytes', async () => {
  expect(await run(undisturbed, ...TRAIN)).toMatchObject({ code: 0 });
  const command = start(folder, ...TRAIN);
  expect(await command.sees('samples/s')).toBe(true);
  command.kill('SIGINT');
  const { code, err } = await command.ended;
  const [, step] =
    /\nstopped after step (\d+), checkpoint kept: the same command goes on from there\n$/.exec(err) ?? [];
  expect([code, err, Number(step) > 0]).toEqual([130, expect.any(String), true]);
  expect(await leftRunning(folder)).toEqual([]);
  expect(await serial()).not.toContain('step=resuming');

  // Twice: leaves at once, and what is there is as good as after a kill.
  const hurried = start(folder, ...TRAIN);
  expect(await hurried.sees('going on with run-')).toBe(true);
  hurried.kill('SIGINT');
  expect(await hurried.sees('ctrl-C again leaves at once')).toBe(true);
  hurried.kill('SIGINT');
  expect(await hurried.ended).toMatchObject({ code: 130 });

  expect(await run(folder, ...TRAIN)).toMatchObject({ code: 0, err: '' });
  expect(await serial()).toContain(`step=resuming checkpoint=${step}`);
  expect(await weights(folder)).toBe(await weights(undisturbed));
}, 240_000);
