import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { fromBase64, toBase64, toHex } from '../../../runtime/crypto/bytes.ts';
import { ENCRYPTION_DATA, parseEncryptionData } from '../../../runtime/crypto/encryption-data.ts';
import { rsaPublicJwk } from '../../../runtime/crypto/jwk.ts';
import { unwrapCek, wrapCek } from '../../../runtime/crypto/key-wrap.ts';
import { generateCek } from '../../../runtime/crypto/sealed-object.ts';
import type { BlobContent } from '../../../runtime/data/blob-store.ts';
import { type RotateOptions, rotateDataset } from '../../../runtime/data/rotate-dataset.ts';
import { sealDataset } from '../../../runtime/data/seal-dataset.ts';
import { uploadDataset } from '../../../runtime/data/upload-dataset.ts';
import { localEscrow } from '../../../runtime/keys/escrow.ts';
import { parseKeySlots, serialiseKeySlots } from '../../../runtime/keys/slots.ts';
import { checkKeyBinding, type Manifest } from '../../../runtime/statements/manifest.ts';
import { KEY_ID, makeKeys, preparedFolder, sealOptions, type TestKeys } from './dataset.ts';
import { type MemoryStore, memoryStore } from './memory-store.ts';

const NEW_ID = KEY_ID.replace(/[0-9a-f]{32}$/, 'f'.repeat(32));
const OTHER_ID = KEY_ID.replace(/[0-9a-f]{32}$/, 'e'.repeat(32));
let keys: TestKeys;
let folder: string;
let uploaded: ReadonlyMap<string, BlobContent>;
let manifest: Manifest;
let prefix: string;
let store: MemoryStore;
let newKey: { privateKey: KeyObject };

