import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Sharp, SharpConstructor } from 'sharp';
import { SecureTrainingError } from '../../errors.ts';
import type { ArrayBatch, ArraySource } from './array-source.ts';
import type { ImageColours, ImageSize } from './options.ts';

const IMAGE = /\.(?:png|jpe?g|webp|gif|tiff?|bmp)$/i;
const CHANNELS: Readonly<Record<ImageColours, number>> = { grey: 1, rgb: 3 };
/** Images decoded at once: as many as Node has threads for it. */
const AT_ONCE = 4;
/** Memory of a batch, whatever the size of an image. */
const BATCH_BYTES = 16_777_216;

interface ImageFile {
  readonly path: string;
  readonly label: number;
}

/**
 * Opens a folder with one folder of images for each class. Pixels are bytes, row by row, colours side by side.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when there are fewer than two classes or one without images
 */
export async function openImageFolder(
  folder: string,
  given: { readonly imageSize: ImageSize | undefined; readonly imageColours: ImageColours | undefined },
): Promise<ArraySource> {
  const { classNames, files } = await listImages(folder);
  const sharp = await loadSharp();
  // Asked only where something is left open: the first image may be the one that cannot be read.
  const isSettled = given.imageSize !== undefined && given.imageColours !== undefined;
  const first = isSettled ? undefined : await describe(sharp, files[0]?.path ?? folder);
  const { width, height } = given.imageSize ?? first ?? { width: 0, height: 0 };
  const colours = given.imageColours ?? first?.colours ?? 'rgb';
  const featureCount = width * height * CHANNELS[colours];
  const decode = (path: string) => decodeImage(sharp, path, { width, height }, colours, given.imageSize !== undefined);
  return {
    rows: files.length,
    featureCount,
    dtype: 'uint8',
    classNames,
    shape: [height, width, CHANNELS[colours]],
    hasTestRows: false,
    async *labels() {
      yield Int32Array.from(files, ({ label }) => label);
    },
    async *batches(batchRows) {
      const step = Math.max(1, Math.min(batchRows, Math.floor(BATCH_BYTES / featureCount)));
      for (let start = 0; start < files.length; start += step)
        yield await decodeBatch(files.slice(start, start + step), featureCount, decode);
    },
  };
}

async function listImages(folder: string): Promise<{ classNames: readonly string[]; files: readonly ImageFile[] }> {
  const entries = await readdir(folder, { withFileTypes: true });
  const classNames = entries
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
    .map(({ name }) => name)
    .sort();
  if (classNames.length < 2)
    throw invalid(`${folder}: found ${classNames.length} folders, wanted at least 2, one of images for each class`);
  const files: ImageFile[] = [];
  for (const [label, name] of classNames.entries()) {
    const images = (await readdir(join(folder, name))).filter((file) => IMAGE.test(file)).sort();
    if (images.length === 0) throw invalid(`${join(folder, name)}: found no images`);
    files.push(...images.map((file) => ({ path: join(folder, name, file), label })));
  }
  return { classNames, files };
}

/** Same pixels on every machine: no shortcuts of a processor's own. Nothing of an image stays in memory. */
async function loadSharp(): Promise<SharpConstructor> {
  // Loaded on demand: its library is large, and most data is text.
  const { default: sharp } = await import('sharp');
  sharp.simd(false);
  sharp.cache(false);
  sharp.concurrency(1);
  return sharp;
}

function openImage(sharp: SharpConstructor, path: string): Sharp {
  return sharp(path, { failOn: 'warning', sequentialRead: true }).autoOrient();
}

async function describe(sharp: SharpConstructor, path: string): Promise<ImageSize & { colours: ImageColours }> {
  try {
    const { autoOrient, space } = await openImage(sharp, path).metadata();
    return { ...autoOrient, colours: space === 'b-w' || space === 'grey16' ? 'grey' : 'rgb' };
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', `${path}: it is no image that can be read`, { cause });
  }
}

/** The pixels, or what is wrong with the image. */
async function decodeImage(
  sharp: SharpConstructor,
  path: string,
  { width, height }: ImageSize,
  colours: ImageColours,
  resizes: boolean,
): Promise<Uint8Array | string> {
  try {
    const image = openImage(sharp, path).flatten({ background: '#000' });
    if (resizes) image.resize(width, height, { fit: 'fill' });
    const { data, info } = await image
      .toColourspace(colours === 'grey' ? 'b-w' : 'srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    if (info.width !== width || info.height !== height)
      return `found ${info.width}x${info.height} pixels, wanted ${width}x${height}; --image-size stretches all images to one size`;
    if (info.channels !== CHANNELS[colours]) return `found ${info.channels} colours, wanted ${CHANNELS[colours]}`;
    return data;
  } catch {
    // What the decoder says may quote what is in the file.
    return 'it is no image that can be read';
  }
}

async function decodeBatch(
  files: readonly ImageFile[],
  featureCount: number,
  decode: (path: string) => Promise<Uint8Array | string>,
): Promise<ArrayBatch> {
  const features = new Uint8Array(files.length * featureCount);
  const problems = new Map<number, string>();
  for (let start = 0; start < files.length; start += AT_ONCE) {
    const decoded = await Promise.all(files.slice(start, start + AT_ONCE).map(({ path }) => decode(path)));
    decoded.forEach((result, i) => {
      if (typeof result === 'string') problems.set(start + i, result);
      else features.set(result, (start + i) * featureCount);
    });
  }
  return {
    features,
    labels: Int32Array.from(files, ({ label }) => label),
    isTest: false,
    name: files[0]?.path ?? '',
    place: (row) => ({ file: files[row]?.path ?? '' }),
    problem: (row) => problems.get(row),
  };
}

function invalid(message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', message);
}
