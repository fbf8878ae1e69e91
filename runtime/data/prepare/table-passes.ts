import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { BadRows } from './bad-rows.ts';
import type { ColumnPlan } from './columns.ts';
import type { LabelReader } from './labels.ts';
import { openTable } from './open-table.ts';
import type { PrepareSettings, TableType } from './options.ts';
import { type CheckedRow, isProblem, rowReader } from './row-reader.ts';
import { rowPosition } from './split.ts';
import type { Table } from './table.ts';

/** What one pass over a table found besides its good rows. */
export interface PassCounts {
  readonly rejected: number;
  /** Rows left out because a value is missing. */
  readonly incomplete: number;
}

interface PassOptions {
  /** Returns a promise only when it has to be waited for. */
  readonly row: (row: CheckedRow, position: number) => Promise<void> | undefined;
  /** Takes lines of `rejected.jsonl`. */
  readonly rejected?: (lines: readonly string[]) => Promise<void>;
}

/** Reads all of the table once more. */
export type Pass = (options: PassOptions) => Promise<PassCounts>;

/**
 * A table that is read several times, every row checked each time: that is slower than remembering and takes no memory.
 * @param first what was opened to read the columns
 * @param count how often it will be read, for the progress
 */
export function tablePasses(
  settings: PrepareSettings,
  type: TableType,
  first: Table,
  plan: ColumnPlan,
  labels: LabelReader,
  count: number,
): Pass {
  const { inputPath, onProgress, abortSignal } = settings;
  const positionOf = rowPosition(settings.seed);
  const read = rowReader(first.columns, plan, labels, settings.missing);
  let opened: Table | undefined = first;
  let passesDone = 0;
  return async ({ row: use, rejected }) => {
    const table = opened ?? (await openTable(inputPath, type));
    opened = undefined;
    const { size } = await stat(inputPath);
    const bad = new BadRows(inputPath, settings.onBadRow, settings.maxRejected);
    let rows = 0;
    let incomplete = 0;
    for await (const chunk of table.chunks) {
      abortSignal?.throwIfAborted();
      for (const tableRow of chunk.rows) {
        rows += 1;
        const row = read(tableRow);
        if (row === undefined) {
          incomplete += 1;
        } else if (isProblem(row)) {
          const { reason, ...column } = row;
          bad.add({ [table.unit]: tableRow.place, ...column }, reason);
        } else {
          const wait = use(row, positionOf(plan.group === undefined ? row.text : row.group));
          if (wait !== undefined) await wait;
        }
      }
      await rejected?.(bad.take());
      const done = Math.round((passesDone + chunk.done) * size);
      onProgress({ step: 'prepare', name: basename(inputPath), done, total: count * size, unit: 'bytes' });
    }
    bad.finish(rows);
    passesDone += 1;
    return { rejected: bad.rejected, incomplete };
  };
}
