import { constants, verify } from 'node:crypto';
import { equalBytes, fromHex, sha256, toHex } from '../crypto/bytes.ts';
import { importJwk, type RsaPublicJwk } from '../crypto/jwk.ts';
import { SecureTrainingError } from '../errors.ts';
import { parsePcrs, type SignedQuote } from './evidence.ts';
import { malformed } from './malformed.ts';

/** TPM_GENERATED_VALUE: a TPM puts it before what it states itself, and signs nothing else that starts so (TPM 2.0 part 2, 6.2). */
export const TPM_GENERATED = 0xff544347;
/** TPM_ST_ATTEST_QUOTE. */
export const ATTEST_QUOTE = 0x8018;
/** TPM_ALG_SHA256. */
export const ALG_SHA256 = 0x000b;

/** TPM 2.0 part 2: as many banks as there may be hash algorithms, and 24 to 32 PCRs in each. */
const MOST_SELECTIONS = 16;
const LONGEST_BITMAP = 4;

/** What a TPMS_ATTEST of type quote says (TPM 2.0 part 2, 10.12.12). */
export interface Quote {
  readonly qualifiedSigner: Uint8Array;
  /** The nonce of whoever asked. */
  readonly extraData: Uint8Array;
  /** Milliseconds; counts on through suspension, not through a new VM. */
  readonly clock: number;
  readonly resetCount: number;
  readonly restartCount: number;
  readonly clockSafe: boolean;
  readonly firmwareVersion: string;
  readonly selections: readonly { readonly algorithm: number; readonly pcrs: readonly number[] }[];
  readonly pcrDigest: Uint8Array;
}

/**
 * Reads a quote; the message must end where it does.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`
 */
export function parseQuote(message: Uint8Array): Quote {
  const bytes = Uint8Array.from(message);
  const view = new DataView(bytes.buffer);
  let offset = 0;
  const take = (length: number): number => {
    if (length > bytes.length - offset) throw malformed(`quote ends at byte ${bytes.length}, inside a field`);
    offset += length;
    return offset - length;
  };
  const u8 = (): number => view.getUint8(take(1));
  const u16 = (): number => view.getUint16(take(2));
  const u32 = (): number => view.getUint32(take(4));
  const field = (length: number): Uint8Array => {
    const start = take(length);
    return bytes.slice(start, start + length);
  };

  const magic = u32();
  if (magic !== TPM_GENERATED) throw malformed(`quote starts with ${magic.toString(16)}, wanted ff544347`);
  const type = u16();
  if (type !== ATTEST_QUOTE) throw malformed(`tpm statement is of type ${type.toString(16)}, wanted 8018 (quote)`);
  const header = {
    qualifiedSigner: field(u16()),
    extraData: field(u16()),
    clock: Number(view.getBigUint64(take(8))),
    resetCount: u32(),
    restartCount: u32(),
    clockSafe: u8() === 1,
    firmwareVersion: toHex(field(8)),
  };
  const count = u32();
  if (count > MOST_SELECTIONS) throw malformed(`quote has ${count} pcr selections, wanted at most ${MOST_SELECTIONS}`);
  const selections = Array.from({ length: count }, () => {
    const algorithm = u16();
    const size = u8();
    if (size > LONGEST_BITMAP) throw malformed(`pcr selection has ${size} bytes, wanted at most ${LONGEST_BITMAP}`);
    return { algorithm, pcrs: setBits(field(size)) };
  });
  const pcrDigest = field(u16());
  if (offset !== bytes.length) throw malformed(`quote has ${bytes.length - offset} bytes too many`);
  return { ...header, selections, pcrDigest };
}

/** What is checked about a quote, in the order failures are listed. */
const CHECKS: Readonly<Record<string, (quote: Quote, signed: SignedQuote, akKey: RsaPublicJwk) => boolean>> = {
  'quote is signed by the attestation key': (_, { message, signature }, akKey) =>
    verify('sha256', message, { key: importJwk(akKey), padding: constants.RSA_PKCS1_PADDING }, signature),
  'quote selects one sha-256 bank': ({ selections }) =>
    selections.length === 1 && selections[0]?.algorithm === ALG_SHA256,
  'pcr values are the quoted ones': ({ selections, pcrDigest }, { pcrs }) => {
    const values = quotedValues(
      selections.flatMap((selection) => selection.pcrs),
      pcrs,
    );
    return values !== undefined && equalBytes(sha256(...values), pcrDigest);
  },
};

/** Names of the checks of {@link quoteFailures}. */
export const QUOTE_CHECKS: readonly string[] = Object.keys(CHECKS);

/** The checks that a parsed quote fails. */
export function quoteFailures(quote: Quote, signed: SignedQuote, akKey: RsaPublicJwk): readonly string[] {
  return QUOTE_CHECKS.filter((name) => !CHECKS[name]?.(quote, signed, akKey));
}

/**
 * Whether the TPM that holds `akKey` states these PCR values. Says nothing about whose key it is, nor about the nonce.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`, or `ATTESTATION_REJECTED` with one failure per failed check
 */
export function verifyQuote(signed: SignedQuote, akKey: RsaPublicJwk): Quote {
  const quote = parseQuote(signed.message);
  const failures = quoteFailures(quote, signed, akKey);
  if (failures.length === 0) return quote;
  throw new SecureTrainingError('ATTESTATION_REJECTED', `quote rejected: not (${failures.join('; ')})`, { failures });
}

/**
 * The values of exactly the selected PCRs, ascending. A value beyond the selection is refused like a missing one:
 * nobody signed it, yet whoever reads the evidence would take it for signed.
 */
function quotedValues(selected: readonly number[], pcrs: SignedQuote['pcrs']): readonly Uint8Array[] | undefined {
  const given = parsePcrs(pcrs);
  const values = selected.map((pcr) => given[String(pcr)]).filter((value) => value !== undefined);
  if (values.length !== selected.length || Object.keys(given).length !== selected.length) return undefined;
  return values.map((value) => fromHex(value));
}

/** Bit i of byte j selects PCR 8j + i (TPM 2.0 part 2, 10.6.1). */
function setBits(bitmap: Uint8Array): readonly number[] {
  return [...bitmap].flatMap((byte, at) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter((i) => (byte >> i) & 1).map((i) => 8 * at + i),
  );
}
