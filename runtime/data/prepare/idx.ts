import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { createGunzip } from 'node:zlib';
import { SecureTrainingError } from '../../errors.ts';
import type { Rows } from '../arrow-shard.ts';

/**
 * IDX, the format of the MNIST files (http://yann.lecun.com/exdb/mnist, "file formats for the MNIST database"):
 * two zero bytes, type, number of dimensions, then each dimension as u32be, then the values.
 */
const TYPE_UINT8 = 0x08;
const IMAGE_DIMENSIONS = 3;
const LABEL_DIMENSIONS = 1;
const IMAGES = /^(.*)-images[-.]idx3-ubyte(?:\.gz)?$/;
/** The original's name for the test set. */
const TEST_STEM = /^(?:t10k|test)$/;
/** More than any image a fully connected model takes; a wrong header must not ask for gigabytes. */
const MAXIMUM_PIXELS = 16_777_216;

/** One pair of files: images and their labels. */
export interface IdxPair {
  readonly imagesPath: string;
  readonly labelsPath: string;
  /** Whether these are the rows set apart for testing. */
  readonly isTest: boolean;
}

/** Images of one pair, opened: sizes are known, rows follow. */
export interface IdxFile {
  readonly rows: number;
  readonly featureCount: number;
  /** The last batch may be smaller. Each batch is fresh memory. */
  batches(batchRows: number): AsyncIterable<Rows>;
  close(): void;
}

/**
 * Pairs the images and labels files of a folder, train before test.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when there is no pair, or half of one
 */
export async function findIdxPairs(folder: string): Promise<IdxPair[]> {
  const names = (await readdir(folder)).sort();
  const pairs: IdxPair[] = [];
  for (const name of names) {
    const stem = IMAGES.exec(name)?.[1];
    if (stem === undefined) continue;
    const wanted = new RegExp(`^${stem.replace(/[^a-z0-9]/gi, '\\$&')}-labels[-.]idx1-ubyte(?:\\.gz)?$`);
    const labels = names.find((candidate) => wanted.test(candidate));
    if (labels === undefined) throw invalid(join(folder, name), `no ${stem}-labels-idx1-ubyte beside it`);
    // A folder may hold both the packed and the unpacked file: one of them is enough.
    if (pairs.some((pair) => basename(pair.imagesPath) === name.replace(/\.gz$/, ''))) continue;
    pairs.push({ imagesPath: join(folder, name), labelsPath: join(folder, labels), isTest: TEST_STEM.test(stem) });
  }
  if (pairs.every((pair) => pair.isTest)) {
    throw invalid(folder, 'found no NAME-images-idx3-ubyte with NAME-labels-idx1-ubyte to train on');
  }
  return pairs.sort((a, b) => Number(a.isTest) - Number(b.isTest));
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` unless both headers are right and say the same number of rows */
export async function openIdx(pair: IdxPair): Promise<IdxFile> {
  const images = byteReader(pair.imagesPath);
  const labels = byteReader(pair.labelsPath);
  const close = () => {
    images.close();
    labels.close();
  };
  try {
    const [rows = 0, ...shape] = await readHeader(images, IMAGE_DIMENSIONS);
    const [labelRows = 0] = await readHeader(labels, LABEL_DIMENSIONS);
    const featureCount = shape.reduce((product, size) => product * size, 1);
    if (rows === 0 || featureCount === 0) throw invalid(images.path, 'it is empty');
    if (featureCount > MAXIMUM_PIXELS)
      throw invalid(images.path, `found ${featureCount} pixels an image, wanted at most ${MAXIMUM_PIXELS}`);
    if (labelRows !== rows) throw invalid(labels.path, `found ${labelRows} labels, wanted ${rows} as there are images`);
    return {
      rows,
      featureCount,
      close,
      async *batches(batchRows) {
        for (let start = 0; start < rows; start += batchRows) {
          const count = Math.min(batchRows, rows - start);
          const features = await images.take(count * featureCount);
          yield { features, featureCount, labels: Int32Array.from(await labels.take(count)) };
        }
        await images.end();
        await labels.end();
      },
    };
  } catch (error) {
    close();
    throw error;
  }
}

async function readHeader(reader: ByteReader, dimensions: number): Promise<number[]> {
  const magic = await reader.take(4);
  if (magic[0] !== 0 || magic[1] !== 0 || magic[2] !== TYPE_UINT8 || magic[3] !== dimensions) {
    throw invalid(
      reader.path,
      `it is not an idx file of unsigned bytes with ${dimensions} dimension${dimensions === 1 ? '' : 's'}`,
    );
  }
  const sizes = await reader.take(4 * dimensions);
  const view = new DataView(sizes.buffer, sizes.byteOffset);
  return Array.from({ length: dimensions }, (_, i) => view.getUint32(4 * i));
}

interface ByteReader {
  readonly path: string;
  /** Exactly `count` bytes, in fresh memory. */
  take(count: number): Promise<Uint8Array>;
  /** Fails when bytes are left. */
  end(): Promise<void>;
  close(): void;
}

/** Reads a file, unpacked on the way when its name ends in `.gz`, in pieces of the asker's size. */
function byteReader(path: string): ByteReader {
  const file = createReadStream(path, { highWaterMark: 1_048_576 });
  const source = path.endsWith('.gz') ? file.pipe(createGunzip({ chunkSize: 262_144 })) : file;
  if (source !== file) file.once('error', (error) => source.destroy(error));
  const chunks = (source as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array(0);
  const more = async (): Promise<boolean> => {
    let next: IteratorResult<Uint8Array>;
    try {
      next = await chunks.next();
    } catch (cause) {
      throw new SecureTrainingError('CONFIG_INVALID', `${path} cannot be read`, { cause });
    }
    if (next.done !== true) rest = next.value;
    return next.done !== true;
  };
  return {
    path,
    async take(count) {
      const out = new Uint8Array(count);
      for (let filled = 0; filled < count; ) {
        if (rest.length === 0 && !(await more())) throw invalid(path, 'it ends too early');
        const part = rest.subarray(0, count - filled);
        out.set(part, filled);
        filled += part.length;
        rest = rest.subarray(part.length);
      }
      return out;
    },
    async end() {
      if (rest.length > 0 || (await more())) throw invalid(path, 'it is longer than its header says');
    },
    close() {
      file.destroy();
      source.destroy();
    },
  };
}

function invalid(path: string, message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', `${path}: ${message}`);
}
