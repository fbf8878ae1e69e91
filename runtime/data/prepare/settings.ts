import { readdir, stat } from 'node:fs/promises';
import { basename, extname, join, resolve } from 'node:path';
import { SecureTrainingError } from '../../errors.ts';
import { nearest } from '../../nearest.ts';
import { SPLITS } from '../../statements/manifest.ts';
import { checkDatasetName, datasetNameFrom } from '../dataset-file.ts';
import { BAD_ROW_POLICIES, DEFAULT_CEILING } from './bad-rows.ts';
import { areValues, checkClasses } from './labels.ts';
import { NORMALISATIONS } from './normalise.ts';
import {
  CODINGS,
  DATA_TYPES,
  type DataType,
  DEFAULT_SEED,
  EXTENSIONS,
  IMAGE_COLOURS,
  isTableType,
  OUTPUT_FORMATS,
  type PrepareOptions,
  type PrepareSettings,
} from './options.ts';
import { checkShares, DEFAULT_SHARES } from './split.ts';
import { splitFile } from './split-files.ts';

const IDX = /-idx[13]-ubyte(?:\.gz)?$/;
/** Pixels a side: more is a mistake, or no model would take it. */
const LARGEST_SIDE = 4096;

/** Flags that mean nothing for other data; each with the member it sets. */
const FOR_TABLES = {
  label: 'label',
  features: 'features',
  drop: 'drop',
  group: 'group',
  categorical: 'categorical',
  coding: 'coding',
  ranges: 'range',
  missing: 'missing',
} as const;
const FOR_IMAGES = { imageSize: 'image-size', imageColours: 'image-colours' } as const;
const FOR_NPY = { labelsPath: 'labels-path' } as const;

/**
 * Checks the options against what is on the disk, before anything is written.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`
 */
export async function settle(options: PrepareOptions): Promise<PrepareSettings> {
  const { inputPath } = options;
  requireOneOf('data type', options.dataType, DATA_TYPES);
  requireOneOf('output format', options.outputFormat, OUTPUT_FORMATS);
  requireOneOf('normalisation', options.normalisation, NORMALISATIONS);
  requireOneOf('coding', options.coding, CODINGS);
  requireOneOf('image colours', options.imageColours, IMAGE_COLOURS);
  requireOneOf('bad-row policy', options.onBadRow, BAD_ROW_POLICIES);
  const found = await stat(inputPath).catch(() => undefined);
  if (found === undefined) throw invalid(`no file or folder at ${inputPath}`);
  const dataType = options.dataType ?? (await guessDataType(inputPath, found.isDirectory()));
  checkKind(inputPath, dataType, found.isDirectory());
  if (!found.isDirectory() && found.size === 0) throw invalid(`${inputPath}: it is empty`);
  checkFlags(options, dataType);
  const isText = dataType === 'csv' || dataType === 'tsv' || areValues(options.classes);
  const outputFormat = options.outputFormat ?? (isText ? 'csv' : 'arrow');
  const seed = options.seed ?? DEFAULT_SEED;
  if (!Number.isSafeInteger(seed) || seed < 0) throw invalid('seed: wanted a whole number from 0');
  for (const split of SPLITS) {
    const output = join(options.outputDir, splitFile(split, outputFormat));
    if (resolve(output) === resolve(inputPath))
      throw invalid(`${output} is both input and output: name another output folder`);
  }
  return {
    inputPath,
    outputDir: options.outputDir,
    dataType,
    outputFormat,
    name: options.name === undefined ? datasetNameFrom(resolve(inputPath)) : checkDatasetName(options.name),
    label: options.label,
    classes: options.classes === undefined ? undefined : checkClasses(options.classes),
    features: options.features,
    drop: options.drop ?? [],
    group: options.group,
    categorical: options.categorical ?? [],
    coding: options.coding ?? 'one-hot',
    ranges: options.ranges ?? {},
    missing: options.missing ?? { kind: 'fail' },
    labelsPath: options.labelsPath,
    imageSize: options.imageSize,
    imageColours: options.imageColours,
    split: checkShares(options.split ?? DEFAULT_SHARES),
    stratify: options.stratify ?? false,
    seed,
    normalisation: options.normalisation ?? 'auto',
    onBadRow: options.onBadRow ?? 'fail',
    maxRejected: options.maxRejected ?? DEFAULT_CEILING,
    onProgress: options.onProgress ?? (() => undefined),
    abortSignal: options.abortSignal,
  };
}

/**
 * Reads `28x28`.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`
 */
export function parseImageSize(text: string): { width: number; height: number } {
  const [, width, height] = (/^(\d{1,5})x(\d{1,5})$/.exec(text) ?? []).map(Number);
  if (width !== undefined && height !== undefined && width > 0 && height > 0 && Math.max(width, height) <= LARGEST_SIDE)
    return { width, height };
  throw invalid(`image size: found '${text}', wanted WIDTHxHEIGHT in pixels, each from 1 to ${LARGEST_SIDE}`);
}

async function guessDataType(inputPath: string, isFolder: boolean): Promise<DataType> {
  if (isFolder) {
    const entries = await readdir(inputPath, { withFileTypes: true });
    const isImages = entries.some((entry) => entry.isDirectory()) && !entries.some(({ name }) => IDX.test(name));
    return isImages ? 'images' : 'idx';
  }
  const known = IDX.test(basename(inputPath)) ? 'idx' : EXTENSIONS[extname(inputPath).toLowerCase()];
  if (known !== undefined) return known;
  throw invalid(`${inputPath}: its name does not say what it holds, wanted --data-type ${DATA_TYPES.join(', ')}`);
}

function checkKind(inputPath: string, dataType: DataType, isFolder: boolean): void {
  if (dataType === 'idx' && !isFolder)
    throw invalid(`${inputPath} is a file, wanted the folder of NAME-images-idx3-ubyte and NAME-labels-idx1-ubyte`);
  if (dataType === 'images' && !isFolder)
    throw invalid(`${inputPath} is a file, wanted a folder with one folder of images for each class`);
  if (isFolder && dataType !== 'idx' && dataType !== 'images')
    throw invalid(`${inputPath} is a folder, wanted a ${dataType} file`);
}

/** A flag that is given and would do nothing is a misunderstanding. */
function checkFlags(options: PrepareOptions, dataType: DataType): void {
  const groups = [
    ['tables', FOR_TABLES, isTableType(dataType)],
    ['images', FOR_IMAGES, dataType === 'images'],
    ['npy', FOR_NPY, dataType === 'npy'],
  ] as const;
  for (const [what, flags, applies] of groups) {
    const given = Object.entries(flags).find(([member]) => options[member as keyof PrepareOptions] !== undefined);
    if (!applies && given !== undefined) throw invalid(`--${given[1]} is for ${what}, the data is ${dataType}`);
  }
  if (areValues(options.classes)) {
    if (!isTableType(dataType)) throw invalid(`labels that are values stand in tables, the data is ${dataType}`);
    if (options.stratify === true) throw invalid('found --stratify, which is by class: labels are values');
    if (options.outputFormat === 'arrow')
      throw invalid('labels that are values stand in csv or parquet files: found output format arrow');
  }
  if (options.group !== undefined && options.stratify === true)
    throw invalid('found both --group and --stratify: a group goes to one split whatever its classes are');
}

function requireOneOf(what: string, found: string | undefined, known: readonly string[]): void {
  if (found === undefined || known.includes(found)) return;
  throw invalid(`unknown ${what} '${found}', did you mean ${nearest(found, known)}? known are ${known.join(', ')}`);
}

function invalid(message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', message);
}
