/**
 * Sealed objects: Azure Storage client-side encryption, protocol 2 (azure-sdk-for-python `_encryption.py`,
 * azure-sdk-for-java `EncryptorV2.java`). A sealed object is regions one after the other, each
 * `nonce(12) | AES-256-GCM ciphertext | tag(16)` over up to 4 MiB of plaintext; nothing else is authenticated with them.
 * What that leaves open (order across readers, truncation, swaps) the Merkle root of the signed manifest closes.
 */
import { createCipheriv, createDecipheriv, createHash, generateKeySync, type Hash, type KeyObject } from 'node:crypto';
import { SecureTrainingError } from '../errors.ts';
import { concat, equalBytes, uintBe } from './bytes.ts';
import { HASH_LENGTH, leafHash, leafPrefix, merkleRoot } from './merkle.ts';
import { exactly, inRegions } from './regions.ts';

/** Plaintext bytes of a region: fixed by protocol 2.0. */
export const REGION_LENGTH = 4_194_304;
export const NONCE_LENGTH = 12;
export const TAG_LENGTH = 16;
/** Shortest and longest region that is taken: longer ones would let a header decide how much memory a reader needs. */
export const REGION_LIMITS = [16, 67_108_864] as const;

const OVERHEAD = NONCE_LENGTH + TAG_LENGTH;
const CIPHER = 'aes-256-gcm';
/** Bytes given to the cipher at once: its output is copied while it is still in the processor's cache. */
const STRIDE = 131_072;

/**
 * How a region's index becomes its nonce; the SDKs disagree. `big-endian` (Python's) is what we write.
 * `java`: u64be in the first eight bytes; `dotnet`: u64le of index + 1 in the last eight.
 */
export type NonceScheme = 'big-endian' | 'java' | 'dotnet';

/** Sizes of a sealed object in bytes. */
export interface SealedShape {
  readonly plaintextSize: number;
  readonly ciphertextSize: number;
  readonly regionLength: number;
  readonly regionCount: number;
}

/** What sealing leaves to be signed. */
export interface SealedSummary {
  /** Leaf hashes one after the other, 32 bytes each. */
  readonly leaves: Uint8Array;
  readonly root: Uint8Array;
  readonly shape: SealedShape;
}

export interface SealedBytes extends SealedSummary {
  readonly sealed: Uint8Array;
}

/** Sealed regions in order; once they have all been taken, {@link summary} says what they were. */
export interface SealedStream extends AsyncIterable<Uint8Array> {
  /** @throws `Error` while regions are still to be taken */
  summary(): SealedSummary;
}

export interface OpenRegionOptions {
  /**
   * The object, for messages.
   * @default 'object'
   */
  readonly name?: string;
  /** @default 'big-endian' */
  readonly nonceScheme?: NonceScheme;
}

/** What the signed record says an object is. */
export interface ExpectedObject extends OpenRegionOptions {
  readonly merkleRoot: Uint8Array;
  /**
   * Leaf hashes from beside the object; checked against the root before anything else.
   * @default - they are computed from the object, which is then hashed whole before it is opened
   */
  readonly leaves?: Uint8Array;
  readonly shape: SealedShape;
}

/** A fresh content encryption key: 32 random bytes that exist nowhere but in the key object. One for every object and every attempt at one. */
export function generateCek(): KeyObject {
  return generateKeySync('aes', { length: 256 });
}

/** Sizes that follow from a plaintext's size. */
export function sealedShape(plaintextSize: number, regionLength: number = REGION_LENGTH): SealedShape {
  if (!Number.isSafeInteger(plaintextSize) || plaintextSize < 0) {
    throw new RangeError(`plaintext size is ${plaintextSize}, wanted a whole number of bytes`);
  }
  const [shortest, longest] = REGION_LIMITS;
  if (!Number.isSafeInteger(regionLength) || regionLength < shortest || regionLength > longest) {
    throw new RangeError(`region length is ${regionLength}, wanted ${shortest} to ${longest}`);
  }
  const regionCount = Math.ceil(plaintextSize / regionLength);
  return { plaintextSize, ciphertextSize: plaintextSize + OVERHEAD * regionCount, regionLength, regionCount };
}

/** Where a region lies in a sealed object, for ranged reads. */
export function sealedRange(shape: SealedShape, index: number): { readonly offset: number; readonly length: number } {
  if (!Number.isSafeInteger(index) || index < 0 || index >= shape.regionCount) {
    throw new RangeError(`region ${index} is outside an object of ${shape.regionCount} regions`);
  }
  const offset = index * (shape.regionLength + OVERHEAD);
  return { offset, length: Math.min(shape.regionLength + OVERHEAD, shape.ciphertextSize - offset) };
}

/** Seals one region. The caller keeps the rule that makes this safe: a key seals each index once. */
export function sealRegion(cek: KeyObject, index: number, plaintext: Uint8Array): Uint8Array {
  const sealed = uninitialised(plaintext.length + OVERHEAD);
  sealInto(sealed, cek, index, plaintext);
  return sealed;
}

