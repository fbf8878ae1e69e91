import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { EcPublicJwk } from '../crypto/jwk.ts';
import { SecureTrainingError } from '../errors.ts';
import { type KeySlots, parseKeySlots } from '../keys/slots.ts';
import { checkShape, hexSha256, integer, members, oneOf, parseJson } from '../shape.ts';
import { type Manifest, verifyManifest } from '../statements/manifest.ts';
import { writeFileAtomic } from './atomic-file.ts';

/** Names in a folder of sealed objects, the same on a disk and in the store. */
export const MANIFEST_FILE = 'manifest.dsse.json';
export const KEYS_FILE = 'keys.json';
/** Only in the store, while a version is made by re-encryption: one signed record of each object that is done. */
export const REENCRYPTION_FOLDER = 'reencrypt';
/** Only on the owner's disk: what sealing and uploading must remember of this folder. */
const STATE_FILE = 'ctrain-state.json';

export interface FolderState {
  readonly version: 1;
  /** Hex SHA-256 of the `dataset.json` that the objects were made with: splits of two preparations may share rows. */
  readonly preparation: string;
  /**
   * The last version that was, or may have been, given away: it does not change any more.
   * 0: none.
   */
  readonly frozenVersion: number;
}

export interface SealedFolder {
  readonly manifest: Manifest;
  readonly digest: string;
  readonly manifestBytes: Uint8Array;
  readonly slots: KeySlots;
  readonly slotBytes: Uint8Array;
}

export function encryptionDataName(objectName: string): string {
  return `${objectName}.encryptiondata.json`;
}

/** Folder of a dataset's version in container `datasets`. */
export function datasetPrefix({
  ownerId,
  dataset,
  version,
}: Pick<Manifest, 'ownerId' | 'dataset' | 'version'>): string {
  return `${ownerId}/${dataset}/${version}`;
}

/** Manifest and key slots of a folder, or `undefined` where no manifest has been written yet. */
export async function readSealedFolder(folder: string, ownerKey: EcPublicJwk): Promise<SealedFolder | undefined> {
  const manifestBytes = await readOptional(join(folder, MANIFEST_FILE));
  if (manifestBytes === undefined) return undefined;
  const slotBytes = await readOptional(join(folder, KEYS_FILE));
  if (slotBytes === undefined) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `${join(folder, KEYS_FILE)} is missing: run 'ctrain encrypt-data' again`,
    );
  }
  return { ...verifyManifest(manifestBytes, ownerKey), manifestBytes, slots: parseKeySlots(slotBytes), slotBytes };
}

const stateShape = members<FolderState>({ version: oneOf(1), preparation: hexSha256, frozenVersion: integer(0) });

export async function readFolderState(folder: string): Promise<FolderState | undefined> {
  const path = join(folder, STATE_FILE);
  const bytes = await readOptional(path);
  if (bytes === undefined) return undefined;
  try {
    return checkShape(stateShape, parseJson(bytes, path), path);
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', `${path} was altered: seal into another folder`, { cause });
  }
}

export async function writeFolderState(folder: string, state: FolderState): Promise<void> {
  await writeFileAtomic(join(folder, STATE_FILE), `${JSON.stringify(state)}\n`);
}

export async function readOptional(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
