import { generateKeyPairSync } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { fromBase64, fromHex, toHex } from '../../../runtime/crypto/bytes.ts';
import { parseEncryptionData } from '../../../runtime/crypto/encryption-data.ts';
import { thumbprint } from '../../../runtime/crypto/jwk.ts';
import { unwrapCek } from '../../../runtime/crypto/key-wrap.ts';
import { openBytes } from '../../../runtime/crypto/sealed-object.ts';
import { decodeShard } from '../../../runtime/data/arrow-shard.ts';
import { prepareData } from '../../../runtime/data/prepare/prepare.ts';
import type { DataProgress } from '../../../runtime/data/progress.ts';
import { type SealResult, sealDataset } from '../../../runtime/data/seal-dataset.ts';
import { chooseSlot, parseKeySlots } from '../../../runtime/keys/slots.ts';
import { checkKeyBinding, type ManifestObject, verifyManifest } from '../../../runtime/statements/manifest.ts';
import { rejection } from '../rejection.ts';
import { csvText, KEY_ID, makeKeys, preparedFolder, sealOptions, type TestKeys } from './dataset.ts';

let keys: TestKeys;
let prepared: string;
let folder: string;

beforeAll(async () => {
  keys = makeKeys();
  prepared = await preparedFolder(300);
});

beforeEach(async () => {
  folder = await preparedFolderCopy();
});

/** Preparing is tested elsewhere: every test starts from the same copy. */
async function preparedFolderCopy(): Promise<string> {
  const copy = `${prepared}-${Math.floor(performance.now() * 1000)}`;
  await cp(prepared, copy, { recursive: true });
  return copy;
}

const encrypted = (name: string) => join(folder, 'encrypted', name);

/** Opens an object as its owner would: by the escrow slot, or with the vault's key. */
async function open(result: SealResult, object: ManifestObject, by: 'kek' | 'escrow' = 'kek'): Promise<Uint8Array> {
  const slots = parseKeySlots(await readFile(join(result.folder, 'keys.json')));
  const allowed =
    by === 'kek'
      ? { vaultHost: 'kv-owner.vault.azure.net', keyName: 'training-key-1a2b3c4d' }
      : thumbprint(keys.escrowJwk);
  const slot = chooseSlot(object.name, slots.objects[object.name], [allowed]);
  const cek = unwrapCek(fromBase64(slot.encryptedKey), keys[by]);
  checkKeyBinding(cek, keys.ownerId, object);
  const sealed = await readFile(join(result.folder, object.name));
  const leaves = await readFile(join(result.folder, `${object.name}.leaves`));
  return openBytes(sealed, cek, { name: object.name, merkleRoot: fromHex(object.merkleRoot), leaves, shape: object });
}

const opened = async (result: SealResult): Promise<string[]> =>
  Promise.all(result.manifest.objects.map(async (object) => `${object.name} ${toHex(await open(result, object))}`));

test('seals every split: objects, leaves, encryptiondata, keys and a manifest that the owner signed', async () => {
  const result = await sealDataset(sealOptions(folder, keys));
  const names = result.manifest.objects.map(({ name }) => name);
  expect(names).toEqual(['train-00000.enc', 'train-00001.enc', 'train-00002.enc', 'validation.enc', 'test.enc']);
  const sidecars = names.flatMap((name) => [name, `${name}.leaves`, `${name}.encryptiondata.json`]);
  expect((await readdir(encrypted('.'))).sort()).toEqual(
    [...sidecars, 'ctrain-state.json', 'keys.json', 'manifest.dsse.json'].sort(),
  );
  const { manifest, digest } = verifyManifest(await readFile(encrypted('manifest.dsse.json')), keys.ownerJwk);
  expect(manifest).toEqual(result.manifest);
  expect(digest).toBe(result.digest);
  expect(manifest).toMatchObject({ ownerId: keys.ownerId, dataset: 'data', version: 1 });
  expect(manifest.objects.reduce((sum, { rows }) => sum + rows, 0)).toBe(300);
});

