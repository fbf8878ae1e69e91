import { createHash, type Hash, type KeyObject, randomBytes } from 'node:crypto';
import { equalBytes, toBase64 } from '../crypto/bytes.ts';
import { ENCRYPTION_DATA, encryptionDataJson, parseEncryptionData } from '../crypto/encryption-data.ts';
import { ecPublicJwk, importJwk } from '../crypto/jwk.ts';
import { wrapCek } from '../crypto/key-wrap.ts';
import { generateCek, openRegions, REGION_LENGTH, sealedRange, sealStream } from '../crypto/sealed-object.ts';
import { SecureTrainingError } from '../errors.ts';
import { type EscrowKey, openEscrowSlot } from '../keys/escrow.ts';
import { type KeySlots, type Slot, slotOf } from '../keys/slots.ts';
import { serialiseEnvelope } from '../statements/dsse.ts';
import { bindObject, checkKeyBinding, type Manifest, type ManifestObject } from '../statements/manifest.ts';
import { type ReencryptedObject, signReencrypted, verifyReencrypted } from '../statements/reencryption.ts';
import { describeSealed, expectedObject } from '../statements/sealed-description.ts';
import type { BlobStore } from './blob-store.ts';
import { leavesName } from './open-shard.ts';
import type { SealingKey } from './seal-dataset.ts';
import { REENCRYPTION_FOLDER } from './sealed-folder.ts';
import { checkRemoteObject } from './upload-dataset.ts';

export interface ReencryptionKeys {
  /** Container `datasets`. */
  readonly store: BlobStore;
  /** Private P-256 key that signed the old manifest and signs the new one. */
  readonly ownerKey: KeyObject;
  /** Opens the owner's slots, of the old objects and of the new ones: the first of these that an object has one of. */
  readonly escrowKeys: readonly EscrowKey[];
  /** Vault key that the new objects are sealed to. */
  readonly to: SealingKey;
  /** The owner's key that they get a slot of; one of `escrowKeys` opens it. */
  readonly escrow: SealingKey;
}

/** An old version, its signature checked. */
export interface OldVersion {
  readonly prefix: string;
  readonly manifest: Manifest;
  readonly digest: string;
  readonly slots: KeySlots;
}

/**
 * Seals one object anew below `prefix`, reads it back and signs a record of it; or takes the record there is, if the store
 * still holds what it says.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` naming the object, `CONSENT_MISSING` for a record of somebody else
 */
export async function reencryptObject(
  options: ReencryptionKeys,
  source: OldVersion,
  prefix: string,
  object: ManifestObject,
): Promise<{ readonly record: ReencryptedObject; readonly isNew: boolean }> {
  const { store, ownerKey } = options;
  const name = `${prefix}/${REENCRYPTION_FOLDER}/${object.name}.dsse.json`;
  const there = await store.get(name);
  if (there !== undefined) {
    const record = verifyReencrypted(there.bytes, ecPublicJwk(ownerKey), name);
    const isOfThis = record.manifestDigest === source.digest && record.from === object.name;
    if (isOfThis && (await isWhole(store, prefix, record))) return { record, isNew: false };
  }
  const record = await sealAnew(options, source, prefix, object);
  const condition = there === undefined ? { ifNoneMatch: '*' as const } : { ifMatch: there.etag };
  const written = await store.put(name, serialiseEnvelope(signReencrypted(record, ownerKey)), condition);
  if (written !== undefined) return { record, isNew: true };
  // One beside this was quicker: its object is the one. What was sealed here is removed with the other leftovers.
  return reencryptObject(options, source, prefix, object);
}

async function sealAnew(
  options: ReencryptionKeys,
  { prefix: oldPrefix, manifest, digest, slots }: OldVersion,
  prefix: string,
  old: ManifestObject,
): Promise<ReencryptedObject> {
  const { store, to, escrow, escrowKeys } = options;
  const { ownerId } = manifest;
  const oldCek = await openEscrowSlot(old.name, slots.objects[old.name], escrowKeys);
  checkKeyBinding(oldCek, ownerId, old);
  const cek = generateCek();
  const name = freshName(old.name);
  const encryptedKey = wrapCek(cek, importJwk(to.jwk));
  const data = { keyId: to.keyId, encryptedKey, protocol: '2.0', regionLength: REGION_LENGTH } as const;
  const oldHash = createHash('sha256');
  const sealing = sealStream(passing(plaintextOf(store, oldPrefix, old, oldCek), oldHash), cek);
  const written = await store.putStream(`${prefix}/${name}`, sealing, {
    ifNoneMatch: '*',
    metadata: { [ENCRYPTION_DATA]: encryptionDataJson(data) },
  });
  if (written === undefined) throw contended(`${prefix}/${name}`);
  const summary = sealing.summary();
  await store.put(`${prefix}/${leavesName(name)}`, summary.leaves);
  const description = describeSealed(name, summary);
  const object: ManifestObject = {
    ...description,
    split: old.split,
    rows: old.rows,
    keyBinding: bindObject(cek, ownerId, description),
  };
  const newSlots = [slotOf(to.keyId, encryptedKey), slotOf(escrow.keyId, wrapCek(cek, importJwk(escrow.jwk)))];
  await requireSameContent(options, { prefix, ownerId, object, slots: newSlots }, oldHash.digest(), old.name);
  return { manifestDigest: digest, from: old.name, object, slots: newSlots };
}

