import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fromHex } from '../crypto/bytes.ts';
import { ENCRYPTION_DATA, parseEncryptionData } from '../crypto/encryption-data.ts';
import type { EcPublicJwk } from '../crypto/jwk.ts';
import { exactly } from '../crypto/regions.ts';
import { checkLeaf, checkLeaves, NONCE_LENGTH, sealedRange, TAG_LENGTH } from '../crypto/sealed-object.ts';
import { SecureTrainingError } from '../errors.ts';
import { type ManifestObject, verifyManifest } from '../statements/manifest.ts';
import type { BlobProperties, BlobStore } from './blob-store.ts';
import { leavesName } from './open-shard.ts';
import type { OnDataProgress } from './progress.ts';
import {
  datasetPrefix,
  encryptionDataName,
  KEYS_FILE,
  MANIFEST_FILE,
  readFolderState,
  readOptional,
  readSealedFolder,
  type SealedFolder,
  writeFolderState,
} from './sealed-folder.ts';

/** Metadata entry that says which sealing a blob came from, so that a rerun knows what is there already. */
const ROOT_METADATA = 'merkleroot';

export interface UploadOptions {
  /** What `encrypt-data` wrote. */
  readonly folder: string;
  /** Container `datasets`. */
  readonly store: BlobStore;
  /** Who must have signed the manifest. */
  readonly ownerKey: EcPublicJwk;
  /** @default - `OWNER/DATASET/VERSION`, where everybody looks for it */
  readonly prefix?: string;
  /**
   * Reads everything back and compares it with the manifest; costs as much traffic again.
   * @default true
   */
  readonly verify?: boolean;
  readonly onProgress?: OnDataProgress;
  readonly abortSignal?: AbortSignal;
}

export interface UploadResult {
  readonly prefix: string;
  readonly dataset: string;
  readonly version: number;
  readonly manifestDigest: string;
  /** Objects sent by this call; the others were there. */
  readonly sent: readonly string[];
  readonly bytesSent: number;
}

/**
 * Puts a version of a dataset into the store and freezes it: objects, leaves and keys first, the manifest last, so nobody
 * finds half a dataset. Run again after any interruption it sends what is missing.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` when folder or store do not hold what the manifest says,
 * `CONFIG_INVALID` when the version exists with other content
 */
export async function uploadDataset(options: UploadOptions): Promise<UploadResult> {
  const { folder, store } = options;
  const local = await readSealedFolder(folder, options.ownerKey);
  if (local === undefined) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `${join(folder, MANIFEST_FILE)} is missing: run 'ctrain encrypt-data' first`,
    );
  }
  const { manifest, digest } = local;
  const prefix = options.prefix ?? datasetPrefix(manifest);
  const isPublished = await checkPublished(store, prefix, local, options.ownerKey);
  for (const object of manifest.objects) await checkLocalObject(folder, object);
  await freeze(folder, manifest.version);

  const total = manifest.objects.reduce((sum, { ciphertextSize }) => sum + ciphertextSize, 0);
  const sent: string[] = [];
  let done = 0;
  let bytesSent = 0;
  for (const object of manifest.objects) {
    const show = (bytes: number) =>
      options.onProgress?.({ step: 'upload', name: object.name, done: done + bytes, total, unit: 'bytes' });
    if (await sendObject(options, prefix, object, show)) {
      sent.push(object.name);
      bytesSent += object.ciphertextSize;
    }
    if (options.verify !== false) await checkRemoteObject(store, prefix, object, options.abortSignal);
    done += object.ciphertextSize;
    show(0);
  }
  if (!isPublished) await publish(store, prefix, local);
  return { prefix, dataset: manifest.dataset, version: manifest.version, manifestDigest: digest, sent, bytesSent };
}

/** One more than the highest version of a dataset of which the store has anything: for sealing into a folder that knows of none. */
export async function nextFreeVersion(store: BlobStore, ownerId: string, dataset: string): Promise<number> {
  const prefix = `${ownerId}/${dataset}/`;
  let highest = 0;
  for await (const { name } of store.list(prefix)) {
    const version = Number(name.slice(prefix.length).split('/', 1)[0]);
    if (Number.isSafeInteger(version)) highest = Math.max(highest, version);
  }
  return highest + 1;
}

/** Whether this very manifest is in the store. Signatures differ each time it is signed; what it says must not. */
async function checkPublished(
  store: BlobStore,
  prefix: string,
  { manifest, digest }: SealedFolder,
  ownerKey: EcPublicJwk,
): Promise<boolean> {
  const published = await store.get(`${prefix}/${MANIFEST_FILE}`);
  if (published === undefined) return false;
  const found = verifyManifest(published.bytes, ownerKey, `${prefix}/${MANIFEST_FILE}`);
  if (found.digest === digest) return true;
  throw versionTaken(manifest.dataset, manifest.version);
}

async function freeze(folder: string, version: number): Promise<void> {
  const state = await readFolderState(folder);
  if (state === undefined || state.frozenVersion >= version) return;
  await writeFolderState(folder, { ...state, frozenVersion: version });
}