test.each(['kek', 'escrow'] as const)(
  'what was sealed opens with the %s, and holds the rows of the prepared file',
  async (by) => {
    const result = await sealDataset(sealOptions(folder, keys));
    const [, ...lines] = (await readFile(join(folder, 'processed', 'train.csv'), 'utf8')).trimEnd().split('\n');
    const { classes } = result.manifest.schema;
    const rows: string[] = [];
    for (const object of result.manifest.objects.filter(({ split }) => split === 'train')) {
      const shard = decodeShard(await open(result, object, by));
      expect(shard.metadata).toEqual({ version: 1, split: 'train' });
      expect(shard.rows).toBe(object.rows);
      shard.labels.forEach((label, r) => {
        rows.push(`${shard.features[2 * r]?.toFixed(2)},${shard.features[2 * r + 1]},${classes[label]}`);
      });
    }
    expect(rows).toEqual(lines);
  },
);

test('encryptiondata is what an Azure SDK reads, wrapped to the vault key alone', async () => {
  await sealDataset(sealOptions(folder, keys));
  const data = parseEncryptionData(await readFile(encrypted('test.enc.encryptiondata.json'), 'utf8'));
  expect(data).toMatchObject({ keyId: KEY_ID, protocol: '2.0', regionLength: 4_194_304 });
  expect(unwrapCek(data.encryptedKey, keys.kek).symmetricKeySize).toBe(32);
});

test('one file, one shard: exactly the output path; the other splits join the same version', async () => {
  const { rowsPerShard: _, ...options } = sealOptions(folder, keys);
  const one = (split: string) =>
    sealDataset({
      ...options,
      inputPath: join(folder, 'processed', `${split}.csv`),
      outputPath: encrypted(`${split}.enc`),
    });
  expect((await one('test')).manifest.objects.map(({ name }) => name)).toEqual(['test.enc']);
  const { manifest } = await one('train');
  expect(manifest.objects.map(({ name }) => name)).toEqual(['train.enc', 'test.enc']);
  expect(manifest.version).toBe(1);
  const slots = parseKeySlots(await readFile(encrypted('keys.json')));
  expect(Object.keys(slots.objects).sort()).toEqual(['test.enc', 'train.enc']);
});

test('sealed again: other ciphertext, the same plaintext', async () => {
  const first = await sealDataset(sealOptions(folder, keys));
  const before = await opened(first);
  const bytes = await readFile(encrypted('test.enc'));
  const second = await sealDataset(sealOptions(folder, keys));
  expect(await opened(second)).toEqual(before);
  expect(toHex(await readFile(encrypted('test.enc')))).not.toBe(toHex(bytes));
  expect(second.manifest.version).toBe(1);
});

test('fewer shards than before leave none of the others behind', async () => {
  await sealDataset(sealOptions(folder, keys));
  const { rowsPerShard: _, ...options } = sealOptions(folder, keys);
  await sealDataset(options);
  expect((await readdir(encrypted('.'))).filter((name) => name.endsWith('.enc')).sort()).toEqual([
    'test.enc',
    'train.enc',
    'validation.enc',
  ]);
  expect((await readdir(encrypted('.'))).filter((name) => name.startsWith('train-'))).toEqual([]);
});

test('splits of another preparation are left out: a row could be in both train and test', async () => {
  await sealDataset(sealOptions(folder, keys));
  await prepareData({ inputPath: join(folder, 'data.csv'), outputDir: join(folder, 'processed'), seed: 7 });
  const options = {
    ...sealOptions(folder, keys),
    inputPath: join(folder, 'processed', 'test.csv'),
    outputPath: encrypted('test.enc'),
  };
  const result = await sealDataset(options);
  expect(result.manifest.objects.map(({ name }) => name)).toEqual(['test.enc']);
  expect(result.dropped).toEqual(['train-00000.enc', 'train-00001.enc', 'train-00002.enc', 'validation.enc']);
  expect((await readdir(encrypted('.'))).filter((name) => name.startsWith('train'))).toEqual([]);
});

