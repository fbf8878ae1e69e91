import { createHash, type Hash, type KeyObject, randomBytes } from 'node:crypto';
import { equalBytes, toBase64 } from '../crypto/bytes.ts';
import { ENCRYPTION_DATA, encryptionDataJson, parseEncryptionData } from '../crypto/encryption-data.ts';
import { ecPublicJwk, importJwk, thumbprint } from '../crypto/jwk.ts';
import { wrapCek } from '../crypto/key-wrap.ts';
import { generateCek, openRegions, REGION_LENGTH, sealedRange, sealStream } from '../crypto/sealed-object.ts';
import { SecureTrainingError } from '../errors.ts';
import { type EscrowKey, openEscrowSlot } from '../keys/escrow.ts';
import { type KeySlots, parseKeySlots, type Slot, serialiseKeySlots, slotOf } from '../keys/slots.ts';
import { serialiseEnvelope, statementDigest } from '../statements/dsse.ts';
import {
  bindObject,
  checkKeyBinding,
  type Manifest,
  type ManifestObject,
  signManifest,
  verifyManifest,
} from '../statements/manifest.ts';
import {
  type PlannedDataset,
  type ReencryptedObject,
  signReencrypted,
  verifyReencrypted,
} from '../statements/reencryption.ts';
import { describeSealed, expectedObject } from '../statements/sealed-description.ts';
import type { BlobStore } from './blob-store.ts';
import { leavesName } from './open-shard.ts';
import type { OnDataProgress } from './progress.ts';
import type { SealingKey } from './seal-dataset.ts';
import { datasetPrefix, KEYS_FILE, MANIFEST_FILE, REENCRYPTION_FOLDER } from './sealed-folder.ts';
import { checkRemoteObject } from './upload-dataset.ts';

export interface ReencryptOptions {
  /** Container `datasets`. */
  readonly store: BlobStore;
  readonly plan: PlannedDataset;
  /** Private P-256 key that signed the old manifest and signs the new one. */
  readonly ownerKey: KeyObject;
  /** Opens the owner's slots, of the old objects and of the new ones: the first of these that an object has one of. */
  readonly escrowKeys: readonly EscrowKey[];
  /** Vault key that the new objects are sealed to. */
  readonly to: SealingKey;
  /** The owner's key that they get a slot of; one of `escrowKeys` opens it. */
  readonly escrow: SealingKey;
  readonly onProgress?: OnDataProgress;
  readonly abortSignal?: AbortSignal;
}

export interface ReencryptedDataset {
  readonly prefix: string;
  readonly manifest: Manifest;
  readonly manifestDigest: string;
  /** Objects sealed by this call; the others were done. */
  readonly sealed: number;
}

/** An old version, its signature checked. */
interface Source {
  readonly prefix: string;
  readonly manifest: Manifest;
  readonly digest: string;
  readonly slots: KeySlots;
}

/**
 * Seals every object of a dataset's version anew, under a content key that nobody has seen, as another version. On the
 * owner's machine alone, in a stream: plaintext is in memory, a region at a time, and never on a disk. Each new object is
 * read back through its own escrow slot and must hold what the old one holds before it counts as done. Every attempt has a
 * key and a name of its own, so after a kill, or with two at once, the first signed record of an object decides; the
 * manifest comes last. The old version stays as it is.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` naming the object, `CONFIG_INVALID` when the old version is not
 * there or the new one is taken
 */
