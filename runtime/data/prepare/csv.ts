import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import Papa, { type ParseResult } from 'papaparse';
import { SecureTrainingError } from '../../errors.ts';
import type { TableRow } from './table.ts';

const DELIMITERS = [',', '\t', ';', '|'] as const;
const CHUNK_BYTES = 262_144;
/** How much of a file's beginning is looked at for its delimiter. */
const HEAD_BYTES = 65_536;

/** Rows of a CSV file with a header, in file order. */
export interface CsvFile {
  readonly columns: readonly string[];
  readonly chunks: AsyncIterable<CsvChunk>;
}

interface CsvChunk {
  readonly rows: readonly TableRow[];
  /** Bytes of the file read so far. */
  readonly bytesRead: number;
}

/**
 * Opens a CSV file (RFC 4180) and reads its header; memory stays flat at any size. A row of another width has a problem.
 * @param delimiter without it comma, tab, semicolon or bar, whichever the first line has most of
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for an empty file, or quotes that do not match
 */
export async function openCsv(path: string, delimiter?: string): Promise<CsvFile> {
  const chunks = readChunks(path, delimiter ?? (await guessDelimiter(path)));
  let first = await chunks.next();
  // A header longer than a chunk gives no row at first.
  while (first.done !== true && first.value.rows.length === 0) first = await chunks.next();
  const beginning = first;
  const [header, ...rest] = beginning.done === true ? [] : beginning.value.rows;
  if (beginning.done === true || header === undefined) throw invalid(path, 'it is empty');
  const columns = header.cells.map((cell) => String(cell).trim());
  return {
    columns,
    chunks: {
      async *[Symbol.asyncIterator]() {
        try {
          yield checkWidth(columns.length, { rows: rest, bytesRead: beginning.value.bytesRead });
          for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) {
            yield checkWidth(columns.length, next.value);
          }
        } finally {
          await chunks.return(undefined);
        }
      },
    },
  };
}

function checkWidth(width: number, chunk: CsvChunk): CsvChunk {
  if (chunk.rows.every(({ cells }) => cells.length === width)) return chunk;
  const rows = chunk.rows.map((row) =>
    row.cells.length === width ? row : { ...row, problem: `found ${row.cells.length} columns, wanted ${width}` },
  );
  return { ...chunk, rows };
}

async function guessDelimiter(path: string): Promise<string> {
  const handle = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    const head = buffer.toString('utf8', 0, bytesRead);
    const line = head.split(/\r\n|\r|\n/, 1)[0] ?? '';
    const counts = DELIMITERS.map((delimiter) => line.split(delimiter).length);
    return DELIMITERS[counts.indexOf(Math.max(...counts))] ?? ',';
  } finally {
    await handle.close();
  }
}

/** Papa parses as fast as it is fed: it is paused after each chunk until the consumer asks for the next. */
async function* readChunks(path: string, delimiter: string): AsyncGenerator<CsvChunk> {
  const source = createReadStream(path, { encoding: 'utf8', highWaterMark: CHUNK_BYTES });
  const waiting: (ParseResult<string[]> | Error | 'end')[] = [];
  let wake: () => void = () => undefined;
  let resume: () => void = () => undefined;
  const deliver = (item: ParseResult<string[]> | Error | 'end') => {
    waiting.push(item);
    wake();
  };
  Papa.parse<string[]>(source, {
    delimiter,
    chunk: (result, parser) => {
      parser.pause();
      resume = () => parser.resume();
      deliver(result);
    },
    complete: () => deliver('end'),
    error: deliver,
  });
  try {
    let line = 1;
    for (;;) {
      const item = waiting.shift();
      if (item === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve;
          resume();
          if (waiting.length > 0) resolve();
        });
        continue;
      }
      if (item === 'end') return;
      if (item instanceof Error)
        throw new SecureTrainingError('CONFIG_INVALID', `${path} cannot be read`, { cause: item });
      const bad = item.errors.find((error) => error.type === 'Quotes');
      if (bad !== undefined) {
        throw new SecureTrainingError('CONFIG_INVALID', `${path} line ${line + (bad.row ?? 0)}: quotes do not match`);
      }
      const rows: TableRow[] = [];
      for (const cells of item.data) {
        if (line === 1 && cells[0]?.startsWith('\uFEFF') === true) cells[0] = cells[0].slice(1);
        if (cells.length > 1 || cells[0] !== '') rows.push({ place: line, cells });
        line += 1 + newlines(cells);
      }
      yield { rows, bytesRead: source.bytesRead };
    }
  } finally {
    source.destroy();
  }
}

/** Quoted cells may hold line breaks; numbers never do, so long rows of short cells cost nothing here. */
function newlines(cells: readonly string[]): number {
  let count = 0;
  for (const cell of cells) {
    if (cell.length > 1 && cell.includes('\n')) count += cell.split('\n').length - 1;
  }
  return count;
}

function invalid(path: string, message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', `${path}: ${message}`);
}
