import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { listing, newFolder, run, SMALL, start } from './cli-process.ts';
import { flowers } from './place.ts';

const BANNER = 'NOT CONFIDENTIAL: plain rows, in this process; no keys, no receipt\n';
let folder: string;

beforeAll(async () => {
  folder = await newFolder();
  await writeFile(join(folder, 'flowers.csv'), flowers(300));
  await writeFile(join(folder, 'training.json'), JSON.stringify({ training: { ...SMALL, backend: 'wasm' } }));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const models = async () => (await listing(folder)).filter((name) => /^models\/(?:try|run)-[^/]+$/.test(name));

test('plain: ranked; ctrl-C and a rerun go on with what is missing', async () => {
  const sweep = ['sweep', '--data', 'flowers.csv', '--set', 'training.optimizer=sgd', '--grid'];
  const grid = 'training.learning_rate=0.01,0.1,1e-3';
  const first = start(folder, ...sweep, grid);
  expect(await first.sees('1 of 3 trained')).toBe(true);
  first.kill('SIGINT');
  expect((await first.ended).code).toBe(130);
  const before = await models();
  expect(before.length).toBeGreaterThan(0);

  const { code, out, err } = await run(folder, ...sweep, grid, '--json');
  expect([code, err]).toEqual([0, BANNER]);
  const { trials, page } = JSON.parse(out) as { trials: { metrics: { validation_loss: number } }[]; page: string };
  const losses = trials.map(({ metrics }) => metrics.validation_loss);
  expect(losses).toEqual([...losses].sort((a, b) => a - b));
  expect(await models()).toHaveLength(3);
  expect(await models()).toEqual(expect.arrayContaining(before));
  expect(await readFile(join(folder, page), 'utf8')).toContain('<polyline');
  expect((await listing(folder)).filter((name) => name.includes('plain-'))).toEqual([]);
}, 120_000);

test('sealed: each combination is a run with a receipt', async () => {
  await run(folder, 'init', '--config', 'unused.json');
  const args = ['--data', 'flowers.csv', '--grid', 'training.seed=1,2', '--sealed', '--yes', '--json'];
  const { code, out } = await run(folder, 'sweep', ...args);
  expect(code).toBe(0);
  const { trials } = JSON.parse(out) as { trials: { folder: string }[] };
  expect(trials.map((trial) => trial.folder)).toEqual(Array(2).fill(expect.stringMatching(/^models\/run-/)));
}, 120_000);
