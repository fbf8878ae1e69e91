import { fromBase64, sha256, toHex } from '../crypto/bytes.ts';
import { ENCRYPTION_DATA, encryptionDataJson, parseEncryptionData } from '../crypto/encryption-data.ts';
import { type EcPublicJwk, importJwk } from '../crypto/jwk.ts';
import { wrapCek } from '../crypto/key-wrap.ts';
import { SecureTrainingError } from '../errors.ts';
import { type EscrowKey, openEscrowSlot } from '../keys/escrow.ts';
import { addSlot, type KeySlots, parseKeySlots, type Slot, serialiseKeySlots, slotOf } from '../keys/slots.ts';
import { checkKeyBinding, type Manifest, type ManifestObject, verifyManifest } from '../statements/manifest.ts';
import type { BlobStore } from './blob-store.ts';
import type { OnDataProgress } from './progress.ts';
import type { SealingKey } from './seal-dataset.ts';
import { KEYS_FILE, MANIFEST_FILE } from './sealed-folder.ts';

export interface RotateOptions {
  /** Container `datasets`. */
  readonly store: BlobStore;
  /** Folder of one version of a dataset. */
  readonly prefix: string;
  /** Who must have signed the manifest. */
  readonly ownerKey: EcPublicJwk;
  /** Opens the owner's own slots: the first of these that an object has one of. */
  readonly escrowKeys: readonly EscrowKey[];
  /** What the content keys are wrapped to from now on. */
  readonly to: SealingKey;
  readonly onProgress?: OnDataProgress;
  readonly abortSignal?: AbortSignal;
}

export interface RotatedDataset {
  readonly manifest: Manifest;
  readonly manifestDigest: string;
  readonly to: SealingKey;
  /** Keys that the objects' metadata named before, by id. */
  readonly from: readonly string[];
  /** Objects whose slot or metadata this call wrote; the others were done. */
  readonly rewrapped: number;
  /** Hex SHA-256 of `keys.json` as it was left. */
  readonly slotsSha256: string;
}

/** Content keys unwrapped before `keys.json` is written: what a kill may lose. */
const BATCH = 500;
/** Requests in flight: metadata writes, and unwrappings where the escrow key is in a vault. */
const PARALLEL = 8;
/** How often another writer may get in between before this one gives up. */
const ATTEMPTS = 10;

/**
 * Wraps every content key of a dataset's version to another key, outside any trainer: unwrapped from the owner's escrow
 * slot, checked against the signed binding, wrapped, put into `keys.json` first and into the blob's metadata second. At
 * every instant a reader finds a slot it may use; run again after a kill it does what is left; two at once leave the slots
 * of both. No object is read and the manifest stays as it was signed.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` naming the object when there is no escrow slot or its key is not
 * the bound one, `CONFIG_INVALID` when nothing is there, `UNAVAILABLE` when others keep writing
 */
export async function rotateDataset(options: RotateOptions): Promise<RotatedDataset> {
  const { store, prefix, ownerKey, to } = options;
  const published = await store.get(`${prefix}/${MANIFEST_FILE}`);
  if (published === undefined) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `${prefix}: there is no ${MANIFEST_FILE}: nothing was uploaded there`,
    );
  }
  const { manifest, digest } = verifyManifest(published.bytes, ownerKey, `${prefix}/${MANIFEST_FILE}`);
  const { objects } = manifest;
  const changed = new Set<string>();
  const from = new Set<string>();
  let slots = await readSlots(options);
  for (let start = 0; start < objects.length; start += BATCH) {
    options.abortSignal?.throwIfAborted();
    const batch = objects.slice(start, start + BATCH);
    const wrapped = await wrapMissing(options, manifest.ownerId, batch, slots);
    for (const name of wrapped.keys()) changed.add(name);
    slots = wrapped.size === 0 ? slots : await writeSlots(options, wrapped);
    await eachOf(batch, async (object) => {
      const before = await writeMetadata(options, object, slotTo(slots, object.name, to.keyId));
      if (before === undefined) return;
      changed.add(object.name);
      from.add(before);
    });
    const done = Math.min(start + BATCH, objects.length);
    options.onProgress?.({ step: 'rotate', name: prefix, done, total: objects.length, unit: 'objects' });
  }
  return {
    manifest,
    manifestDigest: digest,
    to,
    from: [...from].sort(),
    rewrapped: changed.size,
    slotsSha256: toHex(sha256(serialiseKeySlots(slots))),
  };
}

