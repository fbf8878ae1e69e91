import type { DuckDBConnection } from '@duckdb/node-api';

/** What DuckDB may hold; the rest of a gigabyte is for the rows of our own. */
const MEMORY = '700MB';

export interface DuckDb {
  readonly connection: DuckDBConnection;
  close(): void;
}

/**
 * Opens a DuckDB that holds no data of its own, fetches no extensions and reads or writes nothing but `paths`.
 * One thread: rows stay in file order and the bytes of what is written depend on nothing but the rows.
 */
export async function openDuckDb(paths: readonly string[]): Promise<DuckDb> {
  // Loaded on demand: its library is large, and most data is text.
  const { DuckDBInstance } = await import('@duckdb/node-api');
  const instance = await DuckDBInstance.create(':memory:', {
    threads: '1',
    memory_limit: MEMORY,
    temp_directory: '',
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
  });
  const connection = await instance.connect();
  await connection.run(`SET allowed_paths = [${paths.map(quoteText).join(', ')}]`);
  await connection.run('SET enable_external_access = false');
  await connection.run('SET lock_configuration = true');
  return {
    connection,
    close() {
      connection.closeSync();
      instance.closeSync();
    },
  };
}

/** Closes the DuckDB however `work` ends. */
export async function withDuckDb<T>(
  paths: readonly string[],
  work: (connection: DuckDBConnection) => Promise<T>,
): Promise<T> {
  const { connection, close } = await openDuckDb(paths);
  try {
    return await work(connection);
  } finally {
    close();
  }
}

/** A string literal of SQL. */
export function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** A column's name in SQL. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
