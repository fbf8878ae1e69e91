import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SecureTrainingError } from '../../errors.ts';
import type { ArraySource } from './array-source.ts';
import { type ByteReader, byteReader } from './byte-reader.ts';

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
const LABEL_PIECE = 65_536;

/** One pair of files: images and their labels. */
interface IdxPair {
  readonly imagesPath: string;
  readonly labelsPath: string;
  /** Whether these are the rows set apart for testing. */
  readonly isTest: boolean;
}

/**
 * Pairs the images and labels files of a folder, train before test.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when there is no pair, or half of one
 */
async function findIdxPairs(folder: string): Promise<IdxPair[]> {
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

/**
 * Opens all pairs of a folder. Rows of t10k and test stay test rows.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when headers are wrong, or do not fit each other
 */
export async function openIdx(folder: string): Promise<ArraySource> {
  const pairs = await findIdxPairs(folder);
  const sizes: Sizes[] = [];
  for (const pair of pairs) sizes.push(await sizesOf(pair));
  const { featureCount = 0, shape = [] } = sizes[0] ?? {};
  sizes.forEach((found, i) => {
    if (found.featureCount === featureCount) return;
    throw invalid(
      pairs[i]?.imagesPath ?? folder,
      `found ${found.featureCount} pixels an image, wanted ${featureCount} as in ${pairs[0]?.imagesPath}`,
    );
  });
  return {
    rows: sizes.reduce((sum, { rows }) => sum + rows, 0),
    featureCount,
    dtype: 'uint8',
    shape,
    hasTestRows: pairs.some(({ isTest }) => isTest),
    async *labels() {
      for (const { labelsPath } of pairs) {
        const reader = byteReader(labelsPath);
        try {
          const [rows = 0] = await readHeader(reader, LABEL_DIMENSIONS);
          for (let at = 0; at < rows; at += LABEL_PIECE)
            yield Int32Array.from(await reader.take(Math.min(LABEL_PIECE, rows - at)));
        } finally {
          reader.close();
        }
      }
    },
    async *batches(batchRows) {
      for (const pair of pairs) {
        const { images, labels, close } = openPair(pair);
        try {
          const { rows } = await readSizes(images, labels);
          for (let start = 0; start < rows; start += batchRows) {
            const count = Math.min(batchRows, rows - start);
            yield {
              features: await images.take(count * featureCount),
              labels: Int32Array.from(await labels.take(count)),
              isTest: pair.isTest,
              name: basename(pair.imagesPath),
              place: (row) => ({ file: pair.labelsPath, row: start + row }),
            };
          }
          await images.end();
          await labels.end();
        } finally {
          close();
        }
      }
    },
  };
}

interface Sizes {
  readonly rows: number;
  readonly featureCount: number;
  readonly shape: readonly number[];
}

function openPair(pair: IdxPair) {
  const images = byteReader(pair.imagesPath);
  const labels = byteReader(pair.labelsPath);
  return {
    images,
    labels,
    close() {
      images.close();
      labels.close();
    },
  };
}

async function sizesOf(pair: IdxPair): Promise<Sizes> {
  const { images, labels, close } = openPair(pair);
  try {
    return await readSizes(images, labels);
  } finally {
    close();
  }
}

async function readSizes(images: ByteReader, labels: ByteReader): Promise<Sizes> {
  const [rows = 0, ...shape] = await readHeader(images, IMAGE_DIMENSIONS);
  const [labelRows = 0] = await readHeader(labels, LABEL_DIMENSIONS);
  const featureCount = shape.reduce((product, size) => product * size, 1);
  if (rows === 0 || featureCount === 0) throw invalid(images.path, 'it is empty');
  if (featureCount > MAXIMUM_PIXELS)
    throw invalid(images.path, `found ${featureCount} pixels an image, wanted at most ${MAXIMUM_PIXELS}`);
  if (labelRows !== rows) throw invalid(labels.path, `found ${labelRows} labels, wanted ${rows} as there are images`);
  return { rows, featureCount, shape };
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

function invalid(path: string, message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', `${path}: ${message}`);
}