/** Returns whether it had to be sent. */
async function sendObject(
  options: UploadOptions,
  prefix: string,
  object: ManifestObject,
  show: (bytes: number) => void,
): Promise<boolean> {
  const { folder, store, abortSignal } = options;
  const blob = `${prefix}/${object.name}`;
  const path = join(folder, object.name);
  const there = await store.properties(blob);
  const isThere = there?.size === object.ciphertextSize && there.metadata[ROOT_METADATA] === object.merkleRoot;
  if (!isThere) {
    const data = await readFile(join(folder, encryptionDataName(object.name)), 'utf8');
    parseEncryptionData(data, encryptionDataName(object.name));
    const etag = await store.putFile(blob, path, {
      metadata: { [ENCRYPTION_DATA]: data, [ROOT_METADATA]: object.merkleRoot },
      ...overwriting(there),
      onProgress: show,
      ...(abortSignal === undefined ? {} : { abortSignal }),
    });
    if (etag === undefined) throw changedMeanwhile(blob);
  }
  const leaves = await readFile(join(folder, leavesName(object.name)));
  const leavesBlob = `${prefix}/${leavesName(object.name)}`;
  if (!isThere || (await store.properties(leavesBlob))?.size !== leaves.length) await store.put(leavesBlob, leaves);
  return !isThere;
}

async function publish(
  store: BlobStore,
  prefix: string,
  { manifest, manifestBytes, slotBytes }: SealedFolder,
): Promise<void> {
  await store.put(`${prefix}/${KEYS_FILE}`, slotBytes);
  const etag = await store.put(`${prefix}/${MANIFEST_FILE}`, manifestBytes, { ifNoneMatch: '*' });
  if (etag === undefined) throw versionTaken(manifest.dataset, manifest.version);
}

/** What an interrupted upload left may be replaced, but only that very blob: another upload may be at work. */
function overwriting(there: BlobProperties | undefined): { ifMatch: string } | { ifNoneMatch: '*' } {
  return there === undefined ? { ifNoneMatch: '*' } : { ifMatch: there.etag };
}

async function checkLocalObject(folder: string, object: ManifestObject): Promise<void> {
  const path = join(folder, object.name);
  const leaves = await readOptional(join(folder, leavesName(object.name)));
  const size = (await stat(path).catch(() => undefined))?.size;
  if (leaves === undefined || size === undefined) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `${path} or its leaf hashes are missing: run 'ctrain encrypt-data' again`,
    );
  }
  try {
    await checkRegions(createReadStream(path, { highWaterMark: 1_048_576 }), leaves, object);
  } catch (cause) {
    if (!(cause instanceof SecureTrainingError)) throw cause;
    throw new SecureTrainingError(cause.code, `${cause.message} (in ${folder}: run 'ctrain encrypt-data' again)`, {
      cause,
    });
  }
}

/**
 * Reads an object back from the store and checks it against leaves and signed root; no key is needed.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED`, `UNAVAILABLE` when it is not there or changes meanwhile
 */
export async function checkRemoteObject(
  store: BlobStore,
  prefix: string,
  object: ManifestObject,
  abortSignal?: AbortSignal,
): Promise<void> {
  const blob = `${prefix}/${object.name}`;
  const signal = abortSignal === undefined ? {} : { abortSignal };
  const properties = await store.properties(blob, signal);
  const leaves = await store.get(`${prefix}/${leavesName(object.name)}`, signal);
  if (properties === undefined || leaves === undefined) throw changedMeanwhile(blob);
  async function* regions(): AsyncGenerator<Uint8Array> {
    for (let index = 0; index < object.regionCount; index++) {
      const { offset, length } = sealedRange(object, index);
      const region = await store.getRange(blob, offset, length, properties?.etag, signal);
      if (region === undefined) throw changedMeanwhile(blob);
      yield region;
    }
  }
  await checkRegions(regions(), leaves.bytes, object);
}

/**
 * Checks sealed bytes, cut as they come, against leaves and signed root; no key is needed.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED`
 */
export async function checkRegions(
  source: AsyncIterable<Uint8Array>,
  leaves: Uint8Array,
  object: ManifestObject,
): Promise<void> {
  checkLeaves(leaves, { name: object.name, merkleRoot: fromHex(object.merkleRoot), shape: object });
  let index = 0;
  for await (const region of exactly(
    source,
    object.regionLength + NONCE_LENGTH + TAG_LENGTH,
    object.ciphertextSize,
    object.name,
  )) {
    checkLeaf(leaves, index++, region, object.name);
  }
}

function versionTaken(dataset: string, version: number): SecureTrainingError {
  return new SecureTrainingError(
    'CONFIG_INVALID',
    `version ${version} of dataset ${dataset} is in the store with other content: seal again with --dataset-version ${version + 1}`,
  );
}

function changedMeanwhile(blob: string): SecureTrainingError {
  return new SecureTrainingError(
    'UNAVAILABLE',
    `${blob} was changed while it was uploaded: is another upload running? try again`,
  );
}
