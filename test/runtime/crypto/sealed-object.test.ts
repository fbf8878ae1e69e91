import { createCipheriv, createSecretKey } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { concat, fromHex, toHex, utf8 } from '../../../runtime/crypto/bytes.ts';
import { keyBinding } from '../../../runtime/crypto/key-binding.ts';
import { leafHash, merkleRoot } from '../../../runtime/crypto/merkle.ts';
import {
  checkLeaves,
  type ExpectedObject,
  generateCek,
  type NonceScheme,
  openBytes,
  openRegion,
  openRegions,
  REGION_LENGTH,
  sealBytes,
  sealedRange,
  sealedShape,
  sealRegion,
  sealStream,
} from '../../../runtime/crypto/sealed-object.ts';
import { rejection } from '../rejection.ts';

// Known answers of facts/crypto-formats.md 1.4: Node and PyCA cryptography agree on them.
const CEK = createSecretKey(Uint8Array.from({ length: 32 }, (_, i) => i));
const PLAINTEXT = utf8('Azure CSE v2.1 test vector: 40 bytes....');
const PYTHON = fromHex(
  '0000000000000000000000004fc6c0acd00cc0ee4d88df07361db1ed9896579434ea255bc920518471188c91' +
    '00000000000000000000000170a5cbdc3291536a615c6b19d8961a95ae937f6013d5c0b6d4c104c054550879' +
    '000000000000000000000002b0054b0e9a65f4ff90f4c443afe53433e328b0be49b7f969',
);
const JAVA_1 = fromHex('0000000000000001000000005478105d47f8bfe68b21a4bb8a0727ef4f6c18ec0daad2b66027ec2e4afb575d');
const DOTNET_0 = fromHex('000000000100000000000000a4ed00421be15d5b1bbd3944c3629282f3305d1642856856c93b8a814853f90a');
const ROOT = '5592dea27d0e59b8b99ec60e0e62ae6f7f37f52a48a2ab9568e0fe011b24e882';
const SHAPE = sealedShape(40, 16);
const EXPECTED: ExpectedObject = { name: 'train.enc', merkleRoot: fromHex(ROOT), shape: SHAPE };

async function* stream(...chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part);
  return concat(...parts);
}

/** Cuts bytes at arbitrary places. */
function cut(bytes: Uint8Array, lengths: readonly number[]): Uint8Array[] {
  const out: Uint8Array[] = [];
  let at = 0;
  for (const length of lengths) {
    out.push(bytes.subarray(at, at + length));
    at += length;
  }
  return [...out, bytes.subarray(at)];
}

test('seals the known answer, and its Merkle root', async () => {
  const { sealed, root, leaves, shape } = await sealBytes(PLAINTEXT, CEK, 16);
  expect(toHex(sealed)).toBe(toHex(PYTHON));
  expect(toHex(root)).toBe(ROOT);
  expect(leaves.length).toBe(96);
  expect(shape).toEqual({ plaintextSize: 40, ciphertextSize: 124, regionLength: 16, regionCount: 3 });
});

test('opens what each SDK writes, under its own nonce scheme only', () => {
  expect(openRegion(CEK, 1, JAVA_1, { nonceScheme: 'java' })).toEqual(PLAINTEXT.slice(16, 32));
  expect(openRegion(CEK, 0, DOTNET_0, { nonceScheme: 'dotnet' })).toEqual(PLAINTEXT.slice(0, 16));
  expect(openRegion(CEK, 1, sealRegion(CEK, 1, PLAINTEXT))).toEqual(PLAINTEXT);
  for (const [index, region] of [
    [1, JAVA_1],
    [0, DOTNET_0],
  ] as const) {
    expect(() => openRegion(CEK, index, region, { name: 'train.enc' })).toThrow(
      rejection('CIPHERTEXT_REJECTED', `train.enc: region ${index} is altered, or sealed under another key`),
    );
  }
});

// Sizes that the Python SDK was seen to make (facts/crypto-formats.md 1.1).
test.each([
  [0, 0, 0],
  [1, 29, 1],
  [4194304, 4194332, 1],
  [4194305, 4194361, 2],
  [10485767, 10485851, 3],
])('%i plaintext bytes become %i', (plaintextSize, ciphertextSize, regionCount) => {
  expect(sealedShape(plaintextSize)).toEqual({ plaintextSize, ciphertextSize, regionLength: 4194304, regionCount });
});