/**
 * Opens one region. Says the same whether nonce, ciphertext, tag or key is wrong.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` naming object and region; no plaintext leaves before the tag is checked
 */
export function openRegion(
  cek: KeyObject,
  index: number,
  sealed: Uint8Array,
  { name = 'object', nonceScheme = 'big-endian' }: OpenRegionOptions = {},
): Uint8Array {
  const plaintext = uninitialised(Math.max(0, sealed.length - OVERHEAD));
  openInto(plaintext, cek, index, sealed, name, nonceScheme);
  return plaintext;
}

/** Seals what is in memory already. */
export async function sealBytes(plaintext: Uint8Array, cek: KeyObject, regionLength?: number): Promise<SealedBytes> {
  const shape = sealedShape(plaintext.length, regionLength);
  const sealed = uninitialised(shape.ciphertextSize);
  const leaves = new Uint8Array(shape.regionCount * HASH_LENGTH);
  for (let index = 0; index < shape.regionCount; index++) {
    const { offset, length } = sealedRange(shape, index);
    const from = index * shape.regionLength;
    const region = sealed.subarray(offset, offset + length);
    leaves.set(
      sealWithLeaf(region, cek, index, plaintext.subarray(from, from + shape.regionLength)),
      index * HASH_LENGTH,
    );
    // One region takes milliseconds: others get their turn between two.
    await new Promise(setImmediate);
  }
  return { sealed, leaves, root: merkleRoot(leaves), shape };
}

/** Seals a stream of any length: holds one region of it at a time. */
export function sealStream(
  source: AsyncIterable<Uint8Array>,
  cek: KeyObject,
  regionLength: number = REGION_LENGTH,
): SealedStream {
  sealedShape(0, regionLength);
  let summary: SealedSummary | undefined;
  let started = false;
  async function* regions(): AsyncGenerator<Uint8Array> {
    if (started) throw new Error('a key seals a stream once: seal again under a new key');
    started = true;
    const leaves: Uint8Array[] = [];
    let plaintextSize = 0;
    for await (const plaintext of inRegions(source, regionLength)) {
      const sealed = uninitialised(plaintext.length + OVERHEAD);
      leaves.push(sealWithLeaf(sealed, cek, leaves.length, plaintext));
      plaintextSize += plaintext.length;
      yield sealed;
    }
    const joined = concat(...leaves);
    summary = { leaves: joined, root: merkleRoot(joined), shape: sealedShape(plaintextSize, regionLength) };
  }
  return {
    [Symbol.asyncIterator]: regions,
    summary() {
      if (summary === undefined) throw new Error('the stream is not sealed to its end');
      return summary;
    },
  };
}

/**
 * Opens an object that is in memory: size and Merkle root first, then region by region.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED`
 */
export function openBytes(sealed: Uint8Array, cek: KeyObject, expected: ExpectedObject): Uint8Array {
  const { shape, name = 'object', nonceScheme = 'big-endian' } = expected;
  checkShape(shape, name);
  if (sealed.length !== shape.ciphertextSize) throw wrongSize(name, sealed.length, shape.ciphertextSize);
  const region = (index: number) => {
    const { offset, length } = sealedRange(shape, index);
    return sealed.subarray(offset, offset + length);
  };
  if (expected.leaves === undefined) {
    const computed = concat(...Array.from({ length: shape.regionCount }, (_, index) => leafHash(index, region(index))));
    checkLeaves(computed, expected);
  } else {
    checkLeaves(expected.leaves, expected);
    for (let index = 0; index < shape.regionCount; index++) checkLeaf(expected.leaves, index, region(index), name);
  }
  const plaintext = uninitialised(shape.plaintextSize);
  try {
    for (let index = 0; index < shape.regionCount; index++) {
      const at = index * shape.regionLength;
      openInto(plaintext.subarray(at, at + shape.regionLength), cek, index, region(index), name, nonceScheme);
    }
  } catch (error) {
    plaintext.fill(0);
    throw error;
  }
  return plaintext;
}

/**
 * Opens a stream of sealed bytes, cut as they come: each region is checked against its leaf before it is opened, and memory
 * holds one region. Ends in an error when the stream is shorter or longer than it should be.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED`
 */
export async function* openRegions(
  source: AsyncIterable<Uint8Array>,
  cek: KeyObject,
  expected: ExpectedObject & { readonly leaves: Uint8Array },
): AsyncGenerator<Uint8Array> {
  const { leaves, shape, name = 'object' } = expected;
  checkShape(shape, name);
  checkLeaves(leaves, expected);
  let index = 0;
  for await (const region of exactly(source, shape.regionLength + OVERHEAD, shape.ciphertextSize, name)) {
    checkLeaf(leaves, index, region, name);
    yield openRegion(cek, index, region, expected);
    index++;
  }
}

/**
 * Checks the leaf hashes that lie beside an object against the signed root; a ranged reader does this once.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED`
 */
