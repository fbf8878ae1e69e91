import type { Cell } from './cells.ts';

/** Rows with named columns, in file order. Read once; open it again for another pass. */
export interface Table {
  readonly columns: readonly string[];
  /** What {@link TableRow.place} counts: lines from 1, rows from 0. */
  readonly unit: 'line' | 'row';
  readonly chunks: AsyncIterable<TableChunk>;
}

interface TableChunk {
  readonly rows: readonly TableRow[];
  /** Share of the file read so far, 0 to 1. */
  readonly done: number;
}

export interface TableRow {
  readonly place: number;
  /** As many as there are columns, unless there is a problem. */
  readonly cells: readonly Cell[];
  /** Why the row as a whole cannot be used; never with a value of it. */
  readonly problem?: string;
}
