import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { fromBase64, fromHex } from '../../../runtime/crypto/bytes.ts';
import { unwrapCek } from '../../../runtime/crypto/key-wrap.ts';
import { openBytes } from '../../../runtime/crypto/sealed-object.ts';
import { type DatasetDescription, writeDatasetFile } from '../../../runtime/data/dataset-file.ts';
import { sealDataset } from '../../../runtime/data/seal-dataset.ts';
import { parseKeySlots } from '../../../runtime/keys/slots.ts';
import { makeKeys, sealOptions, type TestKeys, temporaryFolder } from './dataset.ts';

let keys: TestKeys;

beforeAll(() => {
  keys = makeKeys();
});

const description: DatasetDescription = {
  version: 1,
  name: 'recordings',
  seed: 0,
  schema: {
    columns: ['x'],
    featureCount: 1,
    dtype: 'float32',
    label: 'kind',
    classes: ['a', 'b'],
    normalisation: { kind: 'none' },
  },
  splits: {
    train: { file: 'train.raw', rows: 7 },
    validation: { file: 'validation.raw', rows: 2 },
    test: { file: 'test.raw', rows: 3 },
  },
};

async function rawFolder(content: (split: string) => string): Promise<string> {
  const folder = await temporaryFolder();
  for (const [split, { file }] of Object.entries(description.splits))
    await writeFile(join(folder, file), content(split));
  await writeDatasetFile(folder, description);
  return folder;
}

test.each([1, 2])('files that end in .raw are sealed as they are, one object each, in %i threads', async (jobs) => {
  const folder = await rawFolder((split) => `bytes of ${split}`);
  const { manifest } = await sealDataset({ ...sealOptions(folder, keys), inputPath: folder, jobs });
  expect(manifest.objects.map(({ name, split, rows }) => [name, split, rows])).toEqual([
    ['train.enc', 'train', 7],
    ['validation.enc', 'validation', 2],
    ['test.enc', 'test', 3],
  ]);
  const slots = parseKeySlots(await readFile(join(folder, 'encrypted', 'keys.json')));
  const cek = unwrapCek(fromBase64(slots.objects['train.enc']?.[0]?.encryptedKey ?? ''), keys.kek);
  const [object] = manifest.objects;
  if (object === undefined) throw new Error('no object');
  const sealed = await readFile(join(folder, 'encrypted', 'train.enc'));
  const leaves = await readFile(join(folder, 'encrypted', 'train.enc.leaves'));
  const expected = { name: object.name, merkleRoot: fromHex(object.merkleRoot), leaves, shape: object };
  expect(new TextDecoder().decode(openBytes(sealed, cek, expected))).toBe('bytes of train');
});

test('an empty file is refused', async () => {
  const folder = await rawFolder((split) => (split === 'test' ? '' : 'bytes'));
  await expect(sealDataset({ ...sealOptions(folder, keys), inputPath: folder })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining('test.raw: found 0 bytes, wanted 1 to 268435456'),
  });
});
