import { stat } from 'node:fs/promises';
import { basename, extname, join, resolve } from 'node:path';
import { SecureTrainingError } from '../../errors.ts';
import { nearest } from '../../nearest.ts';
import { SPLITS } from '../../statements/manifest.ts';
import { checkDatasetName, datasetNameFrom } from '../dataset-file.ts';
import type { OnDataProgress } from '../progress.ts';
import { areValues, type Classes, checkClasses } from './labels.ts';
import { NORMALISATIONS, type NormalisationKind } from './normalise.ts';
import { checkShares, DEFAULT_SHARES, type Shares } from './split.ts';
import { OUTPUT_FORMATS, type OutputFormat, splitFile } from './split-files.ts';

const DATA_TYPES = ['csv', 'idx'] as const;
export type DataType = (typeof DATA_TYPES)[number];

/** Seed of the split unless another is given. */
export const DEFAULT_SEED = 42;

export interface PrepareOptions {
  /** A CSV file with a header, or a folder of IDX files. */
  readonly inputPath: string;
  readonly outputDir: string;
  /** @default - `csv` for a file that ends in .csv, .tsv or .txt, `idx` for a folder */
  readonly dataType?: DataType;
  /** @default - `csv` for csv, `arrow` for idx: several times as fast to write and to seal */
  readonly outputFormat?: OutputFormat;
  /** @default - made of the input's name */
  readonly name?: string;
  /** @default - the column called label, target, y or class */
  readonly label?: string;
  /** @default - those that occur */
  readonly classes?: Classes;
  /** @default DEFAULT_SHARES */
  readonly split?: Shares;
  /** @default DEFAULT_SEED */
  readonly seed?: number;
  /** @default 'auto' */
  readonly normalisation?: NormalisationKind;
  readonly onProgress?: OnDataProgress;
  readonly abortSignal?: AbortSignal;
}

/** {@link PrepareOptions} with every default filled in. */
export interface PrepareSettings {
  readonly inputPath: string;
  readonly outputDir: string;
  readonly dataType: DataType;
  readonly outputFormat: OutputFormat;
  readonly name: string;
  readonly label: string | undefined;
  readonly classes: Classes | undefined;
  readonly split: Shares;
  readonly seed: number;
  readonly normalisation: NormalisationKind;
  readonly onProgress: OnDataProgress;
  readonly abortSignal: AbortSignal | undefined;
}

/**
 * Checks the options against what is on the disk, before anything is written.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`
 */
export async function settle(options: PrepareOptions): Promise<PrepareSettings> {
  const { inputPath } = options;
  if (options.dataType !== undefined) requireOneOf('data type', options.dataType, DATA_TYPES);
  if (options.outputFormat !== undefined) requireOneOf('output format', options.outputFormat, OUTPUT_FORMATS);
  if (options.normalisation !== undefined) requireOneOf('normalisation', options.normalisation, NORMALISATIONS);
  const found = await stat(inputPath).catch(() => undefined);
  if (found === undefined) throw invalid(`no file or folder at ${inputPath}`);
  const dataType = options.dataType ?? guessDataType(inputPath, found.isDirectory());
  if (dataType === 'csv' && found.isDirectory()) throw invalid(`${inputPath} is a folder, wanted a csv file`);
  if (dataType === 'idx' && !found.isDirectory()) {
    throw invalid(`${inputPath} is a file, wanted the folder of NAME-images-idx3-ubyte and NAME-labels-idx1-ubyte`);
  }
  if (dataType === 'csv' && found.size === 0) throw invalid(`${inputPath}: it is empty`);
  const outputFormat = options.outputFormat ?? (dataType === 'csv' ? 'csv' : 'arrow');
  if (areValues(options.classes) && outputFormat !== 'csv') {
    throw invalid(`labels that are values stand in csv files: found output format ${outputFormat}`);
  }
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
    split: checkShares(options.split ?? DEFAULT_SHARES),
    seed,
    normalisation: options.normalisation ?? 'auto',
    onProgress: options.onProgress ?? (() => undefined),
    abortSignal: options.abortSignal,
  };
}

function guessDataType(inputPath: string, isFolder: boolean): DataType {
  if (isFolder || /-idx[13]-ubyte(?:\.gz)?$/.test(basename(inputPath))) return 'idx';
  if (/^\.(?:csv|tsv|txt)$/i.test(extname(inputPath))) return 'csv';
  throw invalid(`${inputPath}: its name does not say what it holds, wanted --data-type ${DATA_TYPES.join(' or ')}`);
}

function requireOneOf(what: string, found: string, known: readonly string[]): void {
  if (known.includes(found)) return;
  throw invalid(`unknown ${what} '${found}', did you mean ${nearest(found, known)}? known are ${known.join(', ')}`);
}

function invalid(message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', message);
}
