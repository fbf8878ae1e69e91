import { concat, sha256, toBase64Url } from '../crypto/bytes.ts';
import type { RsaPublicJwk } from '../crypto/jwk.ts';
import { SecureTrainingError } from '../errors.ts';
import { ALGORITHM, COMMAND, Reader, sized, TAG, u8, u16, u32 } from './wire.ts';

/** PCRs a TPM of the PC Client profile has, and the bitmap length that goes with it. */
export const PCR_COUNT = 24;
const SELECT_LENGTH = 3;
/** TPM_GENERATED_VALUE, Part 2 section 6.2: says that the TPM, not its user, made the signed bytes. */
export const ATTEST_MAGIC = 0xff544347;
const DEFAULT_EXPONENT = 65537;

/** TPMT_PUBLIC of an RSA key, Part 2 section 12.2.4. */
export interface RsaPublicArea {
  readonly nameAlgorithm: number;
  readonly attributes: number;
  readonly authPolicy: Uint8Array;
  /** Null algorithm for any key that protects no other keys. */
  readonly symmetric: { readonly algorithm: number; readonly keyBits?: number; readonly mode?: number };
  /** `hash` is there for every scheme but null and RSAES. */
  readonly scheme: { readonly algorithm: number; readonly hash?: number };
  readonly keyBits: number;
  /** 0 stands for 65537. */
  readonly exponent: number;
  /** The modulus; in a template, caller's bytes that make the key another one. */
  readonly unique: Uint8Array;
}

function buildTpmtPublic(area: RsaPublicArea): Uint8Array {
  const { symmetric, scheme } = area;
  return concat(
    u16(ALGORITHM.rsa),
    u16(area.nameAlgorithm),
    u32(area.attributes),
    sized(area.authPolicy),
    u16(symmetric.algorithm),
    symmetric.keyBits === undefined ? new Uint8Array() : u16(symmetric.keyBits),
    symmetric.mode === undefined ? new Uint8Array() : u16(symmetric.mode),
    u16(scheme.algorithm),
    scheme.hash === undefined ? new Uint8Array() : u16(scheme.hash),
    u16(area.keyBits),
    u32(area.exponent),
    sized(area.unique),
  );
}

