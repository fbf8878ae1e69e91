import { equalBytes, toHex } from '../crypto/bytes.ts';
import type { RsaPublicJwk } from '../crypto/jwk.ts';
import { SecureTrainingError } from '../errors.ts';
import { AZURE_VTPM } from './azure-handles.ts';
import { parseAttest, parseRsaPublic, pcrDigest, publicAreaJwk } from './structures.ts';
import type { Attestation, Tpm } from './tpm.ts';
import { ATTRIBUTE, Reader } from './wire.ts';

export { AZURE_VTPM } from './azure-handles.ts';
export { createEphemeralKey, EphemeralKey } from './ephemeral-key.ts';

/** Times a quote is taken again when a PCR moves between the quote and the reading of its values. */
const QUOTE_ATTEMPTS = 3;

/** The HCL report with the zero bytes that fill its NV area. */
export function readHclReport(tpm: Tpm): Promise<Uint8Array> {
  return tpm.nvRead(AZURE_VTPM.hclReportIndex);
}

/** DER of the AK certificate; the NV area is larger and padded, so the length is the one the certificate states. */
export async function readAkCertificate(tpm: Tpm): Promise<Uint8Array> {
  return cutDer(await tpm.nvRead(AZURE_VTPM.akCertificateIndex));
}

export interface AkPublic {
  /** TPM2B_PUBLIC. */
  readonly publicArea: Uint8Array;
  readonly jwk: RsaPublicJwk;
}

/**
 * @throws {@link SecureTrainingError} `ATTESTATION_REJECTED` unless the key is one that signs nothing but the TPM's own
 * statements and cannot leave it: any other key would sign a quote that somebody made up
 */
export async function readAkPublic(tpm: Tpm): Promise<AkPublic> {
  const { publicArea } = await tpm.readPublic(AZURE_VTPM.akHandle);
  const { attributes } = parseRsaPublic(publicArea);
  const { fixedTpm, restricted, sign, decrypt } = ATTRIBUTE;
  if ((attributes & (fixedTpm | restricted | sign | decrypt)) !== (fixedTpm | restricted | sign)) {
    const found = `0x${attributes.toString(16).padStart(8, '0')}`;
    throw new SecureTrainingError(
      'ATTESTATION_REJECTED',
      `attestation key has attributes ${found}, wanted a restricted signing key fixed to the TPM (0x00050472)`,
    );
  }
  return { publicArea, jwk: publicAreaJwk(publicArea) };
}

export interface PcrQuote extends Attestation {
  /** Hex values by PCR number, the ones the quote's digest covers. */
  readonly pcrs: Readonly<Record<string, string>>;
}

/** A quote by the attestation key, and the PCR values that go with it. */
export async function quotePcrs(tpm: Tpm, nonce: Uint8Array, pcrs: readonly number[]): Promise<PcrQuote> {
  for (let attempt = 0; attempt < QUOTE_ATTEMPTS; attempt++) {
    const quote = await tpm.quote(AZURE_VTPM.akHandle, nonce, pcrs);
    const values = await tpm.pcrRead(pcrs);
    const attest = parseAttest(quote.message);
    if (attest.kind === 'quote' && equalBytes(attest.pcrDigest, pcrDigest(values))) {
      return { ...quote, pcrs: Object.fromEntries([...values].map(([pcr, value]) => [String(pcr), toHex(value)])) };
    }
  }
  throw new SecureTrainingError(
    'ATTESTATION_REJECTED',
    `quote does not match pcr ${pcrs.join(', ')} in ${QUOTE_ATTEMPTS} tries`,
  );
}

/** Length of a DER SEQUENCE with a long-form length of two bytes, as every X.509 certificate of 256 bytes or more has. */
function cutDer(area: Uint8Array): Uint8Array {
  const reader = new Reader(area, 'AK certificate');
  const start = reader.u16();
  if (start !== 0x3082) {
    const found = start.toString(16).padStart(4, '0');
    throw new SecureTrainingError(
      'EVIDENCE_MALFORMED',
      `AK certificate starts with ${found}, wanted 3082 (a DER sequence)`,
    );
  }
  return new Reader(area, 'AK certificate').bytes(4 + reader.u16());
}
