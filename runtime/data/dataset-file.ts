import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SecureTrainingError } from '../errors.ts';
import { type Check, checkShape, fileName, integer, jsonObject, members, oneOf, parseJson, text } from '../shape.ts';
import { type DatasetSchema, datasetSchemaShape, SPLITS, type Split } from '../statements/manifest.ts';
import { writeFileAtomic } from './atomic-file.ts';

/** Name of the description that `prepare-data` leaves beside the files it wrote. */
export const DATASET_FILE = 'dataset.json';

/** A dataset's name is part of blob names and of the owner's command lines. */
const DATASET_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const DATASET_NAME_RULE = '1 to 63 lower-case letters, digits and inner hyphens';

interface PreparedSplit {
  /** File name in the folder of `dataset.json`. */
  readonly file: string;
  readonly rows: number;
}

/** What `prepare-data` found and decided: what every row means, and where the rows are. */
export interface DatasetDescription {
  readonly version: 1;
  readonly name: string;
  /** Seed of the split, for making it again. */
  readonly seed: number;
  readonly schema: DatasetSchema;
  /** What was done to the rows on the way, for people; nothing reads it. Older files have none. */
  readonly preparation?: Readonly<Record<string, unknown>> | undefined;
  readonly splits: Readonly<Record<Split, PreparedSplit>>;
}

const splitShape = members<PreparedSplit>({ file: fileName, rows: integer(1) });

const preparation: Check<DatasetDescription['preparation']> = (value, path, failures) =>
  value === undefined ? undefined : jsonObject(value, path, failures);

const descriptionShape = members<DatasetDescription>({
  version: oneOf(1),
  name: text(DATASET_NAME, DATASET_NAME_RULE),
  seed: integer(0),
  schema: datasetSchemaShape,
  preparation,
  splits: members<DatasetDescription['splits']>({ train: splitShape, validation: splitShape, test: splitShape }),
});

export async function writeDatasetFile(
  folder: string,
  description: DatasetDescription,
  name = DATASET_FILE,
): Promise<void> {
  await writeFileAtomic(join(folder, name), `${JSON.stringify(description, null, 2)}\n`);
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` for what no manifest could hold, such as a column name with a line break */
export function checkDescription(description: DatasetDescription): DatasetDescription {
  return checkShape(descriptionShape, description, DATASET_FILE, 'CONFIG_INVALID');
}

/**
 * Reads the `dataset.json` of a folder.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when there is none or it is not one that `prepare-data` wrote
 */
export async function readDatasetFile(folder: string, name = DATASET_FILE): Promise<DatasetDescription> {
  const path = join(folder, name);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', `${path} is missing: run 'ctrain prepare-data' first`, { cause });
  }
  try {
    return checkShape(descriptionShape, parseJson(bytes, path), path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : path;
    throw new SecureTrainingError('CONFIG_INVALID', `${reason}; run 'ctrain prepare-data' again`, { cause });
  }
}

/** The description and split that a prepared file belongs to. */
export async function describeFile(path: string): Promise<{ description: DatasetDescription; split: Split }> {
  const description = await readDatasetFile(dirname(path));
  const split = SPLITS.find((name) => description.splits[name].file === basename(path));
  if (split === undefined) {
    const known = SPLITS.map((name) => description.splits[name].file).join(', ');
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `${path} is none of the files in its ${DATASET_FILE}: wanted ${known}`,
    );
  }
  return { description, split };
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` unless `name` is lower-case letters, digits and inner hyphens */
export function checkDatasetName(name: string): string {
  if (DATASET_NAME.test(name)) return name;
  throw new SecureTrainingError('CONFIG_INVALID', `dataset name '${name}': wanted ${DATASET_NAME_RULE}`);
}

/** A dataset name made of a file or folder name. */
export function datasetNameFrom(path: string): string {
  const stem = basename(path).replace(/\.[^.]*$/, '');
  const name = stem
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 63)
    .replace(/^-+|-+$/g, '');
  return name === '' ? 'dataset' : name;
}
