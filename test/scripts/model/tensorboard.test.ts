import fc from 'fast-check';
import { expect, test } from 'vitest';
import { utf8 } from '../../../runtime/crypto/bytes.ts';
import { crc32c, encodeEventFile, eventFileName } from '../../../scripts/model/tensorboard.ts';

const STARTED = new Date('2026-11-24T03:08:26.000Z');

/** Known answers of RFC 3720, appendix B.4, and of the usual check string. */
test.each([
  [new Uint8Array(32), 0x8a9136aa],
  [new Uint8Array(32).fill(0xff), 0x62a8ab43],
  [Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
  [utf8('123456789'), 0xe3069283],
])('crc-32c', (bytes, expected) => {
  expect(crc32c(bytes)).toBe(expected);
});

/** A reader of its own for records, with both checksums unmasked and compared. */
function records(file: Uint8Array): Uint8Array[] {
  const view = new DataView(file.buffer, file.byteOffset);
  const check = (bytes: Uint8Array, at: number) => {
    const unmasked = (view.getUint32(at, true) - 0xa282ead8) >>> 0;
    expect(((unmasked << 15) | (unmasked >>> 17)) >>> 0).toBe(crc32c(bytes));
  };
  const found: Uint8Array[] = [];
  for (let at = 0; at < file.length; ) {
    const length = Number(view.getBigUint64(at, true));
    check(file.subarray(at, at + 8), at + 8);
    const data = file.subarray(at + 12, at + 12 + length);
    check(data, at + 12 + length);
    found.push(data);
    at += 16 + length;
  }
  return found;
}

/** Fields of a protobuf message (protobuf.dev/programming-guides/encoding): number, bytes or text by field number. */
function fields(message: Uint8Array): Map<number, number | Uint8Array> {
  const view = new DataView(message.buffer, message.byteOffset);
  const found = new Map<number, number | Uint8Array>();
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message[at++] ?? 0;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const wire = tag & 7;
    if (wire === 0) found.set(tag >> 3, varint());
    else if (wire === 1) {
      found.set(tag >> 3, view.getFloat64(at, true));
      at += 8;
    } else if (wire === 5) {
      found.set(tag >> 3, view.getFloat32(at, true));
      at += 4;
    } else {
      const length = varint();
      found.set(tag >> 3, message.subarray(at, at + length));
      at += length;
    }
  }
  return found;
}

const bytesAt = (message: Uint8Array, ...path: readonly number[]) =>
  path.reduce((inner, field) => fields(inner).get(field) as Uint8Array, message);

const point = fc.record({
  name: fc.stringMatching(/^[a-z_]{1,30}$/),
  step: fc.integer({ min: 0, max: 2 ** 40 }),
  value: fc.float({ noNaN: true, noDefaultInfinity: true }),
  at: fc.date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true }).map((date) => date.toISOString()),
});

test('every point comes back from an event file', () => {
  fc.assert(
    fc.property(fc.array(point, { maxLength: 20 }), (points) => {
      const [version = new Uint8Array(), ...events] = records(encodeEventFile(points, STARTED));
      expect(new TextDecoder().decode(bytesAt(version, 3))).toBe('brain.Event:2');
      expect(
        events.map((event) => {
          const summary = fields(bytesAt(event, 5, 1));
          return {
            name: new TextDecoder().decode(summary.get(1) as Uint8Array),
            step: fields(event).get(2),
            value: summary.get(2),
            at: new Date(Math.round((fields(event).get(1) as number) * 1000)).toISOString(),
          };
        }),
      ).toEqual(points.map((each) => ({ ...each, value: Math.fround(each.value) })));
    }),
    { numRuns: 30 },
  );
});

test('a name that TensorBoard looks for, and no host in it', () => {
  expect(eventFileName(STARTED)).toBe('events.out.tfevents.1795489706.ctrain');
});
