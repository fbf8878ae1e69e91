import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeSafeTensors, encodeSafeTensors, type NamedTensor } from '../../../runtime/training/safetensors.ts';

const refused = (message: string) =>
  expect.objectContaining({ code: 'EVIDENCE_MALFORMED', message: expect.stringContaining(message) });

test('known bytes', () => {
  const tensors = [{ name: 'w', shape: [2], values: Float32Array.of(1, -2) }];
  const bytes = encodeSafeTensors({ tensors, metadata: { a: 'b' } });
  const header = '{"__metadata__":{"a":"b"},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}';
  const padded = header.padEnd(Math.ceil(header.length / 8) * 8, ' ');
  const expected = Buffer.concat([
    Buffer.from([padded.length, 0, 0, 0, 0, 0, 0, 0]),
    Buffer.from(padded),
    Buffer.from('0000803f000000c0', 'hex'),
  ]);
  expect(Buffer.from(bytes).toString('hex')).toBe(expected.toString('hex'));
});

test('every bit comes back, NaN and negative zero included, from any alignment', () => {
  const values = fc.oneof(fc.float32Array({ maxLength: 20 }), fc.int32Array({ maxLength: 20 }));
  fc.assert(
    fc.property(fc.array(values, { maxLength: 4 }), fc.integer({ min: 0, max: 3 }), (arrays, shift) => {
      const tensors: NamedTensor[] = arrays.map((array, i) => ({
        name: `t${i}`,
        shape: [array.length],
        values: array,
      }));
      const bytes = encodeSafeTensors({ tensors, metadata: { state: '{"step":1}' } });
      const shifted = new Uint8Array(bytes.length + shift);
      shifted.set(bytes, shift);
      const decoded = decodeSafeTensors(shifted.subarray(shift));
      expect(encodeSafeTensors(decoded)).toEqual(bytes);
    }),
  );
});

const good = encodeSafeTensors({ tensors: [{ name: 'w', shape: [2], values: Float32Array.of(1, 2) }], metadata: {} });

test('every truncation is refused', () => {
  for (let length = 0; length < good.length; length++) {
    expect(() => decodeSafeTensors(good.subarray(0, length))).toThrow(refused('safetensors: '));
  }
});

function withHeader(json: string, data = 8): Uint8Array {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, Buffer.from(json), Buffer.alloc(data)]);
}

test.each([
  ['no JSON', withHeader('{'), 'header is not JSON'],
  ['no object', withHeader('[]'), 'header is not an object'],
  ['huge header', Buffer.from('ffffffffffffffff', 'hex'), 'in a file of 8'],
  ['metadata with a number', withHeader('{"__metadata__":{"a":1}}', 0), '__metadata__ is not a map of text'],
  ['other dtype', withHeader('{"w":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}'), 'w has dtype "F64"'],
  ['wrong size', withHeader('{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}'), 'w has 8 bytes for shape [1]'],
  ['hole', withHeader('{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'), 'w lies at 4 to 8, wanted 0'],
  ['negative shape', withHeader('{"w":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}'), 'no valid shape'],
  [
    'bytes left over',
    withHeader('{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'),
    '4 bytes after the last tensor',
  ],
])('refuses: %s', (_, bytes, message) => {
  expect(() => decodeSafeTensors(new Uint8Array(bytes))).toThrow(refused(message));
});

test('refuses to write what it could not read', () => {
  const tensor = { name: 'w', shape: [3], values: Float32Array.of(1) };
  expect(() => encodeSafeTensors({ tensors: [tensor], metadata: {} })).toThrow(RangeError('w: 1 values for shape [3]'));
});
