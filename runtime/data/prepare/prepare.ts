import { mkdir, rmdir } from 'node:fs/promises';
import type { DatasetDescription } from '../dataset-file.ts';
import { prepareCsv } from './prepare-csv.ts';
import { prepareIdx } from './prepare-idx.ts';
import { type PrepareOptions, settle } from './settings.ts';

export type { PrepareOptions } from './settings.ts';

export interface PrepareResult {
  readonly description: DatasetDescription;
  readonly outputDir: string;
  /** Rows of all splits. */
  readonly rows: number;
}

/**
 * Checks every row, splits the rows by seed and content, and writes train, validation and test with a `dataset.json` that
 * says what they mean. Nothing is written when a row is wrong. The same input and options give the same bytes.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` with file, line and column
 */
export async function prepareData(options: PrepareOptions): Promise<PrepareResult> {
  const settings = await settle(options);
  const { outputDir } = settings;
  const isNew = (await mkdir(outputDir, { recursive: true })) !== undefined;
  try {
    const description = await (settings.dataType === 'csv' ? prepareCsv(settings) : prepareIdx(settings));
    const rows = Object.values(description.splits).reduce((sum, split) => sum + split.rows, 0);
    return { description, outputDir, rows };
  } catch (error) {
    // Refuses a folder that has something in it, which is not ours then.
    if (isNew) await rmdir(outputDir).catch(() => undefined);
    throw error;
  }
}
