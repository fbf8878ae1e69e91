import { equalBytes } from '../crypto/bytes.ts';
import { ecPublicJwk, thumbprint } from '../crypto/jwk.ts';
import { SecureTrainingError } from '../errors.ts';
import { parseKeySlots, serialiseKeySlots } from '../keys/slots.ts';
import { serialiseEnvelope } from '../statements/dsse.ts';
import { type Manifest, signManifest, verifyManifest } from '../statements/manifest.ts';
import type { PlannedDataset, ReencryptedObject } from '../statements/reencryption.ts';
import type { BlobStore } from './blob-store.ts';
import { leavesName } from './open-shard.ts';
import type { OnDataProgress } from './progress.ts';
import { isFreshName, type OldVersion, type ReencryptionKeys, reencryptObject } from './reencrypt-object.ts';
import { datasetPrefix, KEYS_FILE, MANIFEST_FILE, REENCRYPTION_FOLDER } from './sealed-folder.ts';

export interface ReencryptOptions extends ReencryptionKeys {
  readonly plan: PlannedDataset;
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
  const source = await readSource(options);
  const { ownerId, dataset } = source.manifest;
  const prefix = datasetPrefix({ ownerId, dataset, version: plan.version });
  const published = async () => {
    const found = await store.get(`${prefix}/${MANIFEST_FILE}`);
    if (found === undefined) return undefined;
    const { manifest, digest } = verifyManifest(found.bytes, ecPublicJwk(ownerKey), `${prefix}/${MANIFEST_FILE}`);
    requireSame(source.manifest, manifest);
    return { prefix, manifest, manifestDigest: digest };
  };
  let sealed = 0;
  if ((await published()) === undefined) {
    try {
      const records = await reencryptObjects(options, source, prefix, () => sealed++);
      const keysThere = await store.properties(`${prefix}/${KEYS_FILE}`);
      // Asked again after that: while there is no manifest, nobody can have rotated what is in keys.json.
      if ((await published()) === undefined && (await writeKeys(store, prefix, records, keysThere?.etag))) {
        const objects = records.map(({ object }) => object);
        const envelope = signManifest({ ...source.manifest, version: plan.version, objects }, ownerKey);
        await store.put(`${prefix}/${MANIFEST_FILE}`, serialiseEnvelope(envelope), { ifNoneMatch: '*' });
      }
    } catch (error) {
      // One beside this that has ended removes what this one was working on.
      if ((await published()) === undefined) throw error;
    }
  }
  // Of this call, of an earlier one that was killed after signing, or of one beside this.
  const made = await published();
  if (made === undefined) throw contended(`${prefix}/${MANIFEST_FILE}`);
  await removeLeftovers(store, prefix, made.manifest);
  return { ...made, sealed };
}

async function reencryptObjects(
  options: ReencryptOptions,
  source: OldVersion,
  prefix: string,
  onSealed: () => void,
): Promise<ReencryptedObject[]> {
  const { dataset, objects } = source.manifest;
  const total = objects.reduce((sum, { ciphertextSize }) => sum + ciphertextSize, 0);
  const records: ReencryptedObject[] = [];
  let done = 0;
  for (const object of objects) {
    options.abortSignal?.throwIfAborted();
    const { record, isNew } = await reencryptObject(options, source, prefix, object);
    records.push(record);
    if (isNew) onSealed();
    done += object.ciphertextSize;
    options.onProgress?.({ step: 'rotate', name: `${dataset}/${object.name}`, done, total, unit: 'bytes' });
  }
  return records;
}

async function readSource({ store, plan, ownerKey }: ReencryptOptions): Promise<OldVersion> {
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

/** Over what a killed call left, which may name objects that were sealed once more since. `false` when another wrote something else meanwhile. */
async function writeKeys(
  store: BlobStore,
  prefix: string,
  records: readonly ReencryptedObject[],
  etag: string | undefined,
): Promise<boolean> {
  const objects = Object.fromEntries(records.map((record) => [record.object.name, record.slots]));
  const condition = etag === undefined ? { ifNoneMatch: '*' as const } : { ifMatch: etag };
  const bytes = serialiseKeySlots({ version: 1, objects });
  if ((await store.put(`${prefix}/${KEYS_FILE}`, bytes, condition)) !== undefined) return true;
  // One beside this has the same records to go by.
  const there = await store.get(`${prefix}/${KEYS_FILE}`);
  return there !== undefined && equalBytes(there.bytes, bytes);
}

/** What killed and overtaken attempts left, and the records. */
async function removeLeftovers(store: BlobStore, prefix: string, { objects }: Manifest): Promise<void> {
  const kept = new Set(
    [MANIFEST_FILE, KEYS_FILE, ...objects.flatMap(({ name }) => [name, leavesName(name)])].map(
      (name) => `${prefix}/${name}`,
    ),
  );
  const isOurs = (name: string) =>
    name.startsWith(`${prefix}/${REENCRYPTION_FOLDER}/`) || isFreshName(name.replace(/\.leaves$/, ''));
  const leftovers: string[] = [];
  for await (const { name } of store.list(`${prefix}/`)) if (!kept.has(name) && isOurs(name)) leftovers.push(name);
  for (const name of leftovers) await store.delete(name);
}

/** A version that something else was put under is not what this makes. */
function requireSame(old: Manifest, found: Manifest): void {
  const outline = ({ objects }: Manifest) =>
    JSON.stringify(objects.map(({ split, rows, plaintextSize }) => [split, rows, plaintextSize]));
  if (outline(old) === outline(found) && found.objects.every(({ name }) => isFreshName(name))) return;
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    `version ${found.version} of dataset ${found.dataset} is something else: it was put there while version ${old.version} was sealed anew`,
  );
}

function contended(what: string): SecureTrainingError {
  return new SecureTrainingError(
    'UNAVAILABLE',
    `${what} was changed meanwhile: is another rotation running? try again`,
  );
}
