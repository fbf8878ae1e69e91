import { constants, createSecretKey, generateKeyPairSync, privateDecrypt, publicEncrypt } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fromHex, toHex, utf8 } from '../../../runtime/crypto/bytes.ts';
import { kwpUnwrap, kwpWrap, unwrapCek, wrapCek } from '../../../runtime/crypto/key-wrap.ts';
import { generateCek } from '../../../runtime/crypto/sealed-object.ts';
import { rejection } from '../rejection.ts';

const kek = generateKeyPairSync('rsa', { modulusLength: 2048 });
const other = generateKeyPairSync('rsa', { modulusLength: 2048 });
const OAEP = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
const REFUSED = rejection('CIPHERTEXT_REJECTED', 'train.enc: its wrapped key is altered, or wrapped to another key');
const open = (wrapped: Uint8Array, key = kek.privateKey) => unwrapCek(wrapped, key, { name: 'train.enc' });

test('wraps the protocol before the key, and comes back', () => {
  const cek = createSecretKey(Uint8Array.from({ length: 32 }, (_, i) => i));
  const wrapped = wrapCek(cek, kek.publicKey);
  expect(wrapped.length).toBe(256);
  expect(toHex(privateDecrypt({ ...OAEP, key: kek.privateKey }, wrapped))).toBe(
    `322e300000000000${toHex(cek.export())}`,
  );
  expect(open(wrapped).equals(cek)).toBe(true);
  expect(unwrapCek(wrapCek(cek, kek.publicKey, '2.1'), kek.privateKey, { protocol: '2.1' }).equals(cek)).toBe(true);
});

test('one refusal for another key, another protocol, another length, any flipped byte', () => {
  const wrapped = wrapCek(generateCek(), kek.publicKey);
  expect(() => open(wrapped, other.privateKey)).toThrow(REFUSED);
  expect(() => open(wrapCek(generateCek(), kek.publicKey, '2.1'))).toThrow(REFUSED);
  expect(() => open(new Uint8Array(3))).toThrow(REFUSED);
  for (const plaintext of [utf8('2.0'), new Uint8Array(40), fromHex(`322e300000000000${'00'.repeat(31)}`)]) {
    expect(() => open(Uint8Array.from(publicEncrypt({ ...OAEP, key: kek.publicKey }, plaintext)))).toThrow(REFUSED);
  }
  fc.assert(
    fc.property(fc.nat(255), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      expect(() => open(wrapped.map((byte, i) => (i === at ? byte ^ mask : byte)))).toThrow(REFUSED);
    }),
    { numRuns: 20 },
  );
});

test('wraps nothing but 32 bytes', () => {
  expect(() => wrapCek(createSecretKey(new Uint8Array(16)), kek.publicKey)).toThrow('is 16 bytes, wanted 32');
});

// RFC 5649 section 6.
test.each([
  ['c37b7e6492584340bed12207808941155068f738', '138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a'],
  ['466f7250617369', 'afbeb0f07dfbf5419200f2ccb50bb24f'],
])('AES-KWP of the RFC: %s', (plaintext, wrapped) => {
  const key = fromHex('5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8');
  expect(toHex(kwpWrap(key, fromHex(plaintext)))).toBe(wrapped);
  expect(toHex(kwpUnwrap(key, fromHex(wrapped)))).toBe(plaintext);
});

test('AES-KWP of any length comes back; any flipped byte and any other length is refused', () => {
  const key = new Uint8Array(32).fill(7);
  const refused = rejection('CIPHERTEXT_REJECTED', 'the wrapped key is altered, or wrapped to another key');
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 2000 }), fc.nat(), (plaintext, pick) => {
      const wrapped = kwpWrap(key, plaintext);
      expect(toHex(kwpUnwrap(key, wrapped))).toBe(toHex(plaintext));
      const at = pick % wrapped.length;
      expect(() =>
        kwpUnwrap(
          key,
          wrapped.map((byte, i) => (i === at ? byte ^ 1 : byte)),
        ),
      ).toThrow(refused);
      expect(() => kwpUnwrap(key, wrapped.subarray(0, at))).toThrow(refused);
    }),
    { numRuns: 50 },
  );
  expect(() => kwpWrap(new Uint8Array(31), new Uint8Array(8))).toThrow('wrapping key is 31 bytes');
});
