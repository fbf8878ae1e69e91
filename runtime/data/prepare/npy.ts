import { stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SecureTrainingError } from '../../errors.ts';
import type { FeatureArray } from '../arrow-shard.ts';
import type { ArraySource } from './array-source.ts';
import { type ByteReader, byteReader } from './byte-reader.ts';

/** https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html: magic, version, length of the header, header. */
const MAGIC = Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59);
/** Of a header; NumPy itself refuses longer ones. */
const LONGEST_HEADER = 10_000;
const HEADER =
  /^\{'descr': *'([<>|=])([a-zA-Z])(\d+)', *'fortran_order': *(True|False), *'shape': *\(([\d, ]*)\),? *\}\s*$/;
const MAXIMUM_FEATURES = 16_777_216;
const LABEL_PIECE = 65_536;

/** What the header of a file says. */
export interface NpyHeader {
  readonly kind: NumberKind;
  readonly isBigEndian: boolean;
  /** Of the whole array; the first size counts rows. */
  readonly shape: readonly number[];
}

/** Kind and size in bytes of a number, as NumPy writes it. */
const READERS = {
  b1: (view, at) => view.getUint8(at),
  u1: (view, at) => view.getUint8(at),
  i1: (view, at) => view.getInt8(at),
  u2: (view, at, little) => view.getUint16(at, little),
  i2: (view, at, little) => view.getInt16(at, little),
  u4: (view, at, little) => view.getUint32(at, little),
  i4: (view, at, little) => view.getInt32(at, little),
  u8: (view, at, little) => Number(view.getBigUint64(at, little)),
  i8: (view, at, little) => Number(view.getBigInt64(at, little)),
  f2: (view, at, little) => view.getFloat16(at, little),
  f4: (view, at, little) => view.getFloat32(at, little),
  f8: (view, at, little) => view.getFloat64(at, little),
} as const satisfies Record<string, (view: DataView, at: number, littleEndian: boolean) => number>;
type NumberKind = keyof typeof READERS;

/**
 * Opens an array of numbers, one row for each of its first size, and the array of its labels: whole numbers, one a row.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for objects, strings, column-major order, or sizes that do not fit
 */
export async function openNpy(path: string, labelsPath: string | undefined): Promise<ArraySource> {
  const labelFile = labelsPath ?? (await findLabels(path));
  const header = await headerOf(path);
  const labelHeader = await headerOf(labelFile);
  const [rows = 0, ...shape] = header.shape;
  const featureCount = shape.reduce((product, size) => product * size, 1);
  if (rows === 0 || featureCount === 0) throw invalid(path, 'it is empty');
  if (featureCount > MAXIMUM_FEATURES)
    throw invalid(path, `found ${featureCount} features a row, wanted at most ${MAXIMUM_FEATURES}`);
  if (labelHeader.kind.startsWith('f')) throw invalid(labelFile, 'found fractions, wanted whole numbers for labels');
  if (labelHeader.shape.length !== 1 || labelHeader.shape[0] !== rows)
    throw invalid(
      labelFile,
      `found shape (${labelHeader.shape.join(', ')}), wanted one label for each of ${rows} rows`,
    );
  const isBytes = header.kind === 'u1' || header.kind === 'b1';
  return {
    rows,
    featureCount,
    dtype: isBytes ? 'uint8' : 'float32',
    shape,
    hasTestRows: false,
    async *labels() {
      yield* labelPieces(labelFile, rows);
    },
    async *batches(batchRows) {
      const features = byteReader(path);
      const labels = byteReader(labelFile);
      try {
        await readHeader(features);
        await readHeader(labels);
        for (let start = 0; start < rows; start += batchRows) {
          const count = Math.min(batchRows, rows - start);
          const values = await takeNumbers(features, header, count * featureCount);
          yield {
            features: values,
            labels: Int32Array.from(await takeNumbers(labels, labelHeader, count)),
            isTest: false,
            name: basename(path),
            place: (row) => ({ row: start + row }),
            problem: (row) => problemOf(values, row, featureCount),
          };
        }
        await features.end();
        await labels.end();
      } finally {
        features.close();
        labels.close();
      }
    },
  };
}

