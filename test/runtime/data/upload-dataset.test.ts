import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { fromBase64, toHex } from '../../../runtime/crypto/bytes.ts';
import { unwrapCek } from '../../../runtime/crypto/key-wrap.ts';
import { openShard } from '../../../runtime/data/open-shard.ts';
import type { DataProgress } from '../../../runtime/data/progress.ts';
import { sealDataset } from '../../../runtime/data/seal-dataset.ts';
import { nextFreeVersion, type UploadOptions, uploadDataset } from '../../../runtime/data/upload-dataset.ts';
import { SecureTrainingError } from '../../../runtime/errors.ts';
import { parseKeySlots } from '../../../runtime/keys/slots.ts';
import type { Manifest } from '../../../runtime/statements/manifest.ts';
import { rejection } from '../rejection.ts';
import { makeKeys, preparedFolder, sealOptions, type TestKeys, temporaryFolder } from './dataset.ts';
import { type MemoryStore, memoryStore } from './memory-store.ts';

let keys: TestKeys;
let sealedOnce: string;
let folder: string;
let manifest: Manifest;
let store: MemoryStore;
let prefix: string;

beforeAll(async () => {
  keys = makeKeys();
  sealedOnce = await preparedFolder(300);
  manifest = (await sealDataset(sealOptions(sealedOnce, keys))).manifest;
  prefix = `${keys.ownerId}/data/1`;
});

beforeEach(async () => {
  folder = await temporaryFolder();
  await cp(sealedOnce, folder, { recursive: true });
  store = memoryStore();
});

const local = (name: string) => join(folder, 'encrypted', name);
const upload = (options: Partial<UploadOptions> = {}) =>
  uploadDataset({ folder: join(folder, 'encrypted'), store, ownerKey: keys.ownerJwk, ...options });

test('puts a version into the store, the manifest last; a machine opens it', async () => {
  const result = await upload();
  expect(result).toMatchObject({ prefix, dataset: 'data', version: 1, sent: manifest.objects.map(({ name }) => name) });
  const names = manifest.objects.flatMap(({ name }) => [name, `${name}.leaves`]);
  expect([...store.blobs.keys()].sort()).toEqual(
    [...names, 'keys.json', 'manifest.dsse.json'].map((name) => `${prefix}/${name}`).sort(),
  );
  expect(store.calls.filter((call) => call.startsWith('put')).at(-1)).toBe(`put ${prefix}/manifest.dsse.json`);
  const object = manifest.objects[0];
  const slots = parseKeySlots(store.blobs.get(`${prefix}/keys.json`)?.bytes ?? new Uint8Array());
  const slot = slots.objects[object?.name ?? '']?.[0];
  if (object === undefined || slot === undefined) throw new Error('nothing was uploaded');
  const cek = unwrapCek(fromBase64(slot.encryptedKey), keys.kek);
  expect((await openShard(store, prefix, object, cek)).length).toBe(object.plaintextSize);
});

test('blobs carry the encryptiondata that Azure SDKs look for', async () => {
  await upload();
  const data = await readFile(local('test.enc.encryptiondata.json'), 'utf8');
  expect(store.blobs.get(`${prefix}/test.enc`)?.metadata.encryptiondata).toBe(data);
});

test('run again, it sends nothing and changes nothing', async () => {
  await upload();
  const before = new Map(store.blobs);
  const again = await upload();
  expect(again.sent).toEqual([]);
  expect(again.bytesSent).toBe(0);
  expect(store.blobs).toEqual(before);
});

test('keys added in the store since are left alone', async () => {
  await upload();
  const rotated = new TextEncoder().encode('{"version":1,"objects":{}}');
  await store.put(`${prefix}/keys.json`, rotated);
  await upload();
  expect(store.blobs.get(`${prefix}/keys.json`)?.bytes).toEqual(rotated);
});

test('interrupted at any write, it is finished by running it again', async () => {
  await upload();
  const whole = [...store.blobs.keys()].sort();
  const writes = store.calls.filter((call) => call.startsWith('put')).length;
  for (let stopAt = 0; stopAt < writes; stopAt++) {
    store = memoryStore();
    let count = 0;
    store.fail = (call) =>
      call.startsWith('put') && count++ === stopAt ? new SecureTrainingError('UNAVAILABLE', 'killed') : undefined;
    await expect(upload()).rejects.toThrow(rejection('UNAVAILABLE', 'killed'));
    expect(store.blobs.has(`${prefix}/manifest.dsse.json`)).toBe(false);
    store.fail = () => undefined;
    await upload();
    expect([...store.blobs.keys()].sort()).toEqual(whole);
  }
});

