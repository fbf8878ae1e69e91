import fc from 'fast-check';
import { expect, test } from 'vitest';
import { concat, toHex } from '../../../runtime/crypto/bytes.ts';
import { frame, Reader, sized, u8, u16, u32, u64 } from '../../../runtime/tpm/wire.ts';

test('reads what was written', () => {
  const unsigned64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 255 }),
      fc.integer({ min: 0, max: 65535 }),
      fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      unsigned64,
      fc.uint8Array(),
      (a, b, c, d, bytes) => {
        const reader = new Reader(concat(u8(a), u16(b), u32(c), u64(d), sized(bytes)), 'structure');
        expect([reader.u8(), reader.u16(), reader.u32(), reader.u64(), reader.sized()]).toEqual([a, b, c, d, bytes]);
        reader.end();
      },
    ),
  );
});

test('frames a command', () => {
  expect(toHex(frame(0x8001, 0x17b, u16(32)))).toBe('80010000000c0000017b0020');
});

test.each([
  ['a number', (reader: Reader) => reader.u32(), 'structure is truncated: 4 bytes wanted at offset 0, 3 left'],
  ['sized bytes', (reader: Reader) => reader.sized(), 'structure is truncated: 5 bytes wanted at offset 2, 1 left'],
  ['its end', (reader: Reader) => reader.end(), 'structure has 3 bytes too many'],
])('refuses to read %s that is not there', (_what, read, message) => {
  expect(() => read(new Reader(Uint8Array.of(0, 5, 1), 'structure'))).toThrow(
    expect.objectContaining({ code: 'EVIDENCE_MALFORMED', message }),
  );
});

test('gives copies, so that wiping the buffer leaves them', () => {
  const buffer = Uint8Array.of(0, 1, 7);
  const reader = new Reader(buffer, 'structure');
  const read = reader.sized();
  reader.wipe();
  expect([...buffer, ...read]).toEqual([0, 0, 0, 7]);
});