test('refuses sizes and regions that cannot be', () => {
  expect(() => sealedShape(-1)).toThrow(RangeError);
  expect(() => sealedShape(1, 15)).toThrow('region length is 15, wanted 16 to 67108864');
  expect(() => sealedRange(SHAPE, 3)).toThrow('region 3 is outside an object of 3 regions');
  expect(sealedRange(SHAPE, 2)).toEqual({ offset: 88, length: 36 });
});

test('any bytes come back, whole or in pieces', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 200 }),
      fc.integer({ min: 16, max: 70 }),
      fc.array(fc.nat(90), { maxLength: 8 }),
      async (plaintext, regionLength, cuts) => {
        const cek = generateCek();
        const whole = await sealBytes(plaintext, cek, regionLength);
        const streamed = sealStream(stream(...cut(plaintext, cuts)), cek, regionLength);
        expect(toHex(await collect(streamed))).toBe(toHex(whole.sealed));
        expect(toHex(streamed.summary().root)).toBe(toHex(whole.root));
        expect(streamed.summary().shape).toEqual(whole.shape);
        const expected = { merkleRoot: whole.root, leaves: whole.leaves, shape: whole.shape };
        expect(toHex(openBytes(whole.sealed, cek, expected))).toBe(toHex(plaintext));
        expect(toHex(await collect(openRegions(stream(...cut(whole.sealed, cuts)), cek, expected)))).toBe(
          toHex(plaintext),
        );
      },
    ),
    { numRuns: 30 },
  );
});

test('whole regions of 4 MiB and a rest, fed in odd pieces', async () => {
  const plaintext = new Uint8Array(2 * 4194304 + 100_000).map((_, i) => i >>> 5);
  const cek = generateCek();
  const sealing = sealStream(stream(...cut(plaintext, [1, 4194304, 999_999])), cek);
  const sealed = await collect(sealing);
  const { leaves, root, shape } = sealing.summary();
  const opened = await collect(
    openRegions(stream(...cut(sealed, [77, 5_000_000])), cek, { leaves, merkleRoot: root, shape }),
  );
  expect(Buffer.compare(opened, plaintext)).toBe(0);
});

// Around the length of a region, where a count may be off by one.
test.each([0, 1, REGION_LENGTH - 1, REGION_LENGTH, REGION_LENGTH + 1])(
  '%i bytes are sealed and come back',
  async (size) => {
    const plaintext = new Uint8Array(size).fill(7);
    const cek = generateCek();
    const { sealed, leaves, root, shape } = await sealBytes(plaintext, cek);
    expect(shape).toEqual(sealedShape(size));
    const expected = { leaves, merkleRoot: root, shape };
    expect(Buffer.compare(openBytes(sealed, cek, expected), plaintext)).toBe(0);
    const sealing = sealStream(stream(plaintext), cek);
    expect(Buffer.compare(await collect(sealing), sealed)).toBe(0);
    expect(Buffer.compare(await collect(openRegions(stream(sealed), cek, expected)), plaintext)).toBe(0);
    // A byte less and a byte more are another object.
    for (const other of [sealed.subarray(0, Math.max(0, sealed.length - 1)), concat(sealed, new Uint8Array(1))]) {
      if (other.length === sealed.length) continue;
      expect(() => openBytes(other, cek, expected)).toThrow(rejection('CIPHERTEXT_REJECTED'));
      await expect(collect(openRegions(stream(other), cek, expected))).rejects.toThrow(
        rejection('CIPHERTEXT_REJECTED'),
      );
    }
  },
);

/** Seals as an SDK of this scheme does, by Node's cipher alone. */
function sealAs(scheme: NonceScheme, plaintext: Uint8Array, regionLength: number): Uint8Array {
  const regions: Uint8Array[] = [];
  for (let i = 0; i * regionLength < plaintext.length; i++) {
    const nonce = Buffer.alloc(12);
    if (scheme === 'big-endian') nonce.writeUInt32BE(i, 8);
    if (scheme === 'java') nonce.writeBigUInt64BE(BigInt(i), 0);
    if (scheme === 'dotnet') nonce.writeBigUInt64LE(BigInt(i + 1), 4);
    const cipher = createCipheriv('aes-256-gcm', CEK, nonce, { authTagLength: 16 });
    const body = cipher.update(plaintext.subarray(i * regionLength, (i + 1) * regionLength));
    regions.push(concat(nonce, body, cipher.final(), cipher.getAuthTag()));
  }
  return concat(...regions);
}