test('freezes the version: sealing again makes the next one, which goes beside it', async () => {
  await upload();
  const next = await sealDataset(sealOptions(folder, keys));
  expect(next.manifest.version).toBe(2);
  expect(await upload()).toMatchObject({ version: 2, prefix: `${keys.ownerId}/data/2` });
  expect(store.blobs.has(`${prefix}/manifest.dsse.json`)).toBe(true);
  expect(await nextFreeVersion(store, keys.ownerId, 'data')).toBe(3);
  expect(await nextFreeVersion(store, keys.ownerId, 'dat')).toBe(1);
});

test('an interrupted upload freezes too: nobody can say what was seen of it', async () => {
  store.fail = (call) =>
    call === `put ${prefix}/manifest.dsse.json` ? new SecureTrainingError('UNAVAILABLE', 'killed') : undefined;
  await expect(upload()).rejects.toThrow(rejection('UNAVAILABLE'));
  expect((await sealDataset(sealOptions(folder, keys))).manifest.version).toBe(2);
});

test('what another sealing left half-way is replaced', async () => {
  await store.put(`${prefix}/test.enc`, new Uint8Array(10), { metadata: { merkleroot: 'other' } });
  await upload();
  expect(toHex(store.blobs.get(`${prefix}/test.enc`)?.bytes ?? new Uint8Array())).toBe(
    toHex(await readFile(local('test.enc'))),
  );
});

test('the same version with other content is refused, and what is there stays', async () => {
  await upload();
  const before = new Map(store.blobs);
  await rm(local('.'), { recursive: true });
  await sealDataset(sealOptions(folder, keys));
  await expect(upload()).rejects.toThrow(
    rejection(
      'CONFIG_INVALID',
      'version 1 of dataset data is in the store with other content: seal again with --dataset-version 2',
    ),
  );
  expect(store.blobs).toEqual(before);
});

const flip = (path: string) => async () => {
  const bytes = await readFile(local(path));
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  await writeFile(local(path), bytes);
};

test.each([
  ['a flipped byte', flip('test.enc'), 'CIPHERTEXT_REJECTED', 'test.enc: region 0 is altered'],
  ['altered leaves', flip('test.enc.leaves'), 'CIPHERTEXT_REJECTED', 'test.enc: its leaf hashes do not add up'],
  [
    'an object cut off',
    async () => writeFile(local('test.enc'), new Uint8Array(5)),
    'CIPHERTEXT_REJECTED',
    'test.enc: found 5 sealed bytes',
  ],
  ['a missing object', async () => rm(local('test.enc')), 'CONFIG_INVALID', "run 'ctrain encrypt-data' again"],
  [
    'a missing manifest',
    async () => rm(local('manifest.dsse.json')),
    'CONFIG_INVALID',
    "manifest.dsse.json is missing: run 'ctrain encrypt-data' first",
  ],
  [
    'missing keys',
    async () => rm(local('keys.json')),
    'CONFIG_INVALID',
    "keys.json is missing: run 'ctrain encrypt-data' again",
  ],
] as const)('refuses %s on the disk and sends nothing', async (_, change, code, message) => {
  await change();
  await expect(upload()).rejects.toThrow(rejection(code, message));
  expect(store.blobs.size).toBe(0);
});

test('refuses a manifest that somebody else signed', async () => {
  await expect(upload({ ownerKey: makeKeys().ownerJwk })).rejects.toThrow(rejection('CONSENT_MISSING'));
  expect(store.blobs.size).toBe(0);
});

test('reads back what was sent: what the store got wrong is told before the manifest is there', async () => {
  const { put, putFile } = store;
  store.putFile = async (name, path, options) => {
    await putFile(name, path, options);
    const bytes = store.blobs.get(name)?.bytes.slice() ?? new Uint8Array();
    bytes[40] = (bytes[40] ?? 0) ^ 1;
    return put(name, bytes, options?.metadata === undefined ? {} : { metadata: options.metadata });
  };
  await expect(upload()).rejects.toThrow(rejection('CIPHERTEXT_REJECTED', 'train-00000.enc: region 0 is altered'));
  expect(store.blobs.has(`${prefix}/manifest.dsse.json`)).toBe(false);
});

test('progress never goes back and ends at the end', async () => {
  const seen: DataProgress[] = [];
  await upload({ onProgress: (progress) => seen.push(progress) });
  const done = seen.map((progress) => progress.done);
  expect(done).toEqual([...done].sort((a, b) => a - b));
  expect(done.at(-1)).toBe(seen.at(-1)?.total);
});

test('what stays on the disk is never sent', async () => {
  expect(await readdir(local('.'))).toContain('ctrain-state.json');
  await upload();
  expect([...store.blobs.keys()].some((name) => name.includes('state') || name.includes('encryptiondata'))).toBe(false);
});