export async function reencryptDataset(options: ReencryptOptions): Promise<ReencryptedDataset> {
  const { store, plan, ownerKey } = options;
  const ownerJwk = ecPublicJwk(ownerKey);
  const source = await readSource(options);
  const { ownerId, dataset, schema, objects } = source.manifest;
  const prefix = datasetPrefix({ ownerId, dataset, version: plan.version });
  const published = async () => {
    const found = await store.get(`${prefix}/${MANIFEST_FILE}`);
    if (found === undefined) return undefined;
    const { manifest, digest } = verifyManifest(found.bytes, ownerJwk, `${prefix}/${MANIFEST_FILE}`);
    requireSame(source.manifest, manifest);
    return { prefix, manifest, manifestDigest: digest };
  };
  const total = objects.reduce((sum, { ciphertextSize }) => sum + ciphertextSize, 0);
  const records: ReencryptedObject[] = [];
  let sealed = 0;
  let done = 0;
  if ((await published()) === undefined) {
    for (const object of objects) {
      options.abortSignal?.throwIfAborted();
      const { record, isNew } = await reencryptObject(options, source, prefix, object);
      records.push(record);
      if (isNew) sealed++;
      done += object.ciphertextSize;
      options.onProgress?.({ step: 'rotate', name: `${dataset}/${object.name}`, done, total, unit: 'bytes' });
    }
    const slots = Object.fromEntries(records.map((record) => [record.object.name, record.slots]));
    const manifest: Manifest = {
      ownerId,
      dataset,
      version: plan.version,
      schema,
      objects: records.map(({ object }) => object),
    };
    const keys = serialiseKeySlots({ version: 1, objects: slots });
    await store.put(`${prefix}/${KEYS_FILE}`, keys, { ifNoneMatch: '*' });
    const envelope = signManifest(manifest, ownerKey);
    const isOurs = await store.put(`${prefix}/${MANIFEST_FILE}`, serialiseEnvelope(envelope), { ifNoneMatch: '*' });
    if (isOurs !== undefined) {
      await removeLeftovers(store, prefix, manifest);
      return { prefix, manifest, manifestDigest: statementDigest(envelope), sealed };
    }
  }
  // Of an earlier call that was killed after signing, or of one beside this.
  const theirs = await published();
  if (theirs === undefined) throw contended(`${prefix}/${MANIFEST_FILE}`);
  await removeLeftovers(store, prefix, theirs.manifest);
  return { ...theirs, sealed };
}

async function readSource({ store, plan, ownerKey }: ReencryptOptions): Promise<Source> {
  const ownerJwk = ecPublicJwk(ownerKey);
  const { dataset, from } = plan;
  const prefix = datasetPrefix({ ownerId: thumbprint(ownerJwk), dataset, version: from });
  const published = await store.get(`${prefix}/${MANIFEST_FILE}`);
  const keys = await store.get(`${prefix}/${KEYS_FILE}`);
  if (published === undefined || keys === undefined) {
    const missing = published === undefined ? MANIFEST_FILE : KEYS_FILE;
    throw new SecureTrainingError('CONFIG_INVALID', `${prefix}: there is no ${missing}`);
  }
  const { manifest, digest } = verifyManifest(published.bytes, ownerJwk, `${prefix}/${MANIFEST_FILE}`);
  if (digest === plan.manifestDigest) {
    return { prefix, manifest, digest, slots: parseKeySlots(keys.bytes, `${prefix}/${KEYS_FILE}`) };
  }
  throw new SecureTrainingError(
    'CIPHERTEXT_REJECTED',
    `${prefix}/${MANIFEST_FILE}: found manifest ${digest.slice(0, 12)}, the plan names ${plan.manifestDigest.slice(0, 12)}`,
  );
}

async function reencryptObject(
  options: ReencryptOptions,
  source: Source,
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
  options: ReencryptOptions,
  { prefix: oldPrefix, manifest, digest, slots }: Source,
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
  { store, escrowKeys }: ReencryptOptions,
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

/** What killed and overtaken attempts left, and the records. */
async function removeLeftovers(store: BlobStore, prefix: string, { objects }: Manifest): Promise<void> {
  const kept = new Set(
    [MANIFEST_FILE, KEYS_FILE, ...objects.flatMap(({ name }) => [name, leavesName(name)])].map(
      (name) => `${prefix}/${name}`,
    ),
  );
  const isOurs = (name: string) =>
    name.startsWith(`${prefix}/${REENCRYPTION_FOLDER}/`) || FRESH.test(name.replace(/\.leaves$/, ''));
  const leftovers: string[] = [];
  for await (const { name } of store.list(`${prefix}/`)) if (!kept.has(name) && isOurs(name)) leftovers.push(name);
  for (const name of leftovers) await store.delete(name);
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

/** A version that something else was put under is not what this makes. */
function requireSame(old: Manifest, found: Manifest): void {
  const outline = ({ objects }: Manifest) =>
    JSON.stringify(objects.map(({ split, rows, plaintextSize }) => [split, rows, plaintextSize]));
  if (outline(old) === outline(found) && found.objects.every(({ name }) => FRESH.test(name))) return;
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    `version ${found.version} of dataset ${found.dataset} is something else: it was put there while version ${old.version} was sealed anew`,
  );
}

function missing(what: string): SecureTrainingError {
  return new SecureTrainingError('CIPHERTEXT_REJECTED', `${what} not in the store`);
}

function contended(what: string): SecureTrainingError {
  return new SecureTrainingError(
    'UNAVAILABLE',
    `${what} was changed meanwhile: is another rotation running? try again`,
  );
}