test('a frozen version is followed by the next; a lowest version is kept to', async () => {
  const { manifest } = await sealDataset(sealOptions(folder, keys));
  const state = JSON.parse(await readFile(encrypted('ctrain-state.json'), 'utf8'));
  await writeFile(encrypted('ctrain-state.json'), JSON.stringify({ ...state, frozenVersion: manifest.version }));
  expect((await sealDataset(sealOptions(folder, keys))).manifest.version).toBe(2);
  expect((await sealDataset(sealOptions(folder, keys))).manifest.version).toBe(2);
  expect((await sealDataset({ ...sealOptions(folder, keys), lowestVersion: 5 })).manifest.version).toBe(5);
});

test('progress never goes back and ends at the end', async () => {
  const seen: DataProgress[] = [];
  await sealDataset({ ...sealOptions(folder, keys), onProgress: (progress) => seen.push(progress) });
  for (const split of ['train', 'validation', 'test']) {
    const done = seen.filter(({ name }) => name.startsWith(split)).map((progress) => progress.done);
    expect(done).toEqual([...done].sort((a, b) => a - b));
  }
  expect(seen.at(-1)?.done).toBe(seen.at(-1)?.total);
});

test('no slot for the owner when none is asked for, nor a second one when it is the same key', async () => {
  const { escrow: _, ...options } = sealOptions(folder, keys);
  await sealDataset(options);
  expect(parseKeySlots(await readFile(encrypted('keys.json'))).objects['test.enc']).toHaveLength(1);
  await sealDataset({ ...options, escrow: keys.kekJwk });
  expect(parseKeySlots(await readFile(encrypted('keys.json'))).objects['test.enc']).toHaveLength(1);
});

test('the slot of an escrow key in a vault names it', async () => {
  const escrowKeyId = KEY_ID.replace('training-key-1a2b3c4d', 'escrow');
  await sealDataset({ ...sealOptions(folder, keys), escrowKeyId });
  const slots = parseKeySlots(await readFile(encrypted('keys.json')));
  const [, own] = slots.objects['test.enc'] ?? [];
  expect(own?.keyId).toBe(escrowKeyId);
  expect(unwrapCek(fromBase64(own?.encryptedKey ?? '', 'slot'), keys.escrow).symmetricKeySize).toBe(32);
});

test('a killed sealing is finished by running it again', async () => {
  const whole = await opened(await sealDataset(sealOptions(folder, keys)));
  await rm(encrypted('.'), { recursive: true });
  const stop = new AbortController();
  const interrupted = sealDataset({
    ...sealOptions(folder, keys),
    onProgress: () => stop.abort(),
    abortSignal: stop.signal,
  });
  await expect(interrupted).rejects.toThrow();
  expect(await readdir(encrypted('.'))).not.toContain('manifest.dsse.json');
  expect(await opened(await sealDataset(sealOptions(folder, keys)))).toEqual(whole);
});

