import { createPublicKey, verify, X509Certificate } from 'node:crypto';
import {
  HCL_DATA_HEADER,
  HCL_DATA_VERSION,
  HCL_HASH_SHA256,
  HCL_OFFSETS,
  HCL_REPORT_SNP,
  HCL_REQUEST_AK_CERT,
  HCL_SIGNATURE,
} from '../runtime/attestation/hcl-report.ts';
import { parseSnpReport, type SnpReport } from '../runtime/attestation/snp-report.ts';
import { examineUnverified, type VerifiedFacts } from '../runtime/attestation/verify.ts';
import { equalBytes, fromHex } from '../runtime/crypto/bytes.ts';
import { importJwk, type RsaPublicJwk, rsaPublicJwk, thumbprint } from '../runtime/crypto/jwk.ts';
import { SecureTrainingError } from '../runtime/errors.ts';
import {
  objectName,
  parseAttest,
  parseRsaPublic,
  pcrPolicy,
  publicAreaJwk,
  type RsaPublicArea,
} from '../runtime/tpm/structures.ts';
import { ALGORITHM, ATTRIBUTE } from '../runtime/tpm/wire.ts';
import type { TrustAnchors } from '../runtime/trust.ts';
import type { GuestRequest } from './azure-guest-request.ts';

export interface GuestVerificationOptions {
  readonly trust: TrustAnchors;
  readonly at: Date;
  /**
   * PEM certificate of the authority below which attestation keys have theirs.
   * @default - any issuer: the key is trusted because the report names it, never because of its certificate
   */
  readonly vtpmAuthority?: string;
}

/** A guest whose every statement holds. */
export interface VerifiedGuest {
  readonly facts: VerifiedFacts;
  readonly report: SnpReport;
  readonly ephemeralKey: RsaPublicJwk;
}

interface Guest extends VerifiedGuest {
  readonly request: GuestRequest;
  readonly area: RsaPublicArea;
}

/** PCRs that a quote covers at the least: firmware, boot loader and secure-boot state. */
const REQUIRED_PCRS = [0, 1, 2, 3, 4, 5, 6, 7];
/** No userWithAuth: such a key would open without its PCR policy. */
const EPHEMERAL_ATTRIBUTES =
  ATTRIBUTE.decrypt | ATTRIBUTE.noDa | ATTRIBUTE.sensitiveDataOrigin | ATTRIBUTE.fixedParent | ATTRIBUTE.fixedTpm;

const CHECKS: Readonly<Record<string, (guest: Guest, options: GuestVerificationOptions) => boolean>> = {
  'debug is off': ({ facts }) => !facts.debug,
  'migration is off': ({ facts }) => !facts.migrationAllowed && !facts.migrationAgentPresent,
  'vmpl is 0': ({ facts }) => facts.vmpl === 0,
  'quote covers pcr 0 to 7': ({ facts }) => REQUIRED_PCRS.every((pcr) => facts.quotedPcrs.includes(pcr)),
  // Microsoft's client sends none; whether the service takes another is not known.
  'quote has empty qualifying data': ({ facts }) => facts.quoteNonce.length === 0,
  'attestation key is the reported one': ({ request, facts }) =>
    thumbprint(publicAreaJwk(request.akPublicArea)) === thumbprint(facts.akKey),
  'certificate is of the attestation key': ({ request, facts }, options) => isAkCertificate(request, facts, options),
  'ephemeral key is a decryption key of the vTPM': ({ area }) =>
    area.nameAlgorithm === ALGORITHM.sha256 &&
    area.attributes === EPHEMERAL_ATTRIBUTES &&
    area.symmetric.algorithm === ALGORITHM.null &&
    area.scheme.algorithm === ALGORITHM.null &&
    area.keyBits === 2048 &&
    area.unique.length === 256 &&
    area.exponent === 0,
  'ephemeral key is bound to the quoted pcrs': ({ area, request }) =>
    equalBytes(area.authPolicy, pcrPolicy(pcrValues(request))),
  'ephemeral key is certified by the attestation key': ({ request, facts }) => isCertified(request, facts),
};

/** Names of the checks of {@link verifyGuest} beyond those of `verifyEvidence`. */
export const GUEST_CHECKS: readonly string[] = Object.keys(CHECKS);