beforeAll(async () => {
  keys = makeKeys();
  newKey = generateKeyPairSync('rsa', { modulusLength: 2048 });
  folder = await preparedFolder(300);
  manifest = (await sealDataset(sealOptions(folder, keys))).manifest;
  const source = memoryStore();
  prefix = (await uploadDataset({ folder: join(folder, 'encrypted'), store: source, ownerKey: keys.ownerJwk })).prefix;
  uploaded = new Map(source.blobs);
});
beforeEach(() => {
  store = memoryStore();
  for (const [name, blob] of uploaded) store.blobs.set(name, blob);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function options(keyId = NEW_ID): RotateOptions {
  return {
    store,
    prefix,
    ownerKey: keys.ownerJwk,
    escrowKeys: [localEscrow(keys.escrow)],
    to: { keyId, jwk: rsaPublicJwk(newKey.privateKey) },
  };
}

/** Which key each object's metadata names; on the way, every one is opened with that key's private half and checked. */
function opened(): string[] {
  const slots = parseKeySlots(store.blobs.get(`${prefix}/keys.json`)?.bytes ?? new Uint8Array()).objects;
  return manifest.objects.map((object) => {
    const data = parseEncryptionData(store.blobs.get(`${prefix}/${object.name}`)?.metadata[ENCRYPTION_DATA] ?? '');
    const key = data.keyId === KEY_ID ? keys.kek : newKey.privateKey;
    const cek = unwrapCek(data.encryptedKey, key, { name: object.name });
    checkKeyBinding(cek, manifest.ownerId, object);
    const slot = slots[object.name]?.find(({ keyId }) => keyId === data.keyId);
    expect(slot?.encryptedKey).toBe(toBase64(data.encryptedKey));
    return data.keyId;
  });
}

test('every object opens with the new key, the old slots stay, the rest of the metadata stays', async () => {
  const before = manifest.objects.length;
  const progress: number[] = [];
  const result = await rotateDataset({ ...options(), onProgress: ({ done }) => progress.push(done) });
  expect(result).toMatchObject({ rewrapped: before, from: [KEY_ID] });
  expect(progress).toEqual([before]);
  expect(new Set(opened())).toEqual(new Set([NEW_ID]));
  const slots = parseKeySlots(store.blobs.get(`${prefix}/keys.json`)?.bytes ?? new Uint8Array());
  for (const [i, object] of manifest.objects.entries()) {
    expect(slots.objects[object.name]?.map(({ keyId }) => keyId)).toContain(KEY_ID);
    const name = `${prefix}/${object.name}`;
    expect(store.blobs.get(name)?.metadata.merkleroot).toBe(manifest.objects[i]?.merkleRoot);
    expect(toHex(store.blobs.get(name)?.bytes ?? new Uint8Array())).toBe(
      toHex(uploaded.get(name)?.bytes ?? new Uint8Array()),
    );
  }
});

test('a second run has nothing to do', async () => {
  await rotateDataset(options());
  store.calls.length = 0;
  expect(await rotateDataset(options())).toMatchObject({ rewrapped: 0, from: [] });
  expect(store.calls.filter((call) => /^(?:put|setMetadata)/.test(call))).toEqual([]);
});

test('stopped before any of its writes, it leaves everything readable, and a rerun finishes', async () => {
  const writes = manifest.objects.length + 1;
  for (let allowed = 0; allowed < writes; allowed++) {
    for (const [name, blob] of uploaded) store.blobs.set(name, blob);
    let left = allowed;
    store.fail = (call) => (/^(?:put|setMetadata)/.test(call) && left-- <= 0 ? new Error('killed') : undefined);
    await expect(rotateDataset(options())).rejects.toThrow('killed');
    opened();
    store.fail = () => undefined;
    await rotateDataset(options());
    expect(new Set(opened())).toEqual(new Set([NEW_ID]));
  }
});

test('two at once leave the slots of both, and metadata that one of them wrote', async () => {
  await Promise.all([rotateDataset(options()), rotateDataset(options(OTHER_ID)), rotateDataset(options())]);
  for (const keyId of opened()) expect([NEW_ID, OTHER_ID]).toContain(keyId);
  const slots = parseKeySlots(store.blobs.get(`${prefix}/keys.json`)?.bytes ?? new Uint8Array());
  for (const { name } of manifest.objects) {
    const ids = slots.objects[name]?.map(({ keyId }) => keyId) ?? [];
    expect(ids.filter((id) => id === NEW_ID)).toHaveLength(1);
    expect(ids.filter((id) => id === OTHER_ID)).toHaveLength(1);
  }
});

test.each([
  ['another escrow key', () => ({ escrowKeys: [localEscrow(keys.kek)] }), "it has no key slot of this owner's key"],
  ['another signer', () => ({ ownerKey: makeKeys().ownerJwk }), 'no valid signature of key'],
  ['nothing there', () => ({ prefix: 'nobody/none/1' }), 'nobody/none/1: there is no manifest.dsse.json'],
])('refuses %s, and writes nothing', async (_, change, message) => {
  await expect(rotateDataset({ ...options(), ...change() })).rejects.toThrow(message);
  expect(store.calls.filter((call) => /^(?:put|setMetadata)/.test(call))).toEqual([]);
});

test('refuses a content key that a stranger put into the escrow slot', async () => {
  const path = `${prefix}/keys.json`;
  const slots = parseKeySlots(store.blobs.get(path)?.bytes ?? new Uint8Array());
  const [object] = manifest.objects;
  const name = object?.name ?? '';
  const forged = (slots.objects[name] ?? []).map((slot) => ({
    ...slot,
    encryptedKey: slot.keyId === KEY_ID ? slot.encryptedKey : toBase64(wrapCek(generateCek(), keys.escrow)),
  }));
  await store.put(path, serialiseKeySlots({ ...slots, objects: { ...slots.objects, [name]: forged } }));
  await expect(rotateDataset(options())).rejects.toThrow(
    expect.objectContaining({
      code: 'CIPHERTEXT_REJECTED',
      message: `${name}: its key is not the one that its owner bound to it`,
    }),
  );
});

test('refuses an object whose metadata says nothing', async () => {
  const name = `${prefix}/${manifest.objects[0]?.name}`;
  await store.put(name, fromBase64('AAAA'), { metadata: { other: 'x' } });
  await expect(rotateDataset(options())).rejects.toThrow(
    `${manifest.objects[0]?.name}: its encryptiondata is not in the store`,
  );
});

test('gives up when somebody else keeps writing', async () => {
  store.fail = (call) => {
    const path = `${prefix}/keys.json`;
    const there = store.blobs.get(path);
    if (call === `put ${path}` && there !== undefined) store.blobs.set(path, { ...there, etag: `${there.etag}+` });
    return undefined;
  };
  await expect(rotateDataset(options())).rejects.toThrow(expect.objectContaining({ code: 'UNAVAILABLE' }));
});
