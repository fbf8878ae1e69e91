import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { utf8 } from '../../crypto/bytes.ts';
import { SecureTrainingError } from '../../errors.ts';
import { type DatasetSchema, SPLITS, type Split } from '../../statements/manifest.ts';
import { type ArrowFileWriter, openArrowWriter } from '../arrow-file.ts';
import { allocateFeatures, type FeatureArray, type FeatureType, shardRows } from '../arrow-shard.ts';
import { type AtomicFile, openAtomic, writeFileAtomic } from '../atomic-file.ts';
import {
  checkDescription,
  DATASET_FILE,
  type DatasetDescription,
  readDatasetFile,
  writeDatasetFile,
} from '../dataset-file.ts';
import { REJECTED_FILE } from './bad-rows.ts';
import { csvCell } from './cells.ts';
import type { OutputFormat } from './options.ts';
import { csvToParquet } from './parquet.ts';
import { type DataReport, REPORT_FILE, REPORT_PAGE } from './report.ts';
import { reportPage } from './report-page.ts';

const PREVIOUS_FILE = '.dataset.previous.json';

/** Text is handed to the disk in pieces of about this many characters. */
const TEXT_PIECE = 1_048_576;

/** The three files of a dataset while they are written: none has its name before all are whole. */
export interface SplitFiles {
  readonly format: OutputFormat;
  readonly rows: Readonly<Record<Split, number>>;
  commit(schema: DatasetSchema): Promise<void>;
  discard(): Promise<void>;
}

export interface TextSplitFiles extends SplitFiles {
  readonly format: 'csv' | 'parquet';
  /** Returns a promise only when it has to wait for the disk. */
  add(split: Split, line: string): Promise<void> | undefined;
}

export interface ArrowSplitFiles extends SplitFiles {
  readonly format: 'arrow';
  /** Copies the row. Returns a promise only when it has to wait for the disk. */
  add(split: Split, features: ArrayLike<number>, label: number): Promise<void> | undefined;
}

/** Rows are taken as lines of csv. For Parquet DuckDB makes the files of them at the end, when the type of the features is known. */
export async function openTextSplits(
  folder: string,
  format: 'csv' | 'parquet',
  columns: readonly string[],
): Promise<TextSplitFiles> {
  const rows = noRows();
  const files = await openAll((split) => openAtomic(join(folder, splitFile(split, 'csv'))));
  const header = columns.map(csvCell).join(',');
  const pending: Record<Split, string> = { train: `${header}\n`, validation: `${header}\n`, test: `${header}\n` };
  const flush = async (split: Split) => {
    const piece = utf8(pending[split]);
    pending[split] = '';
    await files[split].write(piece);
  };
  return {
    format,
    rows,
    add(split, line) {
      rows[split] += 1;
      pending[split] += `${line}\n`;
      return pending[split].length < TEXT_PIECE ? undefined : flush(split);
    },
    async commit(schema) {
      for (const split of SPLITS) await flush(split);
      if (format === 'parquet') await commitParquet(folder, files, columns, schema);
      else for (const split of SPLITS) await files[split].commit();
    },
    discard: () => discardAll(files),
  };
}

async function commitParquet(
  folder: string,
  texts: Readonly<Record<Split, AtomicFile>>,
  columns: readonly string[],
  { label, dtype }: DatasetSchema,
): Promise<void> {
  const files = await openAll((split) => openAtomic(join(folder, splitFile(split, 'parquet'))));
  try {
    for (const split of SPLITS) {
      await csvToParquet(texts[split].temporaryPath, files[split].temporaryPath, label, columns, dtype === 'uint8');
      await texts[split].discard();
    }
    for (const split of SPLITS) await files[split].commit();
  } finally {
    await discardAll(files);
  }
}

