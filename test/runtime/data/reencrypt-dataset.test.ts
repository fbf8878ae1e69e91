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
import { leavesName, openShard } from '../../../runtime/data/open-shard.ts';
import { type ReencryptOptions, reencryptDataset } from '../../../runtime/data/reencrypt-dataset.ts';
import { sealDataset } from '../../../runtime/data/seal-dataset.ts';
import { uploadDataset } from '../../../runtime/data/upload-dataset.ts';
import { localEscrow } from '../../../runtime/keys/escrow.ts';
import { parseKeySlots, serialiseKeySlots, thumbprintKeyId } from '../../../runtime/keys/slots.ts';
import { serialiseEnvelope } from '../../../runtime/statements/dsse.ts';
import { checkKeyBinding, type Manifest, verifyManifest } from '../../../runtime/statements/manifest.ts';
import { signReencrypted, verifyReencrypted } from '../../../runtime/statements/reencryption.ts';
import { rejection } from '../rejection.ts';
import { KEY_ID, makeKeys, preparedFolder, sealOptions, type TestKeys } from './dataset.ts';
import { type MemoryStore, memoryStore } from './memory-store.ts';

const NEW_ID = KEY_ID.replace(/[0-9a-f]{32}$/, 'f'.repeat(32));
const NAME_OF_ATTEMPT = /^(.+)-x[0-9a-f]{8}\.enc$/;
let keys: TestKeys;
let folder: string;
let uploaded: ReadonlyMap<string, BlobContent>;
let manifest: Manifest;
let digest: string;
let prefix: string;
let next: string;
let store: MemoryStore;
let newKey: KeyObject;
/** What the old objects hold, by name. */
let plain: ReadonlyMap<string, string>;

