import { mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import sharp from 'sharp';
import { beforeEach, describe, expect, test } from 'vitest';
import { readArrowFile } from '../../../../runtime/data/arrow-file.ts';
import { byteReader } from '../../../../runtime/data/prepare/byte-reader.ts';
import { readHeader } from '../../../../runtime/data/prepare/npy.ts';
import type { PrepareOptions } from '../../../../runtime/data/prepare/options.ts';
import { prepareData } from '../../../../runtime/data/prepare/prepare.ts';
import { parseImageSize } from '../../../../runtime/data/prepare/settings.ts';
import { SPLITS } from '../../../../runtime/statements/manifest.ts';
import { rejection } from '../../rejection.ts';

let folder: string;
let output: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ctrain-arrays-'));
  output = join(folder, 'processed');
});

/** https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, version 1.0. */
function npy(descr: string, shape: readonly number[], data: Uint8Array, fortran = 'False'): Uint8Array {
  const text = `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': (${shape.join(', ')}${shape.length === 1 ? ',' : ''}), }`;
  const header = `${text.padEnd(Math.ceil((text.length + 11) / 64) * 64 - 11)}\n`;
  const length = Buffer.alloc(2);
  length.writeUInt16LE(header.length);
  return Buffer.concat([Buffer.of(0x93), Buffer.from('NUMPY'), Buffer.of(1, 0), length, Buffer.from(header), data]);
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) =>
  new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);

const LABELS = BigInt64Array.from({ length: 60 }, (_, i) => BigInt(i % 3));
const labels = (shape = [60]) => npy('<i8', shape, bytesOf(LABELS));

async function prepare(array: Uint8Array, given: Uint8Array = labels(), options: Partial<PrepareOptions> = {}) {
  await writeFile(join(folder, 'x.npy'), array);
  await writeFile(join(folder, 'labels.npy'), given);
  return prepareData({ inputPath: join(folder, 'x.npy'), outputDir: output, ...options });
}

async function allRows(): Promise<string[]> {
  const rows: string[] = [];
  for (const split of SPLITS) {
    for await (const { features, labels: found, featureCount } of readArrowFile(join(output, `${split}.arrow`))) {
      found.forEach((label, r) => {
        rows.push(`${features.subarray(r * featureCount, (r + 1) * featureCount).join()}:${label}`);
      });
    }
  }
  return rows.sort();
}

describe('npy', () => {
  const values = Array.from({ length: 240 }, (_, i) => (i * 37) % 120);
  const expected = Array.from({ length: 60 }, (_, i) => `${values.slice(4 * i, 4 * i + 4).join()}:${i % 3}`).sort();
  const swapped = Buffer.from(bytesOf(Float64Array.from(values))).swap64();

  test.each<[string, Uint8Array, string]>([
    ['|u1', Uint8Array.from(values), 'uint8'],
    ['|i1', bytesOf(Int8Array.from(values)), 'float32'],
    ['<u2', bytesOf(Uint16Array.from(values)), 'float32'],
    ['<i4', bytesOf(Int32Array.from(values)), 'float32'],
    ['<f2', bytesOf(Float16Array.from(values)), 'float32'],
    ['<f4', bytesOf(Float32Array.from(values)), 'float32'],
    ['<f8', bytesOf(Float64Array.from(values)), 'float32'],
    ['>f8', swapped, 'float32'],
  ])('numbers of type %s', async (descr, data, dtype) => {
    const { description } = await prepare(npy(descr, [60, 2, 2], data));
    expect(description.schema).toMatchObject({ featureCount: 4, dtype, classes: ['0', '1', '2'] });
    expect(description.preparation).toMatchObject({ type: 'npy', shape: [2, 2] });
    expect(await allRows()).toEqual(expected);
  });

  const good = npy('|u1', [60, 4], Uint8Array.from(values));
  test.each<[string, Uint8Array, Uint8Array, string]>([
    ['another file', Buffer.from('SECRET, not npy'), labels(), 'x.npy: it is no npy file of version 1 to 3'],
    ['a cut file', good.subarray(0, good.length - 1), labels(), 'x.npy: it ends too early'],
    ['a long file', Buffer.concat([good, Buffer.of(0)]), labels(), 'x.npy: it is longer than its header says'],
    ['objects', npy('|O', [60, 4], Uint8Array.from(values)), labels(), 'x.npy: found a header of something else'],
    ['text', npy('<U8', [60, 4], Uint8Array.from(values)), labels(), 'x.npy: found numbers of type U8, wanted b1, u1'],
    [
      'columns first',
      npy('|u1', [60, 4], Uint8Array.from(values), 'True'),
      labels(),
      'x.npy: its columns lie one after',
    ],
    ['no rows', npy('|u1', [0, 4], new Uint8Array()), labels(), 'x.npy: it is empty'],
    ['other labels', good, labels([30, 2]), 'labels.npy: found shape (30, 2), wanted one label for each of 60 rows'],
    ['fractions for labels', good, npy('<f4', [60], new Uint8Array(240)), 'labels.npy: found fractions'],
    ['not a number', npy('<f4', [60, 1], bytesOf(new Float32Array(60).fill(Number.NaN))), labels(), 'x.npy row 0'],
  ])('refuses %s', async (_, array, given, message) => {
    await expect(prepare(array, given)).rejects.toThrow(rejection('CONFIG_INVALID', message));
    expect((await readdir(folder)).sort()).toEqual(['labels.npy', 'x.npy']);
  });

  test('refuses a file without labels', async () => {
    await writeFile(join(folder, 'x.npy'), good);
    await expect(prepareData({ inputPath: join(folder, 'x.npy'), outputDir: output })).rejects.toThrow(
      rejection('CONFIG_INVALID', 'labels'),
    );
  });

  test('any header is read or refused, and any bytes are', async () => {
    const path = join(folder, 'any.npy');
    const shape = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(shape, fc.option(fc.tuple(fc.nat(80), fc.nat(255))), async (sizes, change) => {
        const bytes = npy('<f4', sizes, new Uint8Array());
        if (change !== null) bytes[change[0]] = change[1];
        await writeFile(path, bytes);
        const reader = byteReader(path);
        const read = readHeader(reader).finally(() => reader.close());
        if (change === null) expect(await read).toEqual({ kind: 'f4', isBigEndian: false, shape: sizes });
        else await read.catch((error) => expect(error).toMatchObject({ code: 'CONFIG_INVALID' }));
      }),
      { numRuns: 60 },
    );
  });
});

