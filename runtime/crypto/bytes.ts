import { createHash, timingSafeEqual } from 'node:crypto';
import { SecureTrainingError } from '../errors.ts';

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

export function toBase64Url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url');
}

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` unless `text` is lower- or upper-case hex of whole bytes */
export function fromHex(text: string, what = 'hex'): Uint8Array {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) throw malformed(`${what} is not hexadecimal`);
  return Uint8Array.from(Buffer.from(text, 'hex'));
}

/**
 * Decodes standard or URL-safe base64, padded or not (services write all four).
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` on any other character, or an impossible length
 */
export function fromBase64(text: string, what = 'base64'): Uint8Array {
  const bare = text.replace(/={1,2}$/, '');
  if (!/^(?:[A-Za-z0-9+/]*|[A-Za-z0-9_-]*)$/.test(bare) || bare.length % 4 === 1)
    throw malformed(`${what} is not base64`);
  return Uint8Array.from(Buffer.from(bare, 'base64url'));
}

/** Copies into fresh memory: never a view of Node's shared buffer pool, so it may hold secrets. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.length;
  }
  return out;
}

/** Compares without telling by its timing where two values differ. Different lengths are unequal. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return Uint8Array.from(hash.digest());
}

/** Big-endian integer of fixed width, for hashed and signed layouts. */
export function uintBe(value: number, width: 1 | 2 | 4 | 8): Uint8Array {
  if (!Number.isSafeInteger(value) || value < 0 || (width < 8 && value >= 2 ** (8 * width))) {
    throw new RangeError(`${value} does not fit ${width} bytes`);
  }
  const out = new Uint8Array(width);
  let rest = value;
  for (let i = width - 1; i >= 0; i--) {
    out[i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  return out;
}

function malformed(message: string): SecureTrainingError {
  return new SecureTrainingError('EVIDENCE_MALFORMED', message);
}
