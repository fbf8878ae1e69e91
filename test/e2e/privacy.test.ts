import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { newFolder, run, SMALL } from './cli-process.ts';
import { flowers } from './place.ts';

let folder: string;
beforeAll(async () => {
  folder = await newFolder();
  await writeFile(join(folder, 'flowers.csv'), flowers(1200));
  const training = { ...SMALL, epochs: 20, privacy_noise: 2, privacy_delta: 0.0005, privacy_budget: 1 };
  await writeFile(join(folder, 'training.json'), JSON.stringify({ training }));
  await run(folder, 'init', '--config', 'unused.json');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('a private run: agreed in words, ended by its budget, and its receipt holds against it', async () => {
  const { code, out } = await run(folder, 'train', '--data', 'flowers.csv', '--yes');
  expect(code).toBe(0);
  expect(out).toContain('privacy     for each row, noise 2: epsilon at most 1, delta 0.0005, in each of 100 runs');
  const [, epsilon, delta] =
    /differential privacy, within what was agreed on: epsilon (\S+), delta (\S+)\n/.exec(out) ?? [];
  expect(Number(epsilon)).toBeGreaterThan(0.95);
  expect(Number(epsilon)).toBeLessThanOrEqual(1);
  expect(delta).toBe('0.0005');

  const [, model = ''] = /model in (\S+)/.exec(out) ?? [];
  const receipt = JSON.parse(await readFile(join(folder, model, 'receipt.dsse.json'), 'utf8')) as { payload: string };
  const { predicate } = JSON.parse(Buffer.from(receipt.payload, 'base64').toString()) as {
    predicate: { buildDefinition: { internalParameters: { privacy: { epsilon: number; steps: number } } } };
  };
  const { privacy } = predicate.buildDefinition.internalParameters;
  expect(privacy.epsilon.toFixed(3)).toBe(epsilon);
  // 20 epochs would be more: the budget ended it.
  expect(privacy.steps).toBeLessThan(20 * Math.ceil((1200 * 0.8) / 32));
}, 60_000);
