import type { DuckDBConnection, DuckDBDataChunk } from '@duckdb/node-api';
import { SecureTrainingError } from '../../errors.ts';
import type { Cell } from './cells.ts';
import { openDuckDb, quoteName, quoteText, withDuckDb } from './duckdb.ts';
import type { Table, TableRow } from './table.ts';

/** Rows of a row group: few enough that wide tables are written in little memory. */
const ROW_GROUP = 8192;
const NUMBER = /^(?:U?(?:TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|FLOAT|DOUBLE|DECIMAL\(.*\)|BOOLEAN)$/;
const LIST = /^(.*)\[(\d*)\]$/;

/** One column as it is asked for; several may come from one column of lists. */
interface Column {
  readonly name: string;
  readonly sql: string;
}

/**
 * Opens a Parquet file. Numbers and booleans are numbers, everything else is text; a column of lists, all of one length, makes a
 * column of each place, called NAME_0, NAME_1 and so on. Null and NaN are missing values.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when it is no Parquet file, or lists differ in length
 */
export async function openParquet(path: string): Promise<Table> {
  const { columns, total } = await query(path, async (connection) => ({
    columns: await describe(connection, path),
    total: await countRows(connection, path),
  }));
  if (total === 0) throw invalid(`${path}: it is empty`);
  return {
    columns: columns.map(({ name }) => name),
    unit: 'row',
    chunks: {
      async *[Symbol.asyncIterator]() {
        let place = 0;
        for await (const rows of readChunks(path, columns)) {
          yield { rows: rows.map((cells): TableRow => ({ place: place++, cells })), done: place / total };
        }
      },
    },
  };
}

/**
 * Makes a Parquet file of a csv file that `prepare-data` wrote.
 * @param isBytes whether all features are whole numbers from 0 to 255; else they are doubles, which is what text says exactly
 */
export async function csvToParquet(
  csvPath: string,
  parquetPath: string,
  label: string,
  columns: readonly string[],
  isBytes: boolean,
): Promise<void> {
  const types = columns
    .map((name) => `${quoteText(name)}: '${name === label ? 'VARCHAR' : isBytes ? 'UTINYINT' : 'DOUBLE'}'`)
    .join(', ');
  const from = `read_csv(${quoteText(csvPath)}, auto_detect = false, header = true, delim = ',', quote = '"', escape = '"', columns = {${types}})`;
  const to = `(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE ${ROW_GROUP}, USE_TMP_FILE false)`;
  await withDuckDb([csvPath, parquetPath], (connection) =>
    connection.run(`COPY (SELECT * FROM ${from}) TO ${quoteText(parquetPath)} ${to}`),
  );
}

async function describe(connection: DuckDBConnection, path: string): Promise<readonly Column[]> {
  const result = await connection.runAndReadAll(`DESCRIBE SELECT * FROM read_parquet(${quoteText(path)})`);
  const columns: Column[] = [];
  for (const { column_name, column_type } of result.getRowObjects()) {
    const [name, type] = [String(column_name), String(column_type)];
    const item = LIST.exec(type)?.[1];
    if (item === undefined) {
      columns.push({ name, sql: cast(quoteName(name), type) });
      continue;
    }
    const length = await listLength(connection, path, name);
    for (let i = 0; i < length; i++)
      columns.push({ name: `${name}_${i}`, sql: cast(`${quoteName(name)}[${i + 1}]`, item) });
  }
  return columns;
}

function cast(sql: string, type: string): string {
  return `${sql}::${NUMBER.test(type) ? 'DOUBLE' : 'VARCHAR'}`;
}

async function listLength(connection: DuckDBConnection, path: string, name: string): Promise<number> {
  const length = `len(${quoteName(name)})`;
  const [row] = (
    await connection.runAndReadAll(
      `SELECT min(${length})::DOUBLE, max(${length})::DOUBLE, count(*) = count(${length}) FROM read_parquet(${quoteText(path)})`,
    )
  ).getRows();
  const [shortest, longest, complete] = row ?? [];
  if (complete === true && typeof shortest === 'number' && shortest === longest && shortest > 0) return shortest;
  throw invalid(`${path}: column ${name} holds lists of different lengths, wanted one length`);
}

async function countRows(connection: DuckDBConnection, path: string): Promise<number> {
  const result = await connection.runAndReadAll(`SELECT count(*)::DOUBLE FROM read_parquet(${quoteText(path)})`);
  return Number(result.getRows()[0]?.[0] ?? 0);
}

/** DuckDB gives a chunk when it is asked for one, so a slow reader holds it back. */
async function* readChunks(path: string, columns: readonly Column[]): AsyncGenerator<Cell[][]> {
  const { connection, close } = await openDuckDb([path]);
  try {
    const sql = columns.map((column) => column.sql).join(', ');
    const result = await connection.stream(`SELECT ${sql} FROM read_parquet(${quoteText(path)})`);
    for (
      let chunk = await result.fetchChunk();
      chunk !== null && chunk.rowCount > 0;
      chunk = await result.fetchChunk()
    ) {
      yield cellsOf(chunk, columns.length);
    }
  } finally {
    close();
  }
}

/** Column by column, as they lie in memory. */
function cellsOf(chunk: DuckDBDataChunk, width: number): Cell[][] {
  const rows = Array.from({ length: chunk.rowCount }, () => new Array<Cell>(width).fill(''));
  for (let column = 0; column < width; column++) {
    const vector = chunk.getColumnVector(column);
    rows.forEach((row, r) => {
      const value = vector.getItem(r);
      if (typeof value === 'string' || (typeof value === 'number' && !Number.isNaN(value))) row[column] = value;
    });
  }
  return rows;
}

async function query<T>(path: string, work: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
  try {
    return await withDuckDb([path], work);
  } catch (cause) {
    if (cause instanceof SecureTrainingError) throw cause;
    throw new SecureTrainingError('CONFIG_INVALID', `${path} cannot be read as a parquet file`, { cause });
  }
}

function invalid(message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', message);
}