test.each<[string, () => Promise<unknown>, string]>([
  [
    'nothing prepared',
    () => rm(join(folder, 'processed', 'dataset.json')),
    "dataset.json is missing: run 'ctrain prepare-data' first",
  ],
  [
    'a dataset.json that is no JSON',
    () => writeFile(join(folder, 'processed', 'dataset.json'), '{'),
    "is not JSON; run 'ctrain prepare-data' again",
  ],
  [
    'a dataset.json that names a file elsewhere',
    () => edit('dataset.json', '"test.csv"', '"../data.csv"'),
    'splits.test.file',
  ],
  [
    'rows added by hand',
    () => edit('test.csv', 'width,height,class\n', 'width,height,class\n1,2,red\n'),
    'its dataset.json says',
  ],
  [
    'a class nobody knows',
    () => edit('test.csv', 'width,height,class\n', 'width,height,class\n1,2,SECRET\n'),
    'test.csv line 2, column class: found a label outside its 3 classes',
  ],
  [
    'a word for a number',
    () => edit('test.csv', 'width,height,class\n', 'width,height,class\nSECRET,2,red\n'),
    'test.csv line 2, column width: found no number of type float32',
  ],
  [
    'a column renamed',
    () => edit('test.csv', 'width', 'depth'),
    'test.csv: column width of its dataset.json is missing',
  ],
  ['a manifest of somebody else', stranger, 'is not one that this key signed: seal into another folder'],
  ['another dataset in the folder', otherDataset, 'holds dataset other, not data: seal into another folder'],
])('refuses %s', async (_, change, message) => {
  await change();
  await expect(sealDataset(sealOptions(folder, keys))).rejects.toThrow(rejection('CONFIG_INVALID', message));
});

test.each([
  ['a missing input', { inputPath: 'nowhere' }, 'no file or folder at nowhere'],
  ['a file name for a folder', { outputPath: 'train.enc' }, 'is a folder, so is its output'],
  ['version zero', { lowestVersion: 0 }, 'dataset version: wanted a whole number from 1'],
])('refuses %s', async (_, change, message) => {
  await expect(sealDataset({ ...sealOptions(folder, keys), ...change })).rejects.toThrow(
    rejection('CONFIG_INVALID', message),
  );
});

test('refuses a file that no dataset.json speaks of', async () => {
  await writeFile(join(folder, 'processed', 'extra.csv'), csvText());
  await expect(
    sealDataset({ ...sealOptions(folder, keys), inputPath: join(folder, 'processed', 'extra.csv') }),
  ).rejects.toThrow(rejection('CONFIG_INVALID', 'extra.csv is none of the files in its dataset.json'));
});

async function edit(name: string, from: string, to: string): Promise<void> {
  const path = join(folder, 'processed', name);
  await writeFile(path, (await readFile(path, 'utf8')).replace(from, to));
}

async function stranger(): Promise<void> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  await sealDataset({ ...sealOptions(folder, keys), ownerKey: privateKey });
}

async function otherDataset(): Promise<void> {
  await mkdir(encrypted('.'), { recursive: true });
  await sealDataset({ ...sealOptions(folder, keys), dataset: 'other' });
}

test('no file of a sealed folder holds a row in the clear', async () => {
  await sealDataset(sealOptions(folder, keys));
  const canary = Buffer.from(new Float32Array([3.7, 10]).buffer);
  for (const name of await readdir(encrypted('.'))) {
    const bytes = await readFile(encrypted(name));
    expect(bytes.includes(canary)).toBe(false);
    expect(bytes.includes('3.70,10')).toBe(false);
  }
});

test('any number of jobs seals the same objects in the same order', async () => {
  const inOrder = await opened(await sealDataset({ ...sealOptions(folder, keys), rowsPerShard: 30 }));
  const progress: DataProgress[] = [];
  for (const jobs of [1, 2, 3]) {
    const outputPath = join(folder, `encrypted-${jobs}`);
    const onProgress = (state: DataProgress) => void progress.push(state);
    const options = { ...sealOptions(folder, keys), rowsPerShard: 30, outputPath, jobs, onProgress };
    expect(await opened(await sealDataset(options))).toEqual(inOrder);
  }
  expect(progress.slice(0, progress.length / 3)).toEqual(progress.slice(-progress.length / 3));
});

test('a thread that cannot write says why, and nothing is signed', async () => {
  await mkdir(encrypted('train-00003.enc'), { recursive: true });
  await expect(sealDataset({ ...sealOptions(folder, keys), rowsPerShard: 30, jobs: 3 })).rejects.toThrow(
    /EISDIR|ENOTEMPTY/,
  );
  expect(await readdir(encrypted('.'))).not.toContain('manifest.dsse.json');
});
