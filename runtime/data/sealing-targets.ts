import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, parse } from 'node:path';
import { sha256, toHex } from '../crypto/bytes.ts';
import { SecureTrainingError } from '../errors.ts';
import { type ManifestObject, SPLITS, type Split } from '../statements/manifest.ts';
import { DATASET_FILE, type DatasetDescription, describeFile, readDatasetFile } from './dataset-file.ts';

/** Where sealed objects go unless a path is given. */
export const DEFAULT_SEALED_FOLDER = 'encrypted';
const SEALED_EXTENSION = '.enc';
/** One prepared file and the sealed object (or the stem of several) that it becomes. */
export interface SealingTarget {
  readonly path: string;
  readonly split: Split;
  readonly objectName: string;
}

export interface SealingPlan {
  readonly folder: string;
  readonly description: DatasetDescription;
  /** Hex SHA-256 of the `dataset.json`. */
  readonly preparation: string;
  readonly targets: readonly SealingTarget[];
}

/**
 * Works out which prepared files become which sealed objects where.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when there is nothing prepared at `inputPath`
 */
export async function planSealing(inputPath: string, outputPath: string | undefined): Promise<SealingPlan> {
  const found = await stat(inputPath).catch(() => undefined);
  if (found === undefined) throw new SecureTrainingError('CONFIG_INVALID', `no file or folder at ${inputPath}`);
  if (found.isDirectory()) {
    const folder = outputPath ?? DEFAULT_SEALED_FOLDER;
    if (folder.endsWith(SEALED_EXTENSION)) {
      throw new SecureTrainingError(
        'CONFIG_INVALID',
        `${inputPath} is a folder, so is its output: found the file name ${folder}`,
      );
    }
    const description = await readDatasetFile(inputPath);
    const targets = SPLITS.map((split) => ({
      path: join(inputPath, description.splits[split].file),
      split,
      objectName: `${split}${SEALED_EXTENSION}`,
    }));
    return { folder, description, preparation: await preparationOf(inputPath), targets };
  }
  const { description, split } = await describeFile(inputPath);
  const defaultName = `${parse(inputPath).name}${SEALED_EXTENSION}`;
  const isFolder =
    outputPath !== undefined &&
    (/[/\\]$/.test(outputPath) || (await stat(outputPath).catch(() => undefined))?.isDirectory() === true);
  const path =
    outputPath === undefined
      ? join(DEFAULT_SEALED_FOLDER, defaultName)
      : isFolder
        ? join(outputPath, defaultName)
        : outputPath;
  return {
    folder: dirname(path),
    description,
    preparation: await preparationOf(dirname(inputPath)),
    targets: [{ path: inputPath, split, objectName: basename(path) }],
  };
}

async function preparationOf(folder: string): Promise<string> {
  return toHex(sha256(await readFile(join(folder, DATASET_FILE))));
}

/** `train.enc` becomes `train-00007.enc`. */
export function shardName(objectName: string, index: number): string {
  const { name, ext } = parse(objectName);
  return `${name}-${String(index).padStart(5, '0')}${ext}`;
}

/** Removes what earlier sealings left: more shards than now, or objects that this version no longer has. */
export async function removeStale(
  folder: string,
  targets: readonly SealingTarget[],
  before: readonly ManifestObject[],
  now: readonly ManifestObject[],
): Promise<void> {
  const current = new Set(now.map(({ name }) => name));
  const ours = new Set(before.map(({ name }) => name));
  for (const entry of await readdir(folder)) {
    const object = entry.replace(/\.(?:leaves|encryptiondata\.json)$/, '');
    const isShard = targets.some(
      ({ objectName }) => object === objectName || object.replace(/-\d{5}(?=\.[^.]*$|$)/, '') === objectName,
    );
    if ((isShard || ours.has(object)) && !current.has(object)) await rm(join(folder, entry), { force: true });
  }
}
