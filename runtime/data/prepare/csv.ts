import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import Papa, { type ParseResult } from 'papaparse';
import { SecureTrainingError } from '../../errors.ts';

/** Names that a label column may have, best first. */
const LABEL_NAMES = ['label', 'target', 'y', 'class'] as const;
const DELIMITERS = [',', '\t', ';', '|'] as const;
const CHUNK_BYTES = 262_144;
/** How much of a file's beginning is looked at for its delimiter. */
const HEAD_BYTES = 65_536;
const LISTED_COLUMNS = 12;

/** Rows of a CSV file with a header, in file order. */
export interface CsvFile {
  readonly columns: readonly string[];
  /** Every row has as many cells as there are columns. */
  readonly chunks: AsyncIterable<CsvChunk>;
}

interface CsvChunk {
  readonly rows: readonly CsvRow[];
  /** Bytes of the file read so far. */
  readonly bytesRead: number;
}

interface CsvRow {
  /** Line on which the row starts, counted from 1. */
  readonly line: number;
  readonly cells: readonly string[];
}

/**
 * Opens a CSV file (RFC 4180; comma, tab, semicolon or bar) and reads its header; memory stays flat at any size.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for an empty file, names missing or given twice, or a row of another width
 */
export async function openCsv(path: string): Promise<CsvFile> {
  const chunks = readChunks(path, await guessDelimiter(path));
  let first = await chunks.next();
  // A header longer than a chunk gives no row at first.
  while (first.done !== true && first.value.rows.length === 0) first = await chunks.next();
  const beginning = first;
  const [header, ...rest] = beginning.done === true ? [] : beginning.value.rows;
  if (beginning.done === true || header === undefined) throw invalid(path, 'it is empty');
  const columns = header.cells.map((cell) => cell.trim());
  checkColumns(path, columns);
  return {
    columns,
    chunks: {
      async *[Symbol.asyncIterator]() {
        try {
          yield checkWidth(path, columns.length, { rows: rest, bytesRead: beginning.value.bytesRead });
          for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) {
            yield checkWidth(path, columns.length, next.value);
          }
        } finally {
          await chunks.return(undefined);
        }
      },
    },
  };
}

/**
 * Index of the label column: the one called `wanted`, or without it label, target, y or class.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` listing the columns when there is none
 */
export function findLabelColumn(path: string, columns: readonly string[], wanted?: string): number {
  const names = wanted === undefined ? LABEL_NAMES : [wanted];
  for (const name of names) {
    const exact = columns.indexOf(name);
    if (exact >= 0) return exact;
    const index = columns.findIndex((column) => column.toLowerCase() === name.toLowerCase());
    if (index >= 0) return index;
  }
  if (wanted === undefined && columns.every((column) => !Number.isNaN(cellNumber(column)))) {
    throw invalid(path, 'line 1 holds numbers, wanted column names, one of them label, target, y or class');
  }
  const found =
    wanted === undefined ? 'no column is called label, target, y or class' : `no column is called ${wanted}`;
  const listed = columns.slice(0, LISTED_COLUMNS).join(', ');
  const more = columns.length > LISTED_COLUMNS ? `, … (${columns.length} columns)` : '';
  throw invalid(path, `${found}; columns: ${listed}${more}${wanted === undefined ? '; name it with --label' : ''}`);
}

/** The number that a cell holds in decimal notation, or NaN: `Number('')` is 0 and `Number('0x10')` is 16, so they are looked at first. */
export function cellNumber(cell: string): number {
  if (cell.length > 0 && cell.length <= 3) {
    let value = 0;
    for (let i = 0; i < cell.length; i++) {
      const digit = cell.charCodeAt(i) - 48;
      if (digit < 0 || digit > 9) return slowNumber(cell);
      value = 10 * value + digit;
    }
    return value;
  }
  return slowNumber(cell);
}

/** Quotes a cell only where RFC 4180 asks for it. */
export function csvCell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function slowNumber(cell: string): number {
  return /^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*$/.test(cell) ? Number(cell) : Number.NaN;
}

function checkColumns(path: string, columns: readonly string[]): void {
  const seen = new Set<string>();
  columns.forEach((column, i) => {
    if (column === '') throw invalid(path, `line 1: column ${i + 1} has no name`);
    if (seen.has(column)) throw invalid(path, `line 1: column name ${column} appears twice`);
    seen.add(column);
  });
  if (columns.length < 2)
    throw invalid(path, `line 1: found 1 column (${columns[0]}), wanted a label and at least one feature`);
}

function checkWidth(path: string, width: number, chunk: CsvChunk): CsvChunk {
  for (const { cells, line } of chunk.rows) {
    if (cells.length !== width) {
      throw new SecureTrainingError(
        'CONFIG_INVALID',
        `${path} line ${line}: found ${cells.length} columns, wanted ${width}`,
      );
    }
  }
  return chunk;
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
      const rows: CsvRow[] = [];
      for (const cells of item.data) {
        if (line === 1 && cells[0]?.startsWith('\uFEFF') === true) cells[0] = cells[0].slice(1);
        if (cells.length > 1 || cells[0] !== '') rows.push({ line, cells });
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