beforeAll(async () => {
  keys = makeKeys();
  newKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  folder = await preparedFolder(300);
  ({ manifest, digest } = await sealDataset(sealOptions(folder, keys)));
  const source = memoryStore();
  prefix = (await uploadDataset({ folder: join(folder, 'encrypted'), store: source, ownerKey: keys.ownerJwk })).prefix;
  next = prefix.replace(/1$/, '2');
  uploaded = new Map(source.blobs);
  store = source;
  plain = await contents(prefix, manifest, keys.kek);
});
beforeEach(() => {
  store = memoryStore();
  for (const [name, blob] of uploaded) store.blobs.set(name, blob);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function options(): ReencryptOptions {
  return {
    store,
    plan: { dataset: manifest.dataset, from: 1, manifestDigest: digest, version: 2 },
    ownerKey: keys.owner,
    escrowKeys: [localEscrow(keys.escrow)],
    to: { keyId: NEW_ID, jwk: rsaPublicJwk(newKey) },
    escrow: { keyId: thumbprintKeyId('A'.repeat(43)), jwk: keys.escrowJwk },
  };
}

/** As {@link options}, with the escrow slot named as its opener looks for it. */
function good(): ReencryptOptions {
  const { slots } = slotsOf(prefix);
  const [own] = Object.values(slots.objects);
  const keyId = own?.find((slot) => slot.keyId !== KEY_ID)?.keyId ?? '';
  return { ...options(), escrow: { keyId, jwk: keys.escrowJwk } };
}

function slotsOf(at: string) {
  const bytes = store.blobs.get(`${at}/keys.json`)?.bytes ?? new Uint8Array();
  return { slots: parseKeySlots(bytes) };
}

/** Opens a version as a machine would: by the key that metadata and slots name. */
async function contents(at: string, of: Manifest, kek: KeyObject): Promise<Map<string, string>> {
  const { slots } = slotsOf(at);
  const found = new Map<string, string>();
  for (const object of of.objects) {
    const data = parseEncryptionData(store.blobs.get(`${at}/${object.name}`)?.metadata[ENCRYPTION_DATA] ?? '');
    expect(slots.objects[object.name]?.find(({ keyId }) => keyId === data.keyId)?.encryptedKey).toBe(
      toBase64(data.encryptedKey),
    );
    const cek = unwrapCek(data.encryptedKey, kek, { name: object.name });
    checkKeyBinding(cek, of.ownerId, object);
    found.set(object.name.replace(NAME_OF_ATTEMPT, '$1.enc'), toHex(await openShard(store, at, object, cek)));
  }
  return found;
}

function published(): Manifest {
  return verifyManifest(store.blobs.get(`${next}/manifest.dsse.json`)?.bytes ?? new Uint8Array(), keys.ownerJwk)
    .manifest;
}

async function expectDone(): Promise<void> {
  const made = published();
  expect(made).toMatchObject({ dataset: manifest.dataset, version: 2, schema: manifest.schema });
  expect(made.objects.map(({ split, rows }) => [split, rows])).toEqual(
    manifest.objects.map(({ split, rows }) => [split, rows]),
  );
  expect(await contents(next, made, newKey)).toEqual(plain);
  // Nothing but the version itself: no record, nothing of an attempt that came to nothing.
  const wanted = made.objects.flatMap(({ name }) => [name, leavesName(name)]);
  expect(below(next)).toEqual([...wanted, 'keys.json', 'manifest.dsse.json'].sort());
}

function below(at: string): string[] {
  return [...store.blobs.keys()]
    .filter((name) => name.startsWith(`${at}/`))
    .map((name) => name.slice(at.length + 1))
    .sort();
}

test('another version with the same rows under other keys; the old one stays as it is', async () => {
  const progress: number[] = [];
  const result = await reencryptDataset({ ...good(), onProgress: ({ done }) => progress.push(done) });
  expect(result).toMatchObject({ prefix: next, sealed: manifest.objects.length });
  expect(result.manifestDigest).not.toBe(digest);
  expect(progress).toEqual([...progress].sort((a, b) => a - b));
  expect(progress.at(-1)).toBe(manifest.objects.reduce((sum, { ciphertextSize }) => sum + ciphertextSize, 0));
  await expectDone();
  for (const [name, blob] of uploaded) expect(store.blobs.get(name)).toBe(blob);
});

test('no content key of the old version opens the new one', async () => {
  const { manifest: made } = await reencryptDataset(good());
  const { slots: old } = slotsOf(prefix);
  for (const [i, object] of made.objects.entries()) {
    const slot = old.objects[manifest.objects[i]?.name ?? '']?.find(({ keyId }) => keyId === KEY_ID);
    const cek = unwrapCek(fromBase64(slot?.encryptedKey ?? '', 'slot'), keys.kek);
    await expect(openShard(store, next, object, cek)).rejects.toThrow(
      rejection('CIPHERTEXT_REJECTED', `${object.name}: region 0 is altered, or sealed under another key`),
    );
  }
});

test('stopped before any of its writes, it leaves the old version alone, and a rerun finishes', async () => {
  const isWrite = (call: string) => /^put/.test(call);
  await reencryptDataset(good());
  const writes = store.calls.filter(isWrite).length;
  // Object, leaves and record of each, then keys and manifest.
  expect(writes).toBe(manifest.objects.length * 3 + 2);
  for (let allowed = 0; allowed < writes; allowed++) {
    store = memoryStore();
    for (const [name, blob] of uploaded) store.blobs.set(name, blob);
    let left = allowed;
    store.fail = (call) => (isWrite(call) && left-- <= 0 ? new Error('killed') : undefined);
    await expect(reencryptDataset(good())).rejects.toThrow('killed');
    expect(store.blobs.has(`${next}/manifest.dsse.json`)).toBe(false);
    store.fail = () => undefined;
    const { sealed } = await reencryptDataset(good());
    expect(sealed).toBe(manifest.objects.length - Math.floor(allowed / 3));
    await expectDone();
  }
});

test('run again after the end it does nothing', async () => {
  const first = await reencryptDataset(good());
  store.calls.length = 0;
  expect(await reencryptDataset(good())).toEqual({ ...first, sealed: 0 });
  expect(store.calls.filter((call) => /^put/.test(call))).toEqual([]);
});

test('two at once make one version', async () => {
  const [one, other] = await Promise.all([reencryptDataset(good()), reencryptDataset(good())]);
  expect(one.manifestDigest).toBe(other.manifestDigest);
  await expectDone();
});

test('one that is overtaken by another from start to end takes what that one made', async () => {
  const put = store.putStream;
  let other: Promise<unknown> | undefined;
  store.putStream = async (name, chunks, settings) => {
    const etag = await put(name, chunks, settings);
    // The other removes this very object, which no manifest lists.
    if (other === undefined) {
      other = Promise.resolve();
      other = reencryptDataset(good());
      await other;
    }
    return etag;
  };
  const mine = await reencryptDataset(good());
  expect(await other).toMatchObject({ manifestDigest: mine.manifestDigest });
  await expectDone();
});

/** Stops after the first object is done. */
async function halfWay(): Promise<string> {
  store.fail = (call) =>
    /^put .*reencrypt/.test(call) && below(next).some((name) => name.startsWith('reencrypt/'))
      ? new Error('killed')
      : undefined;
  await expect(reencryptDataset(good())).rejects.toThrow('killed');
  store.fail = () => undefined;
  return `${next}/${below(next).find((name) => name.startsWith('reencrypt/'))}`;
}

test.each<[string, (object: string) => void]>([
  ['was altered', (object) => flip(object)],
  ['is gone', (object) => store.blobs.delete(object)],
  ['lost its leaves', (object) => store.blobs.delete(leavesName(object))],
  ['names another key', (object) => rename(object)],
])('an object that was done and %s since is sealed once more', async (_, change) => {
  const record = await halfWay();
  const { object } = verifyReencrypted(store.blobs.get(record)?.bytes ?? new Uint8Array(), keys.ownerJwk);
  change(`${next}/${object.name}`);
  expect((await reencryptDataset(good())).sealed).toBe(manifest.objects.length);
  await expectDone();
});

test('an object that is sealed once more after keys.json was written has its slot there', async () => {
  store.fail = (call) => (call === `put ${next}/manifest.dsse.json` ? new Error('killed') : undefined);
  await expect(reencryptDataset(good())).rejects.toThrow('killed');
  store.fail = () => undefined;
  expect(store.blobs.has(`${next}/keys.json`)).toBe(true);
  flip(`${next}/${below(next).find((name) => NAME_OF_ATTEMPT.test(name))}`);
  expect((await reencryptDataset(good())).sealed).toBe(1);
  await expectDone();
});

function flip(name: string): void {
  const blob = store.blobs.get(name);
  if (blob !== undefined)
    store.blobs.set(name, { ...blob, bytes: blob.bytes.map((byte, i) => (i === 20 ? byte ^ 1 : byte)) });
}

function rename(name: string): void {
  const blob = store.blobs.get(name);
  if (blob === undefined) return;
  const json = blob.metadata[ENCRYPTION_DATA]?.replace(NEW_ID, KEY_ID) ?? '';
  store.blobs.set(name, { ...blob, metadata: { ...blob.metadata, [ENCRYPTION_DATA]: json } });
}

test('a record that somebody else signed stops it', async () => {
  const name = await halfWay();
  const record = verifyReencrypted(store.blobs.get(name)?.bytes ?? new Uint8Array(), keys.ownerJwk);
  await store.put(name, serialiseEnvelope(signReencrypted(record, makeKeys().owner)));
  await expect(reencryptDataset(good())).rejects.toThrow(rejection('CONSENT_MISSING', name));
  expect(store.blobs.has(`${next}/manifest.dsse.json`)).toBe(false);
});

test('bytes that changed on their way are found before the object counts as done', async () => {
  const put = store.putStream;
  store.putStream = async (name, chunks, settings) => {
    const etag = await put(name, chunks, settings);
    flip(name);
    return etag;
  };
  await expect(reencryptDataset(good())).rejects.toThrow(rejection('CIPHERTEXT_REJECTED', 'region 0'));
  expect(below(next).filter((name) => name.startsWith('reencrypt/'))).toEqual([]);
});

test('refuses a content key that a stranger put into the escrow slot', async () => {
  const { slots } = slotsOf(prefix);
  const [object] = manifest.objects;
  const name = object?.name ?? '';
  const forged = (slots.objects[name] ?? []).map((slot) =>
    slot.keyId === KEY_ID ? slot : { ...slot, encryptedKey: toBase64(wrapCek(generateCek(), keys.escrow)) },
  );
  const from = good();
  await store.put(
    `${prefix}/keys.json`,
    serialiseKeySlots({ ...slots, objects: { ...slots.objects, [name]: forged } }),
  );
  await expect(reencryptDataset(from)).rejects.toThrow(
    rejection('CIPHERTEXT_REJECTED', `${name}: its key is not the one that its owner bound to it`),
  );
  expect(below(next)).toEqual([]);
});

test.each<[string, () => Partial<ReencryptOptions>, string, string]>([
  [
    'another escrow key',
    () => ({ escrowKeys: [localEscrow(keys.kek)] }),
    'CIPHERTEXT_REJECTED',
    'no key slot of this owner',
  ],
  ['a new slot that nobody opens', () => options(), 'CIPHERTEXT_REJECTED', 'no key slot of this owner'],
  [
    'another manifest than planned',
    () => ({ plan: { ...good().plan, manifestDigest: '0'.repeat(64) } }),
    'CIPHERTEXT_REJECTED',
    'the plan names 000000000000',
  ],
  ['nothing there', () => ({ plan: { ...good().plan, from: 7 } }), 'CONFIG_INVALID', 'there is no manifest.dsse.json'],
])('refuses %s, and signs nothing', async (_, change, code, message) => {
  await expect(reencryptDataset({ ...good(), ...change() })).rejects.toThrow(
    expect.objectContaining({ code, message: expect.stringContaining(message) }),
  );
  expect(store.blobs.has(`${next}/manifest.dsse.json`)).toBe(false);
});

test('a version that something else was put under meanwhile is refused', async () => {
  const other = { ...sealOptions(folder, keys), outputPath: join(folder, 'other'), lowestVersion: 2 };
  await sealDataset(other);
  await uploadDataset({ folder: join(folder, 'other'), store, ownerKey: keys.ownerJwk });
  await expect(reencryptDataset(good())).rejects.toThrow(rejection('CONFIG_INVALID', 'version 2', 'is something else'));
});
