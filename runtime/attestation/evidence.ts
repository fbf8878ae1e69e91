import { fromBase64, fromHex, toBase64, toHex } from '../crypto/bytes.ts';
import { malformed, unsupported } from './malformed.ts';

/** A TPM quote as a TPM gives it, and the PCR values it is said to be about. */
export interface SignedQuote {
  /** TPMS_ATTEST, without a TPM2B size before it. */
  readonly message: Uint8Array;
  /** RSASSA-PKCS1-v1_5 with SHA-256, raw. */
  readonly signature: Uint8Array;
  /** PCR number (decimal) to SHA-256 value (hex), exactly the PCRs the quote selects. */
  readonly pcrs: Readonly<Record<string, string>>;
}

/** What a machine shows, as bytes. Nothing in it is trustworthy before `verifyEvidence` said so. */
export interface Evidence {
  /** NV index 0x01400001 as read. */
  readonly hclReport: Uint8Array;
  /** PEM text: VCEK, ASK, ARK. */
  readonly vcekChain: string;
  readonly quote: SignedQuote;
  /**
   * TCG event log (`binary_bios_measurements`).
   * @default - the machine showed none
   */
  readonly eventLog?: Uint8Array;
  /**
   * The nonce the machine was asked to quote. Only a claim: compare it with the quote.
   * @default - the machine did not say
   */
  readonly nonce?: Uint8Array;
}

/** {@link Evidence} as JSON: what `ctrain verify-evidence` reads and every receipt carries. */
export interface EvidenceBundle {
  readonly version: 1;
  readonly hclReport: string;
  readonly vcekChain: string;
  readonly quote: {
    readonly message: string;
    readonly signature: string;
    readonly pcrs: Readonly<Record<string, string>>;
  };
  readonly eventLog?: string;
  readonly nonce?: string;
}

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` unless `json` is an {@link EvidenceBundle} and nothing else */
export function parseEvidence(json: unknown): Evidence {
  const bundle = members(json, 'evidence', ['version', 'hclReport', 'vcekChain', 'quote', 'eventLog', 'nonce']);
  if (bundle.version !== 1) throw unsupported(`evidence version is ${describe(bundle.version)}, wanted 1`);
  const quote = members(bundle.quote, 'quote', ['message', 'signature', 'pcrs']);
  return {
    hclReport: bytes(bundle.hclReport, 'hclReport'),
    vcekChain: text(bundle.vcekChain, 'vcekChain'),
    quote: {
      message: bytes(quote.message, 'quote.message'),
      signature: bytes(quote.signature, 'quote.signature'),
      pcrs: parsePcrs(quote.pcrs),
    },
    ...(bundle.eventLog === undefined ? {} : { eventLog: bytes(bundle.eventLog, 'eventLog') }),
    ...(bundle.nonce === undefined ? {} : { nonce: bytes(bundle.nonce, 'nonce') }),
  };
}

/** The bundle of `evidence`; its members always come in the same order, so equal evidence gives equal JSON. */
export function serialiseEvidence(evidence: Evidence): EvidenceBundle {
  const { message, signature, pcrs } = evidence.quote;
  return {
    version: 1,
    hclReport: toBase64(evidence.hclReport),
    vcekChain: evidence.vcekChain,
    quote: { message: toBase64(message), signature: toBase64(signature), pcrs: parsePcrs(pcrs) },
    ...(evidence.eventLog === undefined ? {} : { eventLog: toBase64(evidence.eventLog) }),
    ...(evidence.nonce === undefined ? {} : { nonce: toBase64(evidence.nonce) }),
  };
}

/**
 * Checks and normalises PCR values: decimal numbers 0 to 23, 32 bytes each, lower-case hex.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`
 */
export function parsePcrs(json: unknown): Readonly<Record<string, string>> {
  const entries = Object.entries(members(json, 'quote.pcrs')).map(([index, value]): [string, string] => {
    if (!/^(?:[0-9]|1[0-9]|2[0-3])$/.test(index)) {
      throw malformed(`quote.pcrs has a member ${describe(index)}, wanted 0 to 23`);
    }
    const digest = fromHex(text(value, `pcr ${index}`), `pcr ${index}`);
    if (digest.length !== 32) throw malformed(`pcr ${index} has ${digest.length} bytes, wanted 32`);
    return [index, toHex(digest)];
  });
  return Object.fromEntries(entries);
}

/** The members of a JSON object; with `known`, a member of another name is refused, for it would look as if it were checked. */
function members(json: unknown, what: string, known?: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw malformed(`${what} is not an object`);
  for (const name of Object.keys(json)) {
    if (known !== undefined && !known.includes(name))
      throw malformed(`${what} has an unknown member ${describe(name)}`);
  }
  return { ...json };
}

function text(value: unknown, what: string): string {
  if (typeof value !== 'string') throw malformed(`${what} is ${describe(value)}, wanted text`);
  return value;
}

function bytes(value: unknown, what: string): Uint8Array {
  return fromBase64(text(value, what), what);
}

/** Short enough for a message, whatever was found. */
function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 40));
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}
