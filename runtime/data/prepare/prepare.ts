import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { openAtomic, removePartials } from '../atomic-file.ts';
import type { DatasetDescription } from '../dataset-file.ts';
import { REJECTED_FILE } from './bad-rows.ts';
import { isTableType, type PrepareOptions } from './options.ts';
import { prepareArrays } from './prepare-arrays.ts';
import { prepareTable } from './prepare-table.ts';
import type { DataReport } from './report.ts';
import { settle } from './settings.ts';

export type { PrepareOptions } from './options.ts';

export interface PrepareResult {
  readonly description: DatasetDescription;
  readonly report: DataReport;
  readonly outputDir: string;
  /** Rows of all splits. */
  readonly rows: number;
}

/**
 * Checks every row, splits the rows by seed and content, and writes train, validation and test with a `dataset.json` that
 * says what they mean, and a report. Nothing is written when a row is wrong, unless bad rows are put aside. The same input and
 * options give the same bytes.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` with file, line and column
 */
export async function prepareData(options: PrepareOptions): Promise<PrepareResult> {
  const settings = await settle(options);
  const { outputDir, dataType } = settings;
  const isNew = (await mkdir(outputDir, { recursive: true })) !== undefined;
  // Also of another format than now: what a killed process left is plaintext.
  await removePartials(outputDir);
  const rejected = settings.onBadRow === 'reject' ? await openAtomic(join(outputDir, REJECTED_FILE)) : undefined;
  try {
    const published = isTableType(dataType)
      ? await prepareTable(settings, dataType, rejected)
      : await prepareArrays(settings, dataType, rejected);
    const rows = Object.values(published.description.splits).reduce((sum, split) => sum + split.rows, 0);
    return { ...published, outputDir, rows };
  } catch (error) {
    await rejected?.discard();
    // Refuses a folder that has something in it, which is not ours then.
    if (isNew) await rmdir(outputDir).catch(() => undefined);
    throw error;
  }
}