const SCHEMES: readonly NonceScheme[] = ['big-endian', 'java', 'dotnet'];

test.each(SCHEMES)('a whole object of nonce scheme %s opens under that scheme and no other', async (scheme) => {
  const sealed = sealAs(scheme, PLAINTEXT, 16);
  const leaves = concat(...[0, 1, 2].map((i) => leafHash(i, sealed.subarray(i * 44, (i + 1) * 44))));
  const expected = { name: 'train.enc', leaves, merkleRoot: merkleRoot(leaves), shape: SHAPE };
  for (const nonceScheme of SCHEMES) {
    const whole = () => openBytes(sealed, CEK, { ...expected, nonceScheme });
    const pieces = collect(openRegions(stream(sealed), CEK, { ...expected, nonceScheme }));
    if (nonceScheme === scheme) {
      expect(toHex(whole())).toBe(toHex(PLAINTEXT));
      expect(toHex(await pieces)).toBe(toHex(PLAINTEXT));
    } else {
      const refused = rejection('CIPHERTEXT_REJECTED', 'is altered, or sealed under another key');
      expect(whole).toThrow(refused);
      await expect(pieces).rejects.toThrow(refused);
    }
  }
});

test('no byte of a region leaves before its tag is checked, even where the leaves say that it is whole', async () => {
  const { sealed } = await sealBytes(PLAINTEXT, CEK, 16);
  for (const bad of [0, 1, 2]) {
    // The leaves are of the altered bytes: only the tag can tell.
    const altered = sealed.map((byte, i) => (i === bad * 44 + 12 ? byte ^ 1 : byte));
    const leaves = concat(...[0, 1, 2].map((i) => leafHash(i, altered.subarray(i * 44, (i + 1) * 44))));
    const expected = { name: 'train.enc', leaves, merkleRoot: merkleRoot(leaves), shape: SHAPE };
    const seen: Uint8Array[] = [];
    const reading = async () => {
      for await (const piece of openRegions(stream(altered), CEK, expected)) seen.push(piece.slice());
    };
    await expect(reading()).rejects.toThrow(rejection('CIPHERTEXT_REJECTED', `train.enc: region ${bad} is altered`));
    expect(toHex(concat(...seen))).toBe(toHex(PLAINTEXT.subarray(0, bad * 16)));
    expect(() => openBytes(altered, CEK, expected)).toThrow(
      rejection('CIPHERTEXT_REJECTED', `region ${bad} is altered`),
    );
  }
});

test('a flipped byte is refused wherever it is', async () => {
  const { sealed, leaves } = await sealBytes(PLAINTEXT, CEK, 16);
  fc.assert(
    fc.property(fc.nat(sealed.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      const altered = sealed.map((byte, i) => (i === at ? byte ^ mask : byte));
      const region = Math.floor(at / 44);
      const refused = rejection('CIPHERTEXT_REJECTED', `train.enc: region ${region} `);
      expect(() => openBytes(altered, CEK, { ...EXPECTED, leaves })).toThrow(refused);
      expect(() => openBytes(altered, CEK, EXPECTED)).toThrow(rejection('CIPHERTEXT_REJECTED', 'train.enc: '));
      const { offset, length } = sealedRange(SHAPE, region);
      expect(() => openRegion(CEK, region, altered.subarray(offset, offset + length), EXPECTED)).toThrow(refused);
    }),
    { numRuns: 200 },
  );
});

test('a truncated or lengthened object is refused, at a region boundary too', async () => {
  const { sealed, leaves } = await sealBytes(PLAINTEXT, CEK, 16);
  for (const length of [0, 44, 88, 100, 123]) {
    const short = sealed.subarray(0, length);
    const refused = rejection('CIPHERTEXT_REJECTED', `train.enc: found ${length} sealed bytes, wanted 124`);
    expect(() => openBytes(short, CEK, { ...EXPECTED, leaves })).toThrow(refused);
    await expect(collect(openRegions(stream(short), CEK, { ...EXPECTED, leaves }))).rejects.toThrow(refused);
  }
  const long = openRegions(stream(sealed, sealed), CEK, { ...EXPECTED, leaves });
  await expect(collect(long)).rejects.toThrow(rejection('CIPHERTEXT_REJECTED', 'wanted 124'));
});

