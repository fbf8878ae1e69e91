import { concat, uintBe } from '../crypto/bytes.ts';
import { SecureTrainingError } from '../errors.ts';

// Constants of TPM 2.0 Library, Part 2: Structures. Only what an Azure confidential VM needs.

/** TPM_ST, Part 2 section 6.9. */
export const TAG = { noSessions: 0x8001, sessions: 0x8002, attestCertify: 0x8017, attestQuote: 0x8018 } as const;

/** TPM_CC, Part 2 section 6.5. */
export const COMMAND = {
  createPrimary: 0x131,
  nvRead: 0x14e,
  certify: 0x148,
  quote: 0x158,
  rsaDecrypt: 0x159,
  flushContext: 0x165,
  nvReadPublic: 0x169,
  readPublic: 0x173,
  startAuthSession: 0x176,
  getRandom: 0x17b,
  pcrRead: 0x17e,
  policyPcr: 0x17f,
  pcrExtend: 0x182,
} as const;

/** TPM_ALG_ID, Part 2 section 6.3. */
export const ALGORITHM = {
  rsa: 0x0001,
  sha1: 0x0004,
  aes: 0x0006,
  sha256: 0x000b,
  sha384: 0x000c,
  null: 0x0010,
  rsassa: 0x0014,
  rsaes: 0x0015,
  oaep: 0x0017,
  cfb: 0x0043,
} as const;

/** TPM_RH, Part 2 section 7.4. Keys of the null hierarchy are gone when the TPM is reset. */
export const HIERARCHY = {
  owner: 0x40000001,
  null: 0x40000007,
  endorsement: 0x4000000b,
  platform: 0x4000000c,
} as const;
/** TPM_RS_PW: stands in an authorisation area where a session would, and means "the password follows". */
export const PASSWORD_SESSION = 0x40000009;

/** TPMA_OBJECT bits, Part 2 section 8.3. */
export const ATTRIBUTE = {
  fixedTpm: 0x2,
  fixedParent: 0x10,
  sensitiveDataOrigin: 0x20,
  userWithAuth: 0x40,
  adminWithPolicy: 0x80,
  noDa: 0x400,
  restricted: 0x10000,
  decrypt: 0x20000,
  sign: 0x40000,
} as const;

/** TPM_RC values that a caller does something about, Part 2 section 6.6. */
export const RESPONSE = {
  success: 0,
  /** PCRs moved while a policy session was open: a new session may well work. */
  pcrChanged: 0x128,
  /** Policy of the first session not met: for a key bound to PCRs, they are not what they were. */
  policyFail: 0x99d,
  value: 0x084,
  size: 0x095,
  objectMemory: 0x902,
  /** "Send the same command again"; swtpm and real TPMs answer the first use of a key with it. */
  retry: 0x922,
} as const;

/** Largest command or response that Linux passes (TPM_BUFSIZE in drivers/char/tpm/tpm.h). */
export const MAX_BUFFER = 4096;
export const HEADER_LENGTH = 10;

/** Reads TPM structures (big endian) and refuses to look beyond the end. */
export class Reader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #offset = 0;

  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  u8(): number {
    return this.#uint(1);
  }

  u16(): number {
    return this.#uint(2);
  }

  u32(): number {
    return this.#uint(4);
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }

  /** A copy, so that the caller may keep it after the buffer is wiped. */
  bytes(length: number): Uint8Array {
    if (length > this.remaining) {
      throw malformed(
        `${this.#what} is truncated: ${length} bytes wanted at offset ${this.#offset}, ${this.remaining} left`,
      );
    }
    this.#offset += length;
    return this.#bytes.slice(this.#offset - length, this.#offset);
  }

  /** A TPM2B: two bytes of length, then the bytes. */
  sized(): Uint8Array {
    return this.bytes(this.u16());
  }

  rest(): Uint8Array {
    return this.bytes(this.remaining);
  }

  /** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` if bytes are left: what nobody reads, nobody checks */
  end(): void {
    if (this.remaining > 0) throw malformed(`${this.#what} has ${this.remaining} bytes too many`);
  }

  /** Overwrites what it reads, for buffers that hold secrets. */
  wipe(): void {
    this.#bytes.fill(0);
  }

  #uint(width: number): number {
    return this.bytes(width).reduce((value, byte) => value * 256 + byte, 0);
  }
}

export function u8(value: number): Uint8Array {
  return uintBe(value, 1);
}

export function u16(value: number): Uint8Array {
  return uintBe(value, 2);
}

export function u32(value: number): Uint8Array {
  return uintBe(value, 4);
}

export function u64(value: bigint): Uint8Array {
  return concat(u32(Number(value >> 32n)), u32(Number(value & 0xffffffffn)));
}

/** A TPM2B: two bytes of length, then the bytes. */
export function sized(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = concat(...parts);
  return concat(u16(bytes.length), bytes);
}

/** Header and body of a command or a response: the third field is the command or the response code (Part 1 section 18). */
export function frame(tag: number, code: number, ...body: readonly Uint8Array[]): Uint8Array {
  const bytes = concat(...body);
  return concat(u16(tag), u32(HEADER_LENGTH + bytes.length), u32(code), bytes);
}

function malformed(message: string): SecureTrainingError {
  return new SecureTrainingError('EVIDENCE_MALFORMED', message);
}