export async function openArrowSplits(
  folder: string,
  dtype: FeatureType,
  featureCount: number,
): Promise<ArrowSplitFiles> {
  const rows = noRows();
  const batchRows = shardRows(featureCount, dtype);
  const files = await openAll<
    ArrowFileWriter & { readonly features: FeatureArray; readonly labels: Int32Array; filled: number }
  >(async (split) => ({
    ...(await openArrowWriter(join(folder, splitFile(split, 'arrow')), dtype, featureCount, { version: 1, split })),
    features: allocateFeatures(batchRows, featureCount, dtype),
    labels: new Int32Array(batchRows),
    filled: 0,
  }));
  const flush = async (split: Split) => {
    const { features, labels, filled, write } = files[split];
    files[split].filled = 0;
    if (filled === 0) return;
    await write({
      features: features.subarray(0, filled * featureCount),
      featureCount,
      labels: labels.subarray(0, filled),
    });
  };
  return {
    format: 'arrow',
    rows,
    add(split, features, label) {
      const file = files[split];
      file.features.set(features, file.filled * featureCount);
      file.labels[file.filled] = label;
      file.filled += 1;
      rows[split] += 1;
      return file.filled < batchRows ? undefined : flush(split);
    },
    async commit() {
      for (const split of SPLITS) await flush(split);
      for (const split of SPLITS) await files[split].commit();
    },
    discard: () => discardAll(files),
  };
}

/** What becomes of a dataset besides its rows. */
export interface Findings {
  readonly about: Omit<DatasetDescription, 'version' | 'splits'>;
  /** Makes the report once the splits are known. */
  readonly report: (description: DatasetDescription) => DataReport;
  /** Lines of `rejected.jsonl`, where bad rows are put aside. */
  readonly rejected: AtomicFile | undefined;
}

export interface Published {
  readonly description: DatasetDescription;
  readonly report: DataReport;
}

/**
 * Puts the files under their names and describes them. The description goes first when it is old and comes last when it is
 * new: whenever this is interrupted, either everything fits together or `dataset.json` is missing.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when a split would have no row
 */
export async function publish(
  folder: string,
  files: SplitFiles,
  { about, report: makeReport, rejected }: Findings,
): Promise<Published> {
  const empty = SPLITS.filter((split) => files.rows[split] === 0);
  if (empty.length > 0) {
    const total = SPLITS.reduce((sum, split) => sum + files.rows[split], 0);
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `none of the ${total} rows went to ${empty.join(' and ')}: give more rows, larger shares with --split, or another --seed`,
    );
  }
  const entry = (split: Split) => ({ file: splitFile(split, files.format), rows: files.rows[split] });
  const description = checkDescription({
    version: 1,
    ...about,
    splits: { train: entry('train'), validation: entry('validation'), test: entry('test') },
  });
  const report = makeReport(description);
  const previous = await setAside(folder);
  await files.commit(description.schema);
  for (const split of SPLITS) {
    const old = previous?.splits[split].file;
    if (old !== undefined && old !== description.splits[split].file) await rm(join(folder, old), { force: true });
  }
  if (rejected === undefined) await rm(join(folder, REJECTED_FILE), { force: true });
  else await rejected.commit();
  await writeFileAtomic(join(folder, REPORT_FILE), `${JSON.stringify(report, null, 2)}\n`);
  await writeFileAtomic(join(folder, REPORT_PAGE), reportPage(report));
  await writeDatasetFile(folder, description);
  await rm(join(folder, PREVIOUS_FILE), { force: true });
  return { description, report };
}

/** The description of what was here before, under another name: after a kill it still tells which files are to go. */
async function setAside(folder: string): Promise<DatasetDescription | undefined> {
  const read = (name: string) => readDatasetFile(folder, name).catch(() => undefined);
  const previous = (await read(DATASET_FILE)) ?? (await read(PREVIOUS_FILE));
  if (previous !== undefined) await writeDatasetFile(folder, previous, PREVIOUS_FILE);
  await rm(join(folder, DATASET_FILE), { force: true });
  return previous;
}

export function splitFile(split: Split, format: OutputFormat): string {
  return `${split}.${format}`;
}

/** Runs `work` and leaves no temporary file behind, however it ends. */
export async function using<F extends SplitFiles, T>(files: F, work: (files: F) => Promise<T>): Promise<T> {
  try {
    return await work(files);
  } finally {
    await files.discard();
  }
}

function noRows(): Record<Split, number> {
  return { train: 0, validation: 0, test: 0 };
}

async function openAll<T extends Pick<AtomicFile, 'discard'>>(
  openOne: (split: Split) => Promise<T>,
): Promise<Record<Split, T>> {
  return { train: await openOne('train'), validation: await openOne('validation'), test: await openOne('test') };
}

async function discardAll(files: Record<Split, Pick<AtomicFile, 'discard'>>): Promise<void> {
  for (const split of SPLITS) await files[split].discard();
}
