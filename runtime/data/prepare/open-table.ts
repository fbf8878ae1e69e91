import { stat } from 'node:fs/promises';
import { extname } from 'node:path';
import { SecureTrainingError } from '../../errors.ts';
import { openCsv } from './csv.ts';
import { openJsonl } from './jsonl.ts';
import { EXTENSIONS, isTableType, type TableType } from './options.ts';
import { openParquet } from './parquet.ts';
import type { Table } from './table.ts';

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` when the file is not of this type, or its columns have no proper names */
export async function openTable(path: string, type: TableType): Promise<Table> {
  const table = await open(path, type);
  checkColumns(path, table.columns);
  return table;
}

/** The type that a file's extension tells; csv where it tells none. */
export function tableTypeOf(path: string): TableType {
  const known = EXTENSIONS[extname(path).toLowerCase()];
  return known !== undefined && isTableType(known) ? known : 'csv';
}

async function open(path: string, type: TableType): Promise<Table> {
  if (type === 'jsonl') return openJsonl(path);
  if (type === 'parquet') return openParquet(path);
  const { size } = await stat(path);
  const { columns, chunks } = await openCsv(path, type === 'tsv' ? '\t' : undefined);
  return {
    columns,
    unit: 'line',
    chunks: {
      async *[Symbol.asyncIterator]() {
        for await (const { rows, bytesRead } of chunks) yield { rows, done: Math.min(1, bytesRead / size) };
      },
    },
  };
}

function checkColumns(path: string, columns: readonly string[]): void {
  const seen = new Set<string>();
  columns.forEach((column, i) => {
    if (column === '') throw invalid(path, `line 1: column ${i + 1} has no name`);
    if (seen.has(column)) throw invalid(path, `line 1: column name ${column} appears twice`);
    seen.add(column);
  });
}

function invalid(path: string, message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', `${path}: ${message}`);
}