/** TPM2B_PUBLIC, the form that travels to the attestation service. */
export function buildRsaPublic(area: RsaPublicArea): Uint8Array {
  return sized(buildTpmtPublic(area));
}

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` unless `bytes` are a whole TPM2B_PUBLIC of an RSA key */
export function parseRsaPublic(bytes: Uint8Array): RsaPublicArea {
  const outer = new Reader(bytes, 'TPM2B_PUBLIC');
  const reader = new Reader(outer.sized(), 'TPMT_PUBLIC');
  outer.end();
  const type = reader.u16();
  if (type !== ALGORITHM.rsa) throw malformed(`public area is of type ${hex(type)}, wanted RSA (0x1)`);
  const area = {
    nameAlgorithm: reader.u16(),
    attributes: reader.u32(),
    authPolicy: reader.sized(),
    symmetric: parseSymmetric(reader),
    scheme: parseScheme(reader),
    keyBits: reader.u16(),
    exponent: reader.u32(),
    unique: reader.sized(),
  };
  reader.end();
  return area;
}

/** TPMT_SYM_DEF_OBJECT, Part 2 section 11.1.7. */
function parseSymmetric(reader: Reader): RsaPublicArea['symmetric'] {
  const algorithm = reader.u16();
  return algorithm === ALGORITHM.null ? { algorithm } : { algorithm, keyBits: reader.u16(), mode: reader.u16() };
}

/** TPMT_RSA_SCHEME, Part 2 section 11.2.4.2. */
export function parseScheme(reader: Reader): RsaPublicArea['scheme'] {
  const algorithm = reader.u16();
  const bare = algorithm === ALGORITHM.null || algorithm === ALGORITHM.rsaes;
  return bare ? { algorithm } : { algorithm, hash: reader.u16() };
}

/** Name of an object: its name algorithm and the hash of its TPMT_PUBLIC (Part 1 section 16). Only SHA-256 names are known. */
export function objectName(publicArea: Uint8Array): Uint8Array {
  const { nameAlgorithm } = parseRsaPublic(publicArea);
  if (nameAlgorithm !== ALGORITHM.sha256)
    throw malformed(`name algorithm is ${hex(nameAlgorithm)}, wanted SHA-256 (0xb)`);
  return concat(u16(ALGORITHM.sha256), sha256(publicArea.subarray(2)));
}

/** The key of a TPM2B_PUBLIC in the form every other module uses. */
export function publicAreaJwk(publicArea: Uint8Array): RsaPublicJwk {
  const { unique, exponent } = parseRsaPublic(publicArea);
  const e = u32(exponent === 0 ? DEFAULT_EXPONENT : exponent);
  return { kty: 'RSA', n: toBase64Url(unique), e: toBase64Url(e.subarray(e.findIndex((byte) => byte !== 0))) };
}

/** TPML_PCR_SELECTION of one SHA-256 bank, Part 2 section 10.6.2. */
export function buildPcrSelection(pcrs: readonly number[]): Uint8Array {
  const bitmap = new Uint8Array(SELECT_LENGTH);
  for (const pcr of pcrs) {
    if (!Number.isInteger(pcr) || pcr < 0 || pcr >= PCR_COUNT) throw new RangeError(`pcr must be 0 to 23, got ${pcr}`);
    bitmap[pcr >> 3] = (bitmap[pcr >> 3] ?? 0) | (1 << (pcr & 7));
  }
  return concat(u32(1), u16(ALGORITHM.sha256), u8(SELECT_LENGTH), bitmap);
}

export interface PcrSelection {
  readonly algorithm: number;
  /** Ascending: the order in which their values are hashed. */
  readonly pcrs: readonly number[];
}

/** Banks of a selection, 16 at the most (HASH_COUNT is smaller in every TPM there is). */
export function parsePcrSelections(reader: Reader): PcrSelection[] {
  const count = reader.u32();
  if (count > 16) throw malformed(`pcr selection names ${count} banks, wanted 16 at the most`);
  return Array.from({ length: count }, () => {
    const algorithm = reader.u16();
    const bitmap = reader.bytes(reader.u8());
    const pcrs = Array.from({ length: bitmap.length * 8 }, (_, pcr) => pcr);
    return { algorithm, pcrs: pcrs.filter((pcr) => ((bitmap[pcr >> 3] ?? 0) >> (pcr & 7)) & 1) };
  });
}

/** Hash of PCR values in ascending order of their numbers, as a quote and PolicyPCR state it. */
export function pcrDigest(values: ReadonlyMap<number, Uint8Array>): Uint8Array {
  return sha256(...[...values].sort(([a], [b]) => a - b).map(([, value]) => value));
}

/** What a policy session's digest becomes by PolicyPCR (Part 3 section 23.7); `before` is all zero in a new session. */
export function extendPolicyPcr(before: Uint8Array, selection: Uint8Array, digest: Uint8Array): Uint8Array {
  return sha256(before, u32(COMMAND.policyPcr), selection, digest);
}

/** The authPolicy of a key that may be used only while these PCRs hold these values. */
export function pcrPolicy(values: ReadonlyMap<number, Uint8Array>): Uint8Array {
  return extendPolicyPcr(new Uint8Array(32), buildPcrSelection([...values.keys()]), pcrDigest(values));
}

interface AttestBase {
  readonly qualifiedSigner: Uint8Array;
  /** The nonce the caller gave. */
  readonly extraData: Uint8Array;
  readonly clock: bigint;
  readonly resetCount: number;
  readonly restartCount: number;
  readonly safe: boolean;
  readonly firmwareVersion: bigint;
}

export interface QuoteAttest extends AttestBase {
  readonly kind: 'quote';
  readonly selections: readonly PcrSelection[];
  readonly pcrDigest: Uint8Array;
}

export interface CertifyAttest extends AttestBase {
  readonly kind: 'certify';
  readonly name: Uint8Array;
  readonly qualifiedName: Uint8Array;
}

/**
 * TPMS_ATTEST, Part 2 section 10.12.8.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` unless the TPM made it, it is a quote or a certification, and nothing follows
 */
export function parseAttest(message: Uint8Array): QuoteAttest | CertifyAttest {
  const reader = new Reader(message, 'TPMS_ATTEST');
  const magic = reader.u32();
  if (magic !== ATTEST_MAGIC) throw malformed(`TPMS_ATTEST starts with ${hex(magic)}, wanted ${hex(ATTEST_MAGIC)}`);
  const type = reader.u16();
  if (type !== TAG.attestQuote && type !== TAG.attestCertify) {
    throw malformed(`TPMS_ATTEST is of type ${hex(type)}, wanted quote (0x8018) or certify (0x8017)`);
  }
  const base = {
    qualifiedSigner: reader.sized(),
    extraData: reader.sized(),
    clock: reader.u64(),
    resetCount: reader.u32(),
    restartCount: reader.u32(),
    safe: reader.u8() === 1,
    firmwareVersion: reader.u64(),
  };
  const attest: QuoteAttest | CertifyAttest =
    type === TAG.attestQuote
      ? { kind: 'quote', ...base, selections: parsePcrSelections(reader), pcrDigest: reader.sized() }
      : { kind: 'certify', ...base, name: reader.sized(), qualifiedName: reader.sized() };
  reader.end();
  return attest;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function malformed(message: string): SecureTrainingError {
  return new SecureTrainingError('EVIDENCE_MALFORMED', message);
}
