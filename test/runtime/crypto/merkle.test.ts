import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { concat, sha256, toHex } from '../../../runtime/crypto/bytes.ts';
import { leafHash, merkleRoot } from '../../../runtime/crypto/merkle.ts';

const leaf = (i: number) => sha256(Uint8Array.of(i));
const node = (l: Uint8Array, r: Uint8Array) => sha256(Uint8Array.of(1), l, r);

test('no leaves: SHA-256 of nothing', () => {
  expect(toHex(merkleRoot(new Uint8Array()))).toBe(createHash('sha256').digest('hex'));
});

test('splits as RFC 6962 does', () => {
  const [a, b, c, d, e] = [leaf(0), leaf(1), leaf(2), leaf(3), leaf(4)] as const;
  expect(merkleRoot(a)).toEqual(a);
  expect(merkleRoot(concat(a, b, c))).toEqual(node(node(a, b), c));
  expect(merkleRoot(concat(a, b, c, d, e))).toEqual(node(node(node(a, b), node(c, d)), e));
});

test('a leaf holds its place', () => {
  const region = Uint8Array.of(1, 2, 3);
  expect(toHex(leafHash(258, region))).toBe(toHex(sha256(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1, 2, 1, 2, 3))));
});

test('any changed leaf changes the root', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.nat(), (count, pick) => {
      const leaves = concat(...Array.from({ length: count }, (_, i) => leaf(i)));
      const at = pick % leaves.length;
      expect(merkleRoot(leaves.map((byte, i) => (i === at ? byte ^ 1 : byte)))).not.toEqual(merkleRoot(leaves));
    }),
  );
});

test('leaves are 32 bytes each', () => {
  expect(() => merkleRoot(new Uint8Array(33))).toThrow('leaves are 33 bytes, wanted a multiple of 32');
});
