import { expect, test } from 'vitest';
import { concat, utf8 } from '../../../runtime/crypto/bytes.ts';
import { encodeHdf5 } from '../../../scripts/model/hdf5.ts';
import { encodeKeras } from '../../../scripts/model/keras.ts';
import { readLayersModel } from '../../../scripts/model/layers-model.ts';
import { encodeZip } from '../../../scripts/model/zip.ts';
import { rejection } from '../../runtime/rejection.ts';

const VALUES = Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const WEIGHTS = new Uint8Array(VALUES.buffer);
const modelJson = (change: object = {}) =>
  utf8(
    JSON.stringify({
      modelTopology: {
        class_name: 'Sequential',
        config: {
          name: 'm',
          layers: [
            {
              class_name: 'Dense',
              config: { name: 'a', units: 2, batch_input_shape: [null, 2], dtype: 'float32', kernel_initializer: {} },
            },
            { class_name: 'BatchNormalization', config: { name: 'b' } },
            { class_name: 'Dense', config: { name: 'c', units: 1 } },
          ],
        },
        ...change,
      },
      weightsManifest: [
        {
          weights: [
            { name: 'a/kernel', shape: [2, 2], dtype: 'float32' },
            { name: 'c/kernel', shape: [2, 1], dtype: 'float32' },
            { name: 'b/gamma', shape: [2], dtype: 'float32' },
          ],
        },
      ],
    }),
  );
const text = (bytes: Uint8Array) => new TextDecoder('latin1').decode(bytes);

test('a layers model comes apart, and one whose parts do not fit is refused', () => {
  const { tensors } = readLayersModel(modelJson(), WEIGHTS);
  expect(tensors.map(({ name, values }) => [name, [...values]])).toEqual([
    ['a/kernel', [1, 2, 3, 4]],
    ['c/kernel', [5, 6]],
    ['b/gamma', [7, 8]],
  ]);
  expect(() => readLayersModel(modelJson(), WEIGHTS.subarray(4))).toThrow(
    rejection('EVIDENCE_MALFORMED', 'model: weights.bin ends before b/gamma'),
  );
  expect(() => readLayersModel(modelJson(), concat(WEIGHTS, WEIGHTS))).toThrow(
    rejection('EVIDENCE_MALFORMED', 'weights.bin has 32 bytes more than model.json says'),
  );
  expect(() => readLayersModel(utf8('{}'), WEIGHTS)).toThrow(rejection('EVIDENCE_MALFORMED', 'is no layers model'));
});

/** Files of an archive without compression, by its central directory. */
function unzip(archive: Uint8Array): Map<string, Uint8Array> {
  const view = new DataView(archive.buffer, archive.byteOffset);
  const end = archive.length - 22;
  expect(view.getUint32(end, true)).toBe(0x06054b50);
  const files = new Map<string, Uint8Array>();
  let at = view.getUint32(end + 16, true);
  for (let i = 0; i < view.getUint16(end + 10, true); i++) {
    const [size, nameLength, local] = [
      view.getUint32(at + 24, true),
      view.getUint16(at + 28, true),
      view.getUint32(at + 42, true),
    ];
    const start = local + 30 + view.getUint16(local + 26, true);
    files.set(text(archive.subarray(at + 46, at + 46 + nameLength)), archive.subarray(start, start + size));
    at += 46 + nameLength;
  }
  return files;
}

test('a Keras file has its layers by class and counter, and nothing that only training needs', () => {
  const model = readLayersModel(modelJson(), WEIGHTS);
  const file = encodeKeras(model);
  expect(encodeKeras(model)).toEqual(file);
  const files = unzip(file);
  expect([...files.keys()]).toEqual(['metadata.json', 'config.json', 'model.weights.h5']);
  const { config } = JSON.parse(text(files.get('config.json') ?? new Uint8Array()));
  expect(
    config.layers.map(({ class_name, config: each }: { class_name: string; config: object }) => [class_name, each]),
  ).toEqual([
    ['InputLayer', { name: 'input', batch_shape: [null, 2], dtype: 'float32' }],
    ['Dense', { name: 'a', units: 2 }],
    ['BatchNormalization', { name: 'b' }],
    ['Dense', { name: 'c', units: 1 }],
  ]);
  const weights = text(files.get('model.weights.h5') ?? new Uint8Array());
  for (const name of ['dense', 'dense_1', 'batch_normalization', 'vars', 'layers']) expect(weights).toContain(name);
});

test('what is no row of layers is no Keras file', () => {
  const graph = readLayersModel(modelJson({ class_name: 'Model' }), WEIGHTS);
  expect(() => encodeKeras(graph)).toThrow(
    rejection('CONFIG_INVALID', 'the model is of class Model, wanted Sequential'),
  );
});

test('hdf5: whole tensors at aligned places, the end where the superblock says', () => {
  const file = encodeHdf5([{ name: 'a/b', shape: [2], values: Int32Array.of(0x01020304, 5) }], ['empty']);
  const view = new DataView(file.buffer);
  expect([...file.subarray(0, 8)]).toEqual([0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a]);
  expect(view.getBigUint64(40, true)).toBe(BigInt(file.length));
  const at = text(file).indexOf('\x04\x03\x02\x01\x05');
  expect([at > 0, at % 8]).toEqual([true, 0]);
  const tensor = { shape: [1], values: Float32Array.of(1) };
  expect(() =>
    encodeHdf5([
      { ...tensor, name: 'a' },
      { ...tensor, name: 'a/b' },
    ]),
  ).toThrow('a is a tensor, wanted a group');
});

test('zip: the same files make the same bytes, and come back', () => {
  const files = [
    ['a.txt', utf8('a')],
    ['b', new Uint8Array(0)],
  ] as const;
  expect([...unzip(encodeZip(files))]).toEqual(files.map(([name, bytes]) => [name, bytes]));
});