/**
 * Reads the header of a `.npy` file, and leaves the reader at its first number.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`
 */
export async function readHeader(reader: ByteReader): Promise<NpyHeader> {
  const start = await reader.take(MAGIC.length + 2);
  const version = start[MAGIC.length] ?? 0;
  if (MAGIC.some((byte, i) => start[i] !== byte) || version < 1 || version > 3)
    throw invalid(reader.path, 'it is no npy file of version 1 to 3');
  const size = await reader.take(version === 1 ? 2 : 4);
  const view = new DataView(size.buffer, size.byteOffset);
  const length = version === 1 ? view.getUint16(0, true) : view.getUint32(0, true);
  if (length > LONGEST_HEADER) throw invalid(reader.path, 'its header is too long');
  const match = HEADER.exec(new TextDecoder('latin1').decode(await reader.take(length)));
  if (match === null)
    throw invalid(reader.path, 'found a header of something else than an array of one kind of number');
  const [, order = '', letter = '', width = '', isFortran = '', sizes = ''] = match;
  const kind = `${letter}${width}`;
  if (!isKind(kind))
    throw invalid(reader.path, `found numbers of type ${kind}, wanted ${Object.keys(READERS).join(', ')}`);
  const shape = sizes
    .split(',')
    .filter((text) => text.trim() !== '')
    .map(Number);
  if (isFortran === 'True' && shape.length > 1)
    throw invalid(
      reader.path,
      'its columns lie one after the other, wanted rows: save it with numpy.ascontiguousarray',
    );
  if (shape.length === 0 || !shape.every(Number.isSafeInteger))
    throw invalid(reader.path, 'found one number, wanted rows');
  return { kind, isBigEndian: order === '>', shape };
}

async function headerOf(path: string): Promise<NpyHeader> {
  const reader = byteReader(path);
  try {
    return await readHeader(reader);
  } finally {
    reader.close();
  }
}

async function* labelPieces(path: string, rows: number): AsyncGenerator<Int32Array> {
  const reader = byteReader(path);
  try {
    const header = await readHeader(reader);
    for (let at = 0; at < rows; at += LABEL_PIECE)
      yield Int32Array.from(await takeNumbers(reader, header, Math.min(LABEL_PIECE, rows - at)));
  } finally {
    reader.close();
  }
}

async function takeNumbers(
  { take }: ByteReader,
  { kind, isBigEndian }: NpyHeader,
  count: number,
): Promise<FeatureArray> {
  const width = Number(kind.slice(1));
  const bytes = await take(count * width);
  if (kind === 'u1') return bytes;
  // NumPy's booleans are 0 and 1; any other byte would count as true there.
  if (kind === 'b1') return bytes.map((byte) => Number(byte !== 0));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const numbers = new Float32Array(count);
  const read = READERS[kind];
  for (let i = 0; i < count; i++) numbers[i] = read(view, i * width, !isBigEndian);
  return numbers;
}

/** A number that 32 bits cannot hold has become infinite by now. */
function problemOf(values: FeatureArray, row: number, featureCount: number): string | undefined {
  if (values instanceof Uint8Array) return undefined;
  for (let i = 0; i < featureCount; i++) {
    if (!Number.isFinite(values[row * featureCount + i])) return `feature ${i}: found no number of 32 bits`;
  }
  return undefined;
}

/**
 * The file of labels beside an array.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` listing the names that were looked for
 */
export async function findLabels(path: string): Promise<string> {
  const stem = basename(path).replace(/\.npy$/i, '');
  const candidates = [`${stem}-labels.npy`, `${stem}_labels.npy`, 'labels.npy'].map((name) =>
    join(dirname(path), name),
  );
  for (const candidate of candidates) {
    if ((await stat(candidate).catch(() => undefined))?.isFile()) return candidate;
  }
  throw invalid(
    path,
    `found no ${candidates.map((each) => basename(each)).join(', ')} beside it: name it with --labels-path`,
  );
}

function isKind(text: string): text is NumberKind {
  return Object.hasOwn(READERS, text);
}

function invalid(path: string, message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', `${path}: ${message}`);
}
