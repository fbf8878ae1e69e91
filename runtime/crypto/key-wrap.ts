import {
  constants,
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
} from 'node:crypto';
import { SecureTrainingError } from '../errors.ts';
import { equalBytes, utf8 } from './bytes.ts';

const CEK_LENGTH = 32;
/** The protocol's name, padded with zeros, stands before the key: a reader sees a relabelled protocol. */
const PREFIX_LENGTH = 8;
/** RFC 5649 section 3: the constant half of the alternative initial value. */
const KWP_IV = Uint8Array.of(0xa6, 0x59, 0x59, 0xa6);
const KWP_BLOCK = 8;
const KWP_SHORTEST = 16;

export type SealingProtocol = '2.0' | '2.1';

/**
 * RSA-OAEP (SHA-256, MGF1 SHA-256, no label) over `protocol | CEK`, 40 bytes, as client-side encryption 2 wraps it.
 * Needs the public half only: an owner wraps offline.
 */
export function wrapCek(cek: KeyObject, kek: KeyObject, protocol: SealingProtocol = '2.0'): Uint8Array {
  const plaintext = new Uint8Array(PREFIX_LENGTH + CEK_LENGTH);
  const raw = cek.export();
  try {
    if (raw.length !== CEK_LENGTH)
      throw new RangeError(`content encryption key is ${raw.length} bytes, wanted ${CEK_LENGTH}`);
    plaintext.set(utf8(protocol));
    plaintext.set(raw, PREFIX_LENGTH);
    return Uint8Array.from(publicEncrypt({ ...OAEP, key: kek }, plaintext));
  } finally {
    raw.fill(0);
    plaintext.fill(0);
  }
}

/**
 * @param name the object, for the message
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED`, one message whatever was wrong
 */
export function unwrapCek(
  wrapped: Uint8Array,
  kek: KeyObject,
  { name = 'object', protocol = '2.0' }: { readonly name?: string; readonly protocol?: SealingProtocol } = {},
): KeyObject {
  let plaintext: Uint8Array = new Uint8Array();
  try {
    plaintext = privateDecrypt({ ...OAEP, key: kek }, wrapped);
  } catch {
    // OpenSSL tells lengths and paddings apart in its errors; nobody else needs to.
  }
  return readUnwrapped(plaintext, { name, protocol });
}

/**
 * The key in what somebody else unwrapped, a vault for example: `protocol | CEK`, which is zeroed.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED`, as {@link unwrapCek}
 */
export function readUnwrapped(
  plaintext: Uint8Array,
  { name = 'object', protocol = '2.0' }: { readonly name?: string; readonly protocol?: SealingProtocol } = {},
): KeyObject {
  try {
    const prefix = new Uint8Array(PREFIX_LENGTH);
    prefix.set(utf8(protocol));
    if (plaintext.length !== PREFIX_LENGTH + CEK_LENGTH || !equalBytes(plaintext.subarray(0, PREFIX_LENGTH), prefix)) {
      throw new SecureTrainingError(
        'CIPHERTEXT_REJECTED',
        `${name}: its wrapped key is altered, or wrapped to another key`,
      );
    }
    return createSecretKey(plaintext.subarray(PREFIX_LENGTH));
  } finally {
    plaintext.fill(0);
  }
}

/** AES key wrap with padding, RFC 5649. The key decides between AES-128, -192 and -256. */
export function kwpWrap(kek: Uint8Array, plaintext: Uint8Array): Uint8Array {
  const cipher = createCipheriv(kwpCipher(kek), kek, KWP_IV);
  const wrapped = cipher.update(plaintext);
  cipher.final();
  return Uint8Array.from(wrapped);
}

/**
 * The caller zeroes what it gets.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` when the integrity value does not hold
 */
export function kwpUnwrap(kek: Uint8Array, wrapped: Uint8Array): Uint8Array {
  const decipher = createDecipheriv(kwpCipher(kek), kek, KWP_IV);
  // OpenSSL takes nothing for wrapped nothing; RFC 5649 wraps at least one byte.
  if (wrapped.length < KWP_SHORTEST || wrapped.length % KWP_BLOCK !== 0) throw kwpRejected();
  try {
    const plaintext = decipher.update(wrapped);
    decipher.final();
    try {
      return Uint8Array.from(plaintext);
    } finally {
      plaintext.fill(0);
    }
  } catch {
    throw kwpRejected();
  }
}

const OAEP = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' } as const;

function kwpRejected(): SecureTrainingError {
  return new SecureTrainingError('CIPHERTEXT_REJECTED', 'the wrapped key is altered, or wrapped to another key');
}

function kwpCipher(kek: Uint8Array): string {
  if (![16, 24, 32].includes(kek.length))
    throw new RangeError(`wrapping key is ${kek.length} bytes, wanted 16, 24 or 32`);
  return `id-aes${kek.length * 8}-wrap-pad`;
}