export function checkLeaves(
  leaves: Uint8Array,
  { merkleRoot: root, shape, name = 'object' }: Pick<ExpectedObject, 'merkleRoot' | 'shape' | 'name'>,
): void {
  if (leaves.length !== shape.regionCount * HASH_LENGTH || !equalBytes(merkleRoot(leaves), root)) {
    throw new SecureTrainingError('CIPHERTEXT_REJECTED', `${name}: its leaf hashes do not add up to the signed root`);
  }
}

/**
 * Checks one sealed region against its leaf hash, which {@link checkLeaves} has checked.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED`
 */
export function checkLeaf(leaves: Uint8Array, index: number, region: Uint8Array, name: string): void {
  const leaf = leaves.subarray(index * HASH_LENGTH, (index + 1) * HASH_LENGTH);
  if (!equalBytes(leaf, leafHash(index, region))) throw rejected(name, index);
}

/** {@link sealInto}, hashing the region's leaf while its bytes are still in the processor's cache. */
function sealWithLeaf(sealed: Uint8Array, cek: KeyObject, index: number, plaintext: Uint8Array): Uint8Array {
  const leaf = createHash('sha256').update(leafPrefix(index));
  sealInto(sealed, cek, index, plaintext, leaf);
  return Uint8Array.from(leaf.digest());
}

/** Fills `sealed`: nonce, ciphertext, tag. */
function sealInto(sealed: Uint8Array, cek: KeyObject, index: number, plaintext: Uint8Array, leaf?: Hash): void {
  const nonce = regionNonce(index, 'big-endian');
  sealed.set(nonce);
  leaf?.update(nonce);
  const cipher = createCipheriv(CIPHER, cek, nonce, { authTagLength: TAG_LENGTH });
  for (let at = 0; at < plaintext.length; at += STRIDE) {
    const part = cipher.update(plaintext.subarray(at, at + STRIDE));
    leaf?.update(part);
    sealed.set(part, NONCE_LENGTH + at);
  }
  cipher.final();
  const tag = cipher.getAuthTag();
  sealed.set(tag, sealed.length - TAG_LENGTH);
  leaf?.update(tag);
}

/** Fills `plaintext`, or zeroes it and throws. */
function openInto(
  plaintext: Uint8Array,
  cek: KeyObject,
  index: number,
  sealed: Uint8Array,
  name: string,
  nonceScheme: NonceScheme,
): void {
  const nonce = sealed.subarray(0, NONCE_LENGTH);
  if (sealed.length !== plaintext.length + OVERHEAD || !equalBytes(nonce, regionNonce(index, nonceScheme))) {
    throw rejected(name, index);
  }
  // Without authTagLength Node takes a tag of four bytes (facts/crypto-formats.md 1.5b).
  const decipher = createDecipheriv(CIPHER, cek, nonce, { authTagLength: TAG_LENGTH });
  decipher.setAuthTag(sealed.subarray(NONCE_LENGTH + plaintext.length));
  for (let at = 0; at < plaintext.length; at += STRIDE) {
    const end = Math.min(at + STRIDE, plaintext.length);
    plaintext.set(decipher.update(sealed.subarray(NONCE_LENGTH + at, NONCE_LENGTH + end)), at);
  }
  try {
    decipher.final();
  } catch {
    plaintext.fill(0);
    throw rejected(name, index);
  }
}

function regionNonce(index: number, scheme: NonceScheme): Uint8Array {
  const nonce = new Uint8Array(NONCE_LENGTH);
  if (scheme === 'java') nonce.set(uintBe(index, 8));
  else if (scheme === 'dotnet') nonce.set(uintBe(index + 1, 8).reverse(), 4);
  else nonce.set(uintBe(index, 8), 4);
  return nonce;
}

/** Memory that is about to be overwritten whole, and is no part of Node's shared pool. */
function uninitialised(length: number): Uint8Array {
  const buffer = Buffer.allocUnsafeSlow(length);
  return new Uint8Array(buffer.buffer, buffer.byteOffset, length);
}

/** A shape may come from an unsigned record: sizes that do not follow from one another would decide what memory is taken. */
function checkShape(shape: SealedShape, name: string): void {
  const [shortest, longest] = REGION_LIMITS;
  const { plaintextSize, regionLength } = shape;
  const possible =
    Number.isSafeInteger(plaintextSize) &&
    plaintextSize >= 0 &&
    Number.isSafeInteger(regionLength) &&
    regionLength >= shortest &&
    regionLength <= longest;
  if (possible) {
    const { ciphertextSize, regionCount } = sealedShape(plaintextSize, regionLength);
    if (ciphertextSize === shape.ciphertextSize && regionCount === shape.regionCount) return;
  }
  throw new SecureTrainingError('CIPHERTEXT_REJECTED', `${name}: its stated sizes do not fit together`);
}

/** One message for every way a region can fail. */
function rejected(name: string, index: number): SecureTrainingError {
  return new SecureTrainingError(
    'CIPHERTEXT_REJECTED',
    `${name}: region ${index} is altered, or sealed under another key`,
  );
}

function wrongSize(name: string, found: number, wanted: number): SecureTrainingError {
  return new SecureTrainingError('CIPHERTEXT_REJECTED', `${name}: found ${found} sealed bytes, wanted ${wanted}`);
}
