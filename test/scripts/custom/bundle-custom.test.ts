import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bundleTrainer } from '../../../scripts/bundle.ts';
import { bundleCustom } from '../../../scripts/custom/bundle-custom.ts';

const EXAMPLES = join(import.meta.dirname, '../../../examples');
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ctrain-custom-'));
});
afterAll(() => rm(dir, { recursive: true }));

async function sources(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await mkdtemp(join(dir, 'project-'));
  await mkdir(join(folder, 'lib'));
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  return folder;
}

test('same bytes from another folder, whatever lies beside the sources; no path of this machine', async () => {
  const modules = { model: './convnet.ts', dataset: './recording-dataset.ts' };
  const here = await bundleCustom({ folder: EXAMPLES, ...modules });
  const elsewhere = await sources({ 'tsconfig.json': '{"compilerOptions":{"target":"es5"}}' });
  await cp(EXAMPLES, elsewhere, { recursive: true });
  expect(await bundleCustom({ folder: elsewhere, ...modules })).toEqual(here);
  const text = new TextDecoder().decode(here.bytes);
  const [code = '', map = ''] = text.split('//# sourceMappingURL=data:application/json;base64,');
  expect(code + Buffer.from(map, 'base64').toString()).not.toContain(EXAMPLES);
  // It is there to be read: names and lines as they were written.
  expect(code).toContain('is no square picture');
  expect(code).not.toMatch(/^import/m);
});

test('it is one more file of the trainer, and nothing else changes', async () => {
  const custom = await bundleCustom({ folder: EXAMPLES, model: 'deck-model.ts' });
  const [plain, with_] = [await bundleTrainer({ only: ['worker'] }), await bundleTrainer({ only: ['worker'], custom })];
  expect(with_.entries.filter(({ name }) => name !== 'custom.mjs')).toEqual(plain.entries);
  expect(with_.entries.find(({ name }) => name === 'custom.mjs')?.bytes).toEqual(custom.bytes);
});

test('files of its own may be imported, and names of one’s own are nobody’s business', async () => {
  const folder = await sources({
    'model.ts': `import { size } from './lib/size.ts';\nexport default (process: number) => size + process;`,
    'lib/size.ts': 'import type { Server } from "node:net";\nexport const size: Server | number = 4;',
  });
  const { bytes } = await bundleCustom({ folder, model: './model.ts' });
  expect(new TextDecoder().decode(bytes)).toContain('size + process');
});

const GOOD = `import { defineModel } from 'confidential-training/model';\nexport default defineModel({});\n`;

test.each([
  [
    'a builtin',
    `${GOOD}import { readFileSync } from 'node:fs';\nreadFileSync('x');`,
    'model.ts:3: it imports node:fs: wanted only files of its own',
  ],
  ['a builtin without its prefix', `import 'child_process';`, 'model.ts:1: it imports child_process'],
  [
    'a tfjs of its own',
    `\nimport * as tf from '@tensorflow/tfjs';\nexport default tf;`,
    'model.ts:2: it imports @tensorflow/tfjs',
  ],
  ['a package', `import 'lodash';`, 'model.ts:1: it imports lodash'],
  ['a file above it', `import '../../secret.ts';`, 'model.ts:1: it imports ../../secret.ts, outside the folder'],
  ['the network', `${GOOD}\nfetch('https://example.org');`, 'model.ts:4: it uses fetch: there is no network'],
  ['a socket', `new WebSocket('wss://example.org');`, 'model.ts:1: it uses WebSocket'],
  ['the process', `\n\nconsole.log(process.env.HOME);`, 'model.ts:3: it uses process'],
  ['a way around', `globalThis['fet' + 'ch']();`, 'model.ts:1: it uses globalThis'],
  ['chance', `export default () => Math.random();`, 'model.ts:1: it uses Math.random: it draws without a seed'],
  ['chance, better', `export default crypto.randomUUID();`, 'model.ts:1: it uses crypto'],
  ['require', `require('fs');`, 'model.ts:1: it uses require'],
  [
    'an import made up',
    `const name = 'node:' + 'fs';\nawait import(name);\nexport default name;`,
    'model.ts:2: it imports a file by a name made at run time',
  ],
  ['no TypeScript', `export default {`, 'model.ts:1: '],
  ['no default export', `export const model = 1;`, 'No matching export in "model.ts" for import "default"'],
])('refuses %s by file and line', async (_, text, message) => {
  const folder = await sources({ 'model.ts': text });
  await expect(bundleCustom({ folder, model: './model.ts' })).rejects.toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(`custom module: `) }),
  );
  await expect(bundleCustom({ folder, model: './model.ts' })).rejects.toThrow(message);
});

test('a file that is not there, and two mistakes at once', async () => {
  const folder = await sources({ 'model.ts': `fetch('x');\nimport 'lodash';\nimport './lib/none.ts';` });
  await expect(bundleCustom({ folder, model: './none.ts' })).rejects.toThrow('none.ts');
  await expect(bundleCustom({ folder, model: './model.ts' })).rejects.toMatchObject({
    failures: [expect.stringContaining('model.ts:2'), expect.stringContaining('model.ts:3')],
  });
});
