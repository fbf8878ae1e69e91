import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { SecureTrainingError } from '../../errors.ts';
import type { Cell } from './cells.ts';
import type { Table, TableRow } from './table.ts';

const CHUNK_BYTES = 262_144;
/** Characters of a line; one that is longer is no row but a file of another kind. */
const LONGEST_LINE = 67_108_864;
const MORE_MEMBERS = 'found a member that the first object has not';

/** Where a column's value is found: a member, or one number of a member that is a list. */
interface Path {
  readonly name: string;
  readonly index?: number;
}

/**
 * Opens a JSON Lines file (https://jsonlines.org): an object a line, all with the members of the first. A list of numbers makes a
 * column of each, called NAME_0, NAME_1 and so on; `null` and a member that is left out are missing values.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` unless the first line is an object
 */
export async function openJsonl(path: string): Promise<Table> {
  const { size } = await stat(path);
  const first = await firstLine(path);
  const sample = first === undefined ? undefined : parseObject(first.text);
  if (first === undefined) throw invalid(`${path}: it is empty`);
  if (sample === undefined) throw invalid(`${path} line ${first.place}: found no JSON object, wanted one a line`);
  const paths = pathsOf(sample);
  return {
    columns: paths.map(({ name, index }) => (index === undefined ? name : `${name}_${index}`)),
    unit: 'line',
    chunks: {
      async *[Symbol.asyncIterator]() {
        for await (const { lines, bytesRead } of readLines(path)) {
          const rows = lines.map(({ text, place }) => ({ place, ...readRow(text, sample, paths) }));
          yield { rows, done: Math.min(1, bytesRead / size) };
        }
      },
    },
  };
}

function pathsOf(sample: Readonly<Record<string, unknown>>): readonly Path[] {
  return Object.entries(sample).flatMap(([name, value]) =>
    Array.isArray(value) ? value.map((_, index) => ({ name, index })) : [{ name }],
  );
}

function readRow(
  text: string,
  sample: Readonly<Record<string, unknown>>,
  paths: readonly Path[],
): Omit<TableRow, 'place'> {
  const object = parseObject(text);
  if (object === undefined) return { cells: [], problem: 'found no JSON object, wanted one a line' };
  for (const [name, value] of Object.entries(object)) {
    if (!Object.hasOwn(sample, name)) return { cells: [], problem: MORE_MEMBERS };
    const wanted = sample[name];
    if (Array.isArray(value) !== Array.isArray(wanted) && value !== null)
      return { cells: [], problem: `member ${name}: wanted ${Array.isArray(wanted) ? 'a list' : 'one value'}` };
    if (Array.isArray(value) && Array.isArray(wanted) && value.length !== wanted.length)
      return { cells: [], problem: `member ${name}: found ${value.length} values, wanted ${wanted.length}` };
  }
  const cells: Cell[] = [];
  for (const { name, index } of paths) {
    const member = Object.hasOwn(object, name) ? object[name] : null;
    const cell = toCell(index === undefined ? member : (member as readonly unknown[] | null)?.[index]);
    if (cell === undefined) return { cells: [], problem: `member ${name}: found an object or a list inside` };
    cells.push(cell);
  }
  return { cells };
}

function toCell(value: unknown): Cell | undefined {
  if (value === null || value === undefined) return '';
  if (typeof value === 'number' || typeof value === 'string') return value;
  return typeof value === 'boolean' ? Number(value) : undefined;
}

/** The parser's own message would quote the text. */
function parseObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
    return isObject ? (value as Readonly<Record<string, unknown>>) : undefined;
  } catch {
    return undefined;
  }
}

interface Line {
  readonly text: string;
  readonly place: number;
}

async function firstLine(path: string): Promise<Line | undefined> {
  for await (const { lines } of readLines(path)) {
    if (lines[0] !== undefined) return lines[0];
  }
  return undefined;
}

/** Lines that are not blank, with their numbers. */
async function* readLines(path: string): AsyncGenerator<{ lines: Line[]; bytesRead: number }> {
  const source = createReadStream(path, { encoding: 'utf8', highWaterMark: CHUNK_BYTES });
  let rest = '';
  let place = 0;
  const take = (texts: readonly string[]): Line[] =>
    texts.flatMap((text) => {
      place += 1;
      const line = place === 1 && text.startsWith('\uFEFF') ? text.slice(1) : text;
      return line.trim() === '' ? [] : [{ text: line, place }];
    });
  for await (const chunk of source) {
    const texts = `${rest}${chunk}`.split('\n');
    rest = texts.pop() ?? '';
    if (rest.length > LONGEST_LINE)
      throw invalid(`${path} line ${place + texts.length + 1}: it is longer than ${LONGEST_LINE} characters`);
    yield { lines: take(texts), bytesRead: source.bytesRead };
  }
  yield { lines: take([rest]), bytesRead: source.bytesRead };
}

function invalid(message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', message);
}