describe('images', () => {
  const put = async (
    name: string,
    pixels: readonly number[],
    { width = 3, height = 2, channels = 1 as 1 | 3 } = {},
  ) => {
    const path = join(folder, 'photos', name);
    await mkdir(dirname(path), { recursive: true });
    const image = sharp(Uint8Array.from(pixels), { raw: { width, height, channels } });
    await image
      .toColourspace(channels === 1 ? 'b-w' : 'srgb')
      .png()
      .toFile(path);
  };
  const grey = (i: number) => [i, 1, 2, 3, 4, 255 - i];
  const fill = async (count = 40) => {
    for (let i = 0; i < count; i++) await put(`${i % 2 === 0 ? 'cat' : 'dog'}/${i}.png`, grey(i));
  };
  const prepareImages = (options: Partial<PrepareOptions> = {}) =>
    prepareData({ inputPath: join(folder, 'photos'), outputDir: output, split: [1, 1, 1], ...options });

  test('a folder for each class; pixels as they are', async () => {
    await fill();
    const { description } = await prepareImages();
    expect(description.schema).toMatchObject({ featureCount: 6, dtype: 'uint8', classes: ['cat', 'dog'] });
    expect(description.preparation).toMatchObject({ type: 'images', shape: [2, 3, 1] });
    expect(await allRows()).toEqual(Array.from({ length: 40 }, (_, i) => `${grey(i).join()}:${i % 2}`).sort());
  });

  test('other sizes and colours are made alike where that is asked for', async () => {
    await fill();
    const pixels = Array.from({ length: 5 * 4 * 3 }, () => 200);
    await put('dog/large.png', pixels, { width: 5, height: 4, channels: 3 });
    await expect(prepareImages()).rejects.toThrow(
      rejection('CONFIG_INVALID', 'large.png', 'found 5x4 pixels, wanted 3x2; --image-size stretches'),
    );
    const { description } = await prepareImages({ imageSize: { width: 2, height: 2 }, imageColours: 'rgb' });
    expect(description.schema.featureCount).toBe(12);
    expect(await allRows()).toContain(`${new Array(12).fill(200).join()}:1`);
  });

  test('a damaged image is refused, or put aside with its name', async () => {
    await fill();
    await writeFile(join(folder, 'photos/cat/0.png'), 'SECRET');
    await put('cat/00.png', grey(7));
    const whole = await readFile(join(folder, 'photos/cat/10.png'));
    await writeFile(join(folder, 'photos/cat/10.png'), whole.subarray(0, whole.length - 20));
    await expect(prepareImages()).rejects.toThrow(rejection('CONFIG_INVALID', '0.png'));
    const { report, rows } = await prepareImages({
      onBadRow: 'reject',
      maxRejected: { rows: 2 },
      imageSize: { width: 3, height: 2 },
      imageColours: 'grey',
    });
    expect([rows, report.rejected]).toEqual([39, 2]);
    const listed = await readFile(join(output, 'rejected.jsonl'), 'utf8');
    expect(listed).toContain('10.png","reason":"it is no image that can be read"');
    expect(listed).not.toContain('SECRET');
  });

  test.each([
    ['no classes', async () => put('a.png', grey(1)), 'photos'],
    ['an empty class', async () => [await fill(), await mkdir(join(folder, 'photos/empty'))], 'empty: found no images'],
  ])('refuses %s', async (_, make, message) => {
    await make();
    await expect(prepareImages({ dataType: 'images' })).rejects.toThrow(rejection('CONFIG_INVALID', message));
  });

  test.each(['28', '0x4', '28x', 'axb', '9999x1', '-1x2'])('refuses the size %j', (text) => {
    expect(() => parseImageSize(text)).toThrow(rejection('CONFIG_INVALID', `image size: found '${text}'`));
  });
});
