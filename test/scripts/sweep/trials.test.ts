import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SecureTrainingError } from '../../../runtime/errors.ts';
import { CARD_FILE } from '../../../scripts/model/card-file.ts';
import { type RunTrial, runTrials } from '../../../scripts/sweep/trials.ts';

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ctrain-sweep-'));
  file = join(folder, 'sweep.json');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const all = ['1', '2', '3'].map((seed) => ({ 'training.seed': seed }));

/** Leaves a folder with a card, and a line of whom it was called for. */
function running(calls: string[], fails: Readonly<Record<string, Error>> = {}): RunTrial {
  return async (set) => {
    const seed = set['training.seed'] ?? '';
    calls.push(seed);
    if (fails[seed] !== undefined) throw fails[seed];
    await mkdir(join(folder, seed), { recursive: true });
    await writeFile(join(folder, seed, CARD_FILE), '{}');
    return { folder: join(folder, seed), metrics: { validation_loss: Number(seed) } };
  };
}

test('one that fails is told and stops no other; a rerun makes it again, and what was removed', async () => {
  const calls: string[] = [];
  const bad = new SecureTrainingError('CONFIG_INVALID', 'loss is not finite\nmore');
  const first = await runTrials(file, all, running(calls, { 2: bad }));
  expect(first.map(({ error, metrics }) => error ?? metrics)).toEqual([
    { validation_loss: 1 },
    'loss is not finite',
    { validation_loss: 3 },
  ]);
  await rm(join(folder, '3'), { recursive: true });
  const second = await runTrials(file, all, running(calls));
  expect(calls).toEqual(['1', '2', '3', '2', '3']);
  expect(second.every(({ metrics }) => metrics !== undefined)).toBe(true);
});

test('a service that is away ends it, and what was finished is not made again', async () => {
  const calls: string[] = [];
  const away = new SecureTrainingError('UNAVAILABLE', 'no answer');
  await expect(runTrials(file, all, running(calls, { 2: away }))).rejects.toThrow('no answer');
  await runTrials(file, all, running(calls));
  expect(calls).toEqual(['1', '2', '2', '3']);
});

test('another grid over the same rows keeps what the first has trained', async () => {
  const calls: string[] = [];
  await runTrials(file, all.slice(0, 2), running(calls));
  await runTrials(file, all.slice(2), running(calls));
  expect(JSON.parse(await readFile(file, 'utf8')).trials).toHaveLength(3);
  await runTrials(file, all, running(calls));
  expect(calls).toEqual(['1', '2', '3']);
});

test('a damaged record is told, and nothing is trained', async () => {
  await writeFile(file, '{"version":1,"tri');
  const message = `${file} is no record of a sweep: remove it to begin anew`;
  const calls: string[] = [];
  await expect(runTrials(file, all, running(calls))).rejects.toMatchObject({ code: 'CONFIG_INVALID', message });
  expect(calls).toEqual([]);
});
