import { join } from 'node:path';
import type { EcPublicJwk } from '../crypto/jwk.ts';
import { SecureTrainingError } from '../errors.ts';
import { type Manifest, type ManifestObject, verifyManifest } from '../statements/manifest.ts';
import { openAtomic, writeFileAtomic } from './atomic-file.ts';
import { type DatasetSource, folderSource } from './dataset-source.ts';
import { leavesName } from './open-shard.ts';
import type { OnDataProgress } from './progress.ts';
import { encryptionDataName, KEYS_FILE, MANIFEST_FILE, readOptional } from './sealed-folder.ts';
import { checkRegions } from './upload-dataset.ts';

export interface DownloadOptions {
  readonly source: DatasetSource;
  readonly folder: string;
  /** Who must have signed the manifest. */
  readonly ownerKey: EcPublicJwk;
  readonly onProgress?: OnDataProgress;
}

export interface DownloadResult {
  readonly manifest: Manifest;
  readonly manifestDigest: string;
  /** Objects fetched by this call; the others were there. */
  readonly fetched: readonly string[];
}

/**
 * Brings a sealed version of a dataset into a folder, as `encrypt-data` would have left it. Every object is checked against
 * the signed root on its way and takes its name only once it is whole; the manifest comes last. Run again it fetches what
 * is missing.
 * @throws {@link SecureTrainingError} `CONSENT_MISSING` unless the owner signed it, `CIPHERTEXT_REJECTED` naming the object,
 * `CONFIG_INVALID` for a folder that holds something else
 */
export async function downloadDataset(options: DownloadOptions): Promise<DownloadResult> {
  const { source, folder, ownerKey } = options;
  const manifestBytes = await required(source.read(MANIFEST_FILE), MANIFEST_FILE);
  const { manifest, digest } = verifyManifest(manifestBytes, ownerKey, MANIFEST_FILE);
  await refuseOther(folder, ownerKey, digest);
  const total = manifest.objects.reduce((sum, { ciphertextSize }) => sum + ciphertextSize, 0);
  const fetched: string[] = [];
  let done = 0;
  for (const object of manifest.objects) {
    const show = (bytes: number) =>
      options.onProgress?.({ step: 'download', name: object.name, done: done + bytes, total, unit: 'bytes' });
    if (!(await isThere(folder, object))) {
      await fetchObject(options, object, show);
      fetched.push(object.name);
    }
    const data = await required(source.encryptionData(object.name), `encryptiondata of ${object.name}`);
    await writeFileAtomic(join(folder, encryptionDataName(object.name)), data);
    done += object.ciphertextSize;
    show(0);
  }
  await writeFileAtomic(join(folder, KEYS_FILE), await required(source.read(KEYS_FILE), KEYS_FILE));
  await writeFileAtomic(join(folder, MANIFEST_FILE), manifestBytes);
  return { manifest, manifestDigest: digest, fetched };
}

async function fetchObject(
  { source, folder }: DownloadOptions,
  object: ManifestObject,
  show: (bytes: number) => void,
): Promise<void> {
  const leaves = await required(source.read(leavesName(object.name)), leavesName(object.name));
  const file = await openAtomic(join(folder, object.name));
  try {
    let written = 0;
    async function* kept(): AsyncGenerator<Uint8Array> {
      for await (const chunk of source.chunks(object.name, object.ciphertextSize)) {
        await file.write(chunk);
        written += chunk.length;
        show(written);
        yield chunk;
      }
    }
    await checkRegions(kept(), leaves, object);
    await writeFileAtomic(join(folder, leavesName(object.name)), leaves);
    await file.commit();
  } finally {
    await file.discard();
  }
}

/** Whether the folder has the object already, whole and genuine. */
async function isThere(folder: string, object: ManifestObject): Promise<boolean> {
  const leaves = await readOptional(join(folder, leavesName(object.name)));
  if (leaves === undefined) return false;
  try {
    await checkRegions(folderSource(folder).chunks(object.name, object.ciphertextSize), leaves, object);
    return true;
  } catch (error) {
    // Missing, cut or of another version: fetched again.
    if (error instanceof SecureTrainingError || (error as { code?: unknown }).code === 'ENOENT') return false;
    throw error;
  }
}

async function refuseOther(folder: string, ownerKey: EcPublicJwk, digest: string): Promise<void> {
  const bytes = await readOptional(join(folder, MANIFEST_FILE));
  if (bytes === undefined) return;
  const found = verifyManifest(bytes, ownerKey, join(folder, MANIFEST_FILE));
  if (found.digest === digest) return;
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    `${folder} holds ${found.manifest.dataset} version ${found.manifest.version}: download into another folder`,
  );
}

async function required<T>(reading: Promise<T | undefined>, name: string): Promise<T> {
  const found = await reading;
  if (found !== undefined) return found;
  throw new SecureTrainingError('CONFIG_INVALID', `there is no ${name}`);
}
