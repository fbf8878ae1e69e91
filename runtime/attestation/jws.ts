import { type KeyObject, verify } from 'node:crypto';
import { fromBase64, utf8 } from '../crypto/bytes.ts';
import { malformed } from './malformed.ts';

/** JWS compact serialisation (RFC 7515 section 7.1), taken apart. Nothing in it is trustworthy before {@link verifyRs256}. */
export interface CompactJws {
  readonly header: Readonly<Record<string, unknown>>;
  readonly payload: Readonly<Record<string, unknown>>;
  /** What was signed: `header.payload` as sent. */
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
}

/** Longest accepted text. A vault's reply with its certificates and a wrapped 4096-bit key is about 20 kB. */
const MAXIMUM_LENGTH = 262_144;

/**
 * @param what - names the document in messages
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` unless both halves are JSON objects
 */
export function parseCompactJws(text: string, what: string): CompactJws {
  if (text.length > MAXIMUM_LENGTH) throw malformed(`${what} has ${text.length} characters, at most ${MAXIMUM_LENGTH}`);
  const parts = text.split('.');
  const [header, payload, signature] = parts;
  if (parts.length !== 3 || header === undefined || payload === undefined || signature === undefined) {
    throw malformed(`${what} has ${parts.length} parts, wanted header, payload and signature`);
  }
  const fields = jsonObject(fromBase64(header, `${what} header`), `${what} header`);
  // Extensions that have to be understood (RFC 7515 section 4.1.11), and none is.
  if (fields.crit !== undefined) throw malformed(`${what} header has extensions that are not understood`);
  return {
    header: fields,
    payload: jsonObject(fromBase64(payload, `${what} payload`), `${what} payload`),
    signed: utf8(`${header}.${payload}`),
    signature: fromBase64(signature, `${what} signature`),
  };
}

/** RSASSA-PKCS1-v1_5 with SHA-256, whatever the header says: the key and the caller decide the algorithm. */
export function verifyRs256(jws: CompactJws, key: KeyObject): boolean {
  return key.asymmetricKeyType === 'rsa' && verify('sha256', jws.signed, key, jws.signature);
}

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` unless `bytes` are a JSON object in UTF-8 */
export function jsonObject(bytes: Uint8Array, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    // The cause would quote what was found, and that may be a token.
    throw malformed(`${what} is not JSON`);
  }
  return asObject(value, what);
}

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` unless `value` is a JSON object */
export function asObject(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed(`${what} is not an object`);
  return value as Record<string, unknown>;
}

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` unless `value` is text */
export function asText(value: unknown, what: string): string {
  if (typeof value !== 'string') throw malformed(`${what} is not text`);
  return value;
}
