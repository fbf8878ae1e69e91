import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildTrainerBundle, bundleTrainer } from '../../scripts/bundle.ts';

const ROOT = join(import.meta.dirname, '../..');
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ctrain-bundle-'));
});
afterAll(() => rm(dir, { recursive: true }));

/** The sources in another folder. node_modules is linked: esbuild is told by preserveSymlinks to name it as it is imported. */
async function copyOfProject(): Promise<string> {
  const root = join(dir, 'copy');
  await mkdir(root);
  await cp(join(ROOT, 'runtime'), join(root, 'runtime'), { recursive: true });
  await cp(join(ROOT, 'package.json'), join(root, 'package.json'));
  await symlink(join(ROOT, 'node_modules'), join(root, 'node_modules'));
  return root;
}

test('the worker: same bytes from another folder, no path of this machine, nothing it must not have', async () => {
  const here = await bundleTrainer({ only: ['worker'] });
  expect(here.entries.map(({ name }) => name)).toEqual(['tfjs-backend-wasm-simd.wasm', 'worker.mjs']);
  const worker = here.entries.find(({ name }) => name === 'worker.mjs');
  const elsewhere = await bundleTrainer({ only: ['worker'], root: await copyOfProject() });
  expect(elsewhere).toEqual(here);
  const text = new TextDecoder().decode(worker?.bytes);
  expect(text).not.toContain(ROOT);
  expect(Object.keys(here.inputs).filter((name) => /azure|jose|papaparse|msal|node-fetch/.test(name))).toEqual([]);
});

test('the whole trainer: the file has the digest it says, and is the same a second time', async () => {
  const [first, second] = [join(dir, '1/trainer.tar'), join(dir, '2/trainer.tar')];
  const bundle = await buildTrainerBundle(first);
  expect(await buildTrainerBundle(second)).toEqual(bundle);
  const bytes = await readFile(first);
  expect(createHash('sha256').update(bytes).digest('hex')).toBe(bundle.sha256);
  expect(bytes.includes(ROOT)).toBe(false);
  expect(bytes.length).toBeLessThan(8_000_000);
  expect(Object.keys(bundle.files)).toEqual(expect.arrayContaining(['main.mjs', 'trainer.mjs', 'worker.mjs']));
  expect(Object.keys(bundle.inputs)).not.toContain('papaparse');
});

test.each([
  ['a csv parser', `import 'papaparse';`, 'node_modules/papaparse/'],
  ['the emulator', `import '../emulator/roots.ts';`, 'emulator/roots.ts'],
  ['data preparation', `import './data/prepare/rows.ts';`, 'runtime/data/prepare/rows.ts'],
])('a trainer with %s in it is refused', async (name, line, path) => {
  const root = join(dir, name.replaceAll(' ', '-'));
  await mkdir(join(root, 'runtime/data/prepare'), { recursive: true });
  await mkdir(join(root, 'emulator'));
  await writeFile(join(root, 'emulator/roots.ts'), 'export {};');
  await writeFile(join(root, 'runtime/data/prepare/rows.ts'), 'export {};');
  await writeFile(join(root, 'runtime/worker.ts'), line);
  await mkdir(join(root, 'node_modules/papaparse'), { recursive: true });
  await writeFile(join(root, 'node_modules/papaparse/index.js'), 'module.exports = {};');
  await expect(bundleTrainer({ root, only: ['worker'] })).rejects.toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(path) }),
  );
});