test('swapped, repeated and foreign regions are refused', async () => {
  const { sealed, leaves } = await sealBytes(PLAINTEXT.subarray(0, 32), CEK, 16);
  const [first, second] = [sealed.subarray(0, 44), sealed.subarray(44)];
  const shape = sealedShape(32, 16);
  const { root } = await sealBytes(PLAINTEXT.subarray(0, 32), CEK, 16);
  for (const regions of [concat(second, first), concat(first, first)]) {
    expect(() => openBytes(regions, CEK, { leaves, merkleRoot: root, shape })).toThrow(
      rejection('CIPHERTEXT_REJECTED'),
    );
  }
  expect(() => openRegion(CEK, 0, second)).toThrow(rejection('CIPHERTEXT_REJECTED', 'region 0'));
  expect(() => openBytes(PYTHON, generateCek(), EXPECTED)).toThrow(
    rejection('CIPHERTEXT_REJECTED', 'train.enc: region 0 is altered, or sealed under another key'),
  );
});

test('leaves that do not add up are refused before anything is read', async () => {
  const { sealed, leaves } = await sealBytes(PLAINTEXT, CEK, 16);
  const refused = rejection('CIPHERTEXT_REJECTED', 'train.enc: its leaf hashes do not add up to the signed root');
  for (const wrong of [
    leaves.map((byte, i) => (i === 40 ? byte ^ 1 : byte)),
    leaves.subarray(0, 64),
    new Uint8Array(),
  ]) {
    expect(() => checkLeaves(wrong, EXPECTED)).toThrow(refused);
    expect(() => openBytes(sealed, CEK, { ...EXPECTED, leaves: wrong })).toThrow(refused);
    await expect(collect(openRegions(stream(sealed), CEK, { ...EXPECTED, leaves: wrong }))).rejects.toThrow(refused);
  }
});

test.each([
  { plaintextSize: 41 },
  { plaintextSize: -1 },
  { plaintextSize: 2 ** 60 },
  { regionLength: 0 },
  { regionCount: 2 },
  { ciphertextSize: 1e15 },
])('sizes that do not fit together are refused: %o', (change) => {
  expect(() => openBytes(PYTHON, CEK, { ...EXPECTED, shape: { ...SHAPE, ...change } })).toThrow(
    rejection('CIPHERTEXT_REJECTED', 'train.enc: its stated sizes do not fit together'),
  );
});

test('a stream is sealed once, and says what it was only at its end', async () => {
  const sealing = sealStream(stream(PLAINTEXT), CEK, 16);
  expect(() => sealing.summary()).toThrow('not sealed to its end');
  await collect(sealing);
  expect(toHex(sealing.summary().root)).toBe(ROOT);
  await expect(collect(sealing)).rejects.toThrow('a key seals a stream once');
});

test('a tag of four bytes is no tag', () => {
  const region = PYTHON.subarray(0, 44);
  expect(() => openRegion(CEK, 0, region.subarray(0, 32))).toThrow(rejection('CIPHERTEXT_REJECTED', 'region 0'));
  expect(() => openRegion(CEK, 0, new Uint8Array(5))).toThrow(rejection('CIPHERTEXT_REJECTED', 'region 0'));
});

test('the key binding changes with every input', () => {
  const ownerId = 'A'.repeat(43);
  const input = { ownerId, name: 'a', merkleRoot: fromHex(ROOT), shape: SHAPE, nonceScheme: 'big-endian' as const };
  const bindings = [
    keyBinding(CEK, input),
    keyBinding(generateCek(), input),
    keyBinding(CEK, { ...input, ownerId: `B${'A'.repeat(42)}` }),
    keyBinding(CEK, { ...input, name: 'b' }),
    keyBinding(CEK, { ...input, merkleRoot: new Uint8Array(32) }),
    keyBinding(CEK, { ...input, nonceScheme: 'java' }),
    ...(['plaintextSize', 'ciphertextSize', 'regionLength', 'regionCount'] as const).map((size) =>
      keyBinding(CEK, { ...input, shape: { ...SHAPE, [size]: 7 } }),
    ),
  ];
  expect(new Set(bindings.map(toHex)).size).toBe(bindings.length);
  // Regression value, computed by Python's hmac over the layout of design section 4.
  expect(toHex(keyBinding(CEK, input))).toBe('d34e2c83aea8fc04d2e2ed966dbb60e6fd3d734e365765237f8f02988aa64e7f');
});
