import { constants, generateKeyPair, type KeyObject, sign } from 'node:crypto';
import { promisify } from 'node:util';
import { type AmdPki, createAmdPki, rootKeySha256, vcekChain } from '../../../emulator/amd-pki.ts';
import { buildHclReport, type HardwareChanges } from '../../../emulator/hardware.ts';
import type { Evidence } from '../../../runtime/attestation/evidence.ts';
import { ALG_SHA256, ATTEST_QUOTE, TPM_GENERATED } from '../../../runtime/attestation/quote.ts';
import { GENERATIONS, type Generation, type Tcb } from '../../../runtime/catalogue.ts';
import { concat, fromHex, sha256, uintBe, utf8 } from '../../../runtime/crypto/bytes.ts';
import { type RsaPublicJwk, rsaPublicJwk } from '../../../runtime/crypto/jwk.ts';
import type { TrustAnchors } from '../../../runtime/trust.ts';

/** A made-up chip with a made-up vTPM on it. */
export interface Machine {
  readonly pki: AmdPki;
  readonly ak: KeyObject;
  readonly akKey: RsaPublicJwk;
  readonly ekKey: RsaPublicJwk;
  readonly trust: TrustAnchors;
}

export const VM_ID = '0a1b2c3d-0001-4002-8003-a0b0c0d0e0f0';
export const NONCE = utf8('a nonce of thirty-two bytes here');
/** PCRs 0 to 15 with distinct values. */
export const PCRS: Readonly<Record<string, string>> = Object.fromEntries(
  Array.from({ length: 16 }, (_, pcr) => [String(pcr), pcr.toString(16).padStart(2, '0').repeat(32)]),
);

const generateKeys = promisify(generateKeyPair);

/** Small keys: their size is free, and making them is what takes time. */
export async function createMachine(generation: Generation = 'Milan'): Promise<Machine> {
  const [pki, ak, ek] = await Promise.all([
    createAmdPki(generation, { modulusLength: 2048 }),
    generateKeys('rsa', { modulusLength: 2048 }),
    generateKeys('rsa', { modulusLength: 2048 }),
  ]);
  return {
    pki,
    ak: ak.privateKey,
    akKey: rsaPublicJwk(ak.publicKey),
    ekKey: rsaPublicJwk(ek.publicKey),
    trust: trustIn(pki),
  };
}

/** A trust set that takes the root of `pki` for its generation, and nothing else. */
export function trustIn(pki: AmdPki): TrustAnchors {
  const none = Object.fromEntries(GENERATIONS.map((name) => [name, '00'.repeat(32)]));
  const amdRootKeys = { Milan: '', Genoa: '', Turin: '', ...none, [pki.generation]: rootKeySha256(pki) };
  return { hardware: 'EMULATED', amdRootKeys, vaultRoots: [] };
}

export interface QuoteContent {
  readonly magic: number;
  readonly type: number;
  readonly nonce: Uint8Array;
  readonly pcrs: Readonly<Record<string, string>>;
  readonly selections: readonly { readonly algorithm: number; readonly pcrs: readonly number[] }[];
  readonly tail: Uint8Array;
}

/** A quote by the machine's attestation key that says what it is told to, right or wrong. */
export function signQuote(ak: KeyObject, content: Partial<QuoteContent> = {}): Evidence['quote'] {
  const message = quoteMessage(content);
  const signature = sign('sha256', message, { key: ak, padding: constants.RSA_PKCS1_PADDING });
  return { message, signature: Uint8Array.from(signature), pcrs: content.pcrs ?? PCRS };
}

/** TPMS_ATTEST, built apart from the parser: fixed field order, big endian. */
export function quoteMessage(content: Partial<QuoteContent> = {}): Uint8Array {
  const { pcrs = PCRS, nonce = NONCE } = content;
  const numbers = Object.keys(pcrs).map(Number);
  const values = numbers.map((pcr) => fromHex(pcrs[String(pcr)] ?? ''));
  const selections = content.selections ?? [{ algorithm: ALG_SHA256, pcrs: numbers }];
  return concat(
    uintBe(content.magic ?? TPM_GENERATED, 4),
    uintBe(content.type ?? ATTEST_QUOTE, 2),
    sized(concat(uintBe(ALG_SHA256, 2), new Uint8Array(32).fill(7))),
    sized(nonce),
    uintBe(1234, 8),
    uintBe(5, 4),
    uintBe(6, 4),
    Uint8Array.of(1),
    fromHex('2020031200120003'),
    uintBe(selections.length, 4),
    ...selections.map(({ algorithm, pcrs: selected }) =>
      concat(uintBe(algorithm, 2), Uint8Array.of(3), bitmap(selected)),
    ),
    sized(sha256(...values)),
    content.tail ?? new Uint8Array(),
  );
}

export interface EvidenceChanges {
  readonly pki?: AmdPki;
  readonly tcb?: Tcb;
  readonly hardware?: Partial<HardwareChanges>;
  readonly quote?: Partial<QuoteContent>;
}

/** Evidence of `machine` that the strict policy accepts, but for `changes`. */
export function evidenceOf(machine: Machine, changes: EvidenceChanges = {}): Evidence {
  const pki = changes.pki ?? machine.pki;
  const { akKey, ekKey } = machine;
  return {
    hclReport: buildHclReport({
      akKey,
      ekKey,
      vmId: VM_ID,
      pki,
      ...(changes.tcb === undefined ? {} : { tcb: changes.tcb }),
      changes: changes.hardware ?? {},
    }),
    vcekChain: vcekChain(pki),
    quote: signQuote(machine.ak, changes.quote),
  };
}

/** `bytes` with one bit flipped. */
export function flipBit(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  const at = bit >> 3;
  copy[at] = (copy[at] ?? 0) ^ (1 << (bit & 7));
  return copy;
}

function sized(bytes: Uint8Array): Uint8Array {
  return concat(uintBe(bytes.length, 2), bytes);
}

function bitmap(pcrs: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(3);
  for (const pcr of pcrs) bytes[pcr >> 3] = (bytes[pcr >> 3] ?? 0) | (1 << (pcr & 7));
  return bytes;
}