/** Opens what lies in the store now as its owner would, by the escrow slot, and compares. */
async function requireSameContent(
  { store, escrowKeys }: ReencryptionKeys,
  fresh: {
    readonly prefix: string;
    readonly ownerId: string;
    readonly object: ManifestObject;
    readonly slots: readonly Slot[];
  },
  wanted: Uint8Array,
  oldName: string,
): Promise<void> {
  const { prefix, ownerId, object, slots } = fresh;
  const cek = await openEscrowSlot(object.name, slots, escrowKeys);
  checkKeyBinding(cek, ownerId, object);
  const hash = createHash('sha256');
  for await (const _ of passing(plaintextOf(store, prefix, object, cek), hash));
  if (equalBytes(hash.digest(), wanted)) return;
  throw new SecureTrainingError('CIPHERTEXT_REJECTED', `${object.name}: it does not hold what ${oldName} holds`);
}

/** An object's plaintext, a region at a time, each checked against the signed root and its tag before it is handed on. */
async function* plaintextOf(
  store: BlobStore,
  prefix: string,
  object: ManifestObject,
  cek: KeyObject,
): AsyncGenerator<Uint8Array> {
  const leaves = await store.get(`${prefix}/${leavesName(object.name)}`);
  if (leaves === undefined) throw missing(`${object.name}: its leaf hashes are`);
  // Whichever version of the blob: a rotation beside this one changes metadata, and what is read is checked by its leaf.
  async function* regions(): AsyncGenerator<Uint8Array> {
    for (let index = 0; index < object.regionCount; index++) {
      const { offset, length } = sealedRange(object, index);
      const region = await store.getRange(`${prefix}/${object.name}`, offset, length);
      if (region === undefined) throw missing(`${object.name}: all of it is`);
      yield region;
    }
  }
  yield* openRegions(regions(), cek, { ...expectedObject(object), leaves: leaves.bytes });
}

/** Hands plaintext on and hashes it; a piece is zeroed when the next is asked for. */
async function* passing(source: AsyncIterable<Uint8Array>, hash: Hash): AsyncGenerator<Uint8Array> {
  for await (const piece of source) {
    hash.update(piece);
    yield piece;
    piece.fill(0);
  }
}

/** Whether the store still has what a record says was written: no key is needed. */
async function isWhole(store: BlobStore, prefix: string, { object, slots }: ReencryptedObject): Promise<boolean> {
  const there = await store.properties(`${prefix}/${object.name}`);
  const leaves = await store.properties(`${prefix}/${leavesName(object.name)}`);
  const json = there?.metadata[ENCRYPTION_DATA];
  if (there?.size !== object.ciphertextSize || leaves === undefined || json === undefined) return false;
  try {
    const { keyId, encryptedKey } = parseEncryptionData(json, `${ENCRYPTION_DATA} of ${object.name}`);
    if (!slots.some((slot) => slot.keyId === keyId && slot.encryptedKey === toBase64(encryptedKey))) return false;
    await checkRemoteObject(store, prefix, object);
    return true;
  } catch (error) {
    // Altered: sealed once more.
    if (error instanceof SecureTrainingError && error.code !== 'UNAVAILABLE') return false;
    throw error;
  }
}

/** Whether a name is one that {@link reencryptObject} gave. */
export function isFreshName(name: string): boolean {
  return FRESH.test(name);
}

const FRESH = /-x[0-9a-f]{8}(?=\.[^./]*$|$)/;
/** Object names have at most 128 characters. */
const LONGEST_STEM = 100;

/** `train-00007.enc` becomes `train-00007-x1a2b3c4d.enc`: a key seals one object, so every attempt needs a name of its own. */
function freshName(name: string): string {
  const bare = name.replace(FRESH, '');
  const extension = /\.[^.]{1,16}$/.exec(bare)?.[0] ?? '';
  const stem = bare.slice(0, bare.length - extension.length).slice(0, LONGEST_STEM);
  return `${stem}-x${randomBytes(4).toString('hex')}${extension}`;
}

function missing(what: string): SecureTrainingError {
  return new SecureTrainingError('CIPHERTEXT_REJECTED', `${what} not in the store`);
}

function contended(what: string): SecureTrainingError {
  return new SecureTrainingError('UNAVAILABLE', `${what} is there already: try again`);
}