async function readSlots({ store, prefix }: RotateOptions): Promise<KeySlots> {
  return (await readSlotsBlob(store, prefix)).slots;
}

async function readSlotsBlob(store: BlobStore, prefix: string): Promise<{ slots: KeySlots; etag: string }> {
  const found = await store.get(`${prefix}/${KEYS_FILE}`);
  if (found === undefined) throw new SecureTrainingError('CONFIG_INVALID', `${prefix}: there is no ${KEYS_FILE}`);
  return { slots: parseKeySlots(found.bytes, `${prefix}/${KEYS_FILE}`), etag: found.etag };
}

/** Fresh slots, by object, for those that have none of the new key. */
async function wrapMissing(
  { escrowKeys, to }: RotateOptions,
  ownerId: string,
  objects: readonly ManifestObject[],
  slots: KeySlots,
): Promise<Map<string, Slot>> {
  const kek = importJwk(to.jwk);
  const wrapped = new Map<string, Slot>();
  await eachOf(objects, async (object) => {
    const own = slots.objects[object.name];
    if (own?.some(({ keyId }) => keyId === to.keyId) === true) return;
    const cek = await openEscrowSlot(object.name, own, escrowKeys);
    checkKeyBinding(cek, ownerId, object);
    wrapped.set(object.name, slotOf(to.keyId, wrapCek(cek, kek)));
  });
  return wrapped;
}

/** Adds slots under the condition that nobody wrote in between; whoever put a slot of the same key there first has won. */
async function writeSlots({ store, prefix, to }: RotateOptions, wrapped: ReadonlyMap<string, Slot>): Promise<KeySlots> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const { slots, etag } = await readSlotsBlob(store, prefix);
    let next = slots;
    for (const [name, slot] of wrapped) {
      const isThere = next.objects[name]?.some(({ keyId }) => keyId === to.keyId) === true;
      if (!isThere) next = addSlot(next, name, slot);
    }
    const written = await store.put(`${prefix}/${KEYS_FILE}`, serialiseKeySlots(next), { ifMatch: etag });
    if (written !== undefined) return next;
  }
  throw contended(`${prefix}/${KEYS_FILE}`);
}

/** Writes the slot into the metadata that SDKs read, the rest of it kept. The key id it replaced; `undefined` when it was there already. */
async function writeMetadata(
  { store, prefix }: RotateOptions,
  { name }: ManifestObject,
  slot: Slot,
): Promise<string | undefined> {
  const blob = `${prefix}/${name}`;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const there = await store.properties(blob);
    const json = there?.metadata[ENCRYPTION_DATA];
    if (there === undefined || json === undefined) {
      const missing = there === undefined ? 'it' : `its ${ENCRYPTION_DATA}`;
      throw new SecureTrainingError('CIPHERTEXT_REJECTED', `${name}: ${missing} is not in the store`);
    }
    const data = parseEncryptionData(json, `${ENCRYPTION_DATA} of ${name}`);
    const encryptedKey = fromBase64(slot.encryptedKey, `key slot of ${name}`);
    const next = encryptionDataJson({ ...data, keyId: slot.keyId, encryptedKey });
    if (next === json) return undefined;
    const written = await store.setMetadata(blob, { ...there.metadata, [ENCRYPTION_DATA]: next }, there.etag);
    if (written !== undefined) return data.keyId;
  }
  throw contended(blob);
}

function slotTo({ objects }: KeySlots, name: string, keyId: string): Slot {
  const slot = objects[name]?.find((each) => each.keyId === keyId);
  if (slot === undefined) throw contended(`${name} in ${KEYS_FILE}`);
  return slot;
}

async function eachOf<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const worker = async () => {
    for (const item of queue) await work(item);
  };
  const workers = await Promise.allSettled(Array.from({ length: PARALLEL }, worker));
  // All have ended: nothing is still writing when this returns.
  for (const outcome of workers) if (outcome.status === 'rejected') throw outcome.reason;
}

function contended(what: string): SecureTrainingError {
  return new SecureTrainingError(
    'UNAVAILABLE',
    `${what} was changed again and again: is another rotation running? try again`,
  );
}
