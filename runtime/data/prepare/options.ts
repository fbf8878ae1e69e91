import type { OnDataProgress } from '../progress.ts';
import type { BadRowPolicy, RejectionCeiling } from './bad-rows.ts';
import type { Classes } from './labels.ts';
import type { Missing } from './missing.ts';
import type { NormalisationKind } from './normalise.ts';
import type { Shares } from './split.ts';

/** Tables have named columns; the rest are arrays: rows of one shape, and their labels. */
const TABLE_TYPES = ['csv', 'tsv', 'jsonl', 'parquet'] as const;
export type TableType = (typeof TABLE_TYPES)[number];
const ARRAY_TYPES = ['npy', 'idx', 'images'] as const;
export type ArrayType = (typeof ARRAY_TYPES)[number];
export const DATA_TYPES = [...TABLE_TYPES, ...ARRAY_TYPES] as const;
export type DataType = TableType | ArrayType;

/** What a file of this extension holds. */
export const EXTENSIONS: Readonly<Record<string, DataType>> = {
  '.csv': 'csv',
  '.txt': 'csv',
  '.tsv': 'tsv',
  '.jsonl': 'jsonl',
  '.ndjson': 'jsonl',
  '.parquet': 'parquet',
  '.npy': 'npy',
};

export const OUTPUT_FORMATS = ['csv', 'arrow', 'parquet'] as const;
export type OutputFormat = (typeof OUTPUT_FORMATS)[number];

/** How a column of names becomes numbers: a column of 0 and 1 for each name, or its place in the sorted list, from 1. */
export const CODINGS = ['one-hot', 'ordinal'] as const;
export type Coding = (typeof CODINGS)[number];

/** Pixels are one number, or three. */
export const IMAGE_COLOURS = ['grey', 'rgb'] as const;
export type ImageColours = (typeof IMAGE_COLOURS)[number];

/** In pixels. */
export interface ImageSize {
  readonly width: number;
  readonly height: number;
}

/** Smallest and largest value that a column may hold. */
export interface Range {
  readonly minimum: number;
  readonly maximum: number;
}

/** Seed of the split unless another is given. */
export const DEFAULT_SEED = 42;

export interface PrepareOptions {
  /** A table or an array in a file, or a folder of IDX files or of images by class. */
  readonly inputPath: string;
  readonly outputDir: string;
  /** @default - as the extension says; a folder is `idx` where it has such files, else `images` */
  readonly dataType?: DataType;
  /** @default - `csv` for csv and tsv, else `arrow`: several times as fast to write and to seal */
  readonly outputFormat?: OutputFormat;
  /** @default - made of the input's name */
  readonly name?: string;
  /** @default - those that occur */
  readonly classes?: Classes;
  /** @default DEFAULT_SHARES */
  readonly split?: Shares;
  /** Gives every class the same shares; costs one more pass over the rows. @default false */
  readonly stratify?: boolean;
  /** @default DEFAULT_SEED */
  readonly seed?: number;
  /** @default 'auto' */
  readonly normalisation?: NormalisationKind;
  /** @default 'fail' */
  readonly onBadRow?: BadRowPolicy;
  /** @default DEFAULT_CEILING */
  readonly maxRejected?: RejectionCeiling;

  /** Tables only. @default - the column called label, target, y or class */
  readonly label?: string;
  /** Tables only. @default - all columns that are not label, group or dropped */
  readonly features?: readonly string[];
  /** Tables only. @default - none */
  readonly drop?: readonly string[];
  /** Tables only: rows with the same value in this column are never in two splits. @default - none */
  readonly group?: string;
  /** Tables only: features that hold names. @default - none */
  readonly categorical?: readonly string[];
  /** Tables only. @default 'one-hot' */
  readonly coding?: Coding;
  /** Tables only: by column. @default - any number */
  readonly ranges?: Readonly<Record<string, Range>>;
  /** Tables only. @default - fail */
  readonly missing?: Missing;

  /** Arrays only. @default - `NAME-labels.npy`, `NAME_labels.npy` or `labels.npy` beside the file */
  readonly labelsPath?: string;
  /** Images only: other sizes are stretched. @default - the first image's, which all must have */
  readonly imageSize?: ImageSize;
  /** Images only. @default - as the first image is */
  readonly imageColours?: ImageColours;

  readonly onProgress?: OnDataProgress;
  readonly abortSignal?: AbortSignal;
}

type Defaulted = Omit<
  PrepareOptions,
  'label' | 'classes' | 'features' | 'group' | 'labelsPath' | 'imageSize' | 'imageColours' | 'abortSignal'
>;

/** {@link PrepareOptions} with every default filled in. */
export interface PrepareSettings extends Required<Defaulted> {
  readonly label: string | undefined;
  readonly classes: Classes | undefined;
  readonly features: readonly string[] | undefined;
  readonly group: string | undefined;
  readonly labelsPath: string | undefined;
  readonly imageSize: ImageSize | undefined;
  readonly imageColours: ImageColours | undefined;
  readonly abortSignal: AbortSignal | undefined;
}

export function isTableType(type: DataType): type is TableType {
  return TABLE_TYPES.some((known) => known === type);
}