/**
 * Verifies all that a client of `attest/AzureGuest` sent: chip to report to claims to attestation key to quote and to the
 * ephemeral key, and that this is no machine under debug.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`, `ATTESTATION_REJECTED` with every failed check
 */
export function verifyGuest(request: GuestRequest, options: GuestVerificationOptions): VerifiedGuest {
  const { vcekChain, quote, eventLog } = request;
  const evidence = { hclReport: hclReport(request), vcekChain, quote, eventLog };
  const { facts, failures } = examineUnverified(evidence, options);
  const guest: Guest = {
    request,
    facts,
    report: parseSnpReport(request.snpReport),
    area: parseRsaPublic(request.ephemeral.publicArea),
    ephemeralKey: publicAreaJwk(request.ephemeral.publicArea),
  };
  const all = [...failures, ...GUEST_CHECKS.filter((name) => CHECKS[name]?.(guest, options) !== true)];
  if (all.length === 0) return { facts, report: guest.report, ephemeralKey: guest.ephemeralKey };
  throw new SecureTrainingError('ATTESTATION_REJECTED', `guest rejected: not (${all.join('; ')})`, { failures: all });
}

/** Guests send the report's parts without the paravisor's header, which no signature covers: put a plain one before them. */
function hclReport({ snpReport, runtimeClaims }: GuestRequest): Uint8Array {
  const at = HCL_OFFSETS;
  const bytes = new Uint8Array(at.claims + runtimeClaims.length);
  const view = new DataView(bytes.buffer);
  const dataSize = HCL_DATA_HEADER + runtimeClaims.length;
  // Also refuses a report of another length, which would not stand where it is read.
  parseSnpReport(snpReport);
  view.setUint32(at.signature, HCL_SIGNATURE, true);
  view.setUint32(at.headerVersion, 2, true);
  view.setUint32(at.reportSize, at.hardwareReport + snpReport.length + dataSize, true);
  view.setUint32(at.requestType, HCL_REQUEST_AK_CERT, true);
  bytes.set(snpReport, at.hardwareReport);
  view.setUint32(at.dataSize, dataSize, true);
  view.setUint32(at.dataVersion, HCL_DATA_VERSION, true);
  view.setUint32(at.reportType, HCL_REPORT_SNP, true);
  view.setUint32(at.hashType, HCL_HASH_SHA256, true);
  view.setUint32(at.claimsSize, runtimeClaims.length, true);
  bytes.set(runtimeClaims, at.claims);
  return bytes;
}

function isAkCertificate(
  { akCertificate }: GuestRequest,
  { akKey }: VerifiedFacts,
  options: GuestVerificationOptions,
): boolean {
  try {
    const certificate = new X509Certificate(withoutPadding(akCertificate));
    const { validFromDate, validToDate, publicKey } = certificate;
    if (options.at < validFromDate || options.at > validToDate) return false;
    if (thumbprint(rsaPublicJwk(publicKey)) !== thumbprint(akKey)) return false;
    if (options.vtpmAuthority === undefined) return true;
    const authority = new X509Certificate(options.vtpmAuthority);
    return certificate.checkIssued(authority) && certificate.verify(authority.publicKey);
  } catch {
    // No certificate at all, or of a key that cannot be the attestation key.
    return false;
  }
}

/** The NV index is larger than the certificate in it: the outer DER length (two bytes, `30 82`) says where it ends. */
function withoutPadding(certificate: Uint8Array): Uint8Array {
  const [tag, form, high = 0, low = 0] = certificate;
  return tag === 0x30 && form === 0x82 ? certificate.subarray(0, 4 + high * 256 + low) : certificate;
}

function isCertified({ ephemeral }: GuestRequest, { akKey }: VerifiedFacts): boolean {
  const attest = parseAttest(ephemeral.certifyInfo);
  return (
    attest.kind === 'certify' &&
    equalBytes(attest.name, objectName(ephemeral.publicArea)) &&
    verify(
      'sha256',
      ephemeral.certifyInfo,
      createPublicKey(importJwk(akKey).export({ type: 'spki', format: 'pem' })),
      ephemeral.certifySignature,
    )
  );
}

function pcrValues({ quote }: GuestRequest): Map<number, Uint8Array> {
  return new Map(Object.entries(quote.pcrs).map(([index, value]) => [Number(index), fromHex(value)]));
}
