import { createHash, verify, type X509Certificate } from 'node:crypto';
import type { Generation, Tcb } from '../catalogue.ts';
import { concat, equalBytes, fromHex, sha256, toHex } from '../crypto/bytes.ts';
import type { RsaPublicJwk } from '../crypto/jwk.ts';
import { SecureTrainingError } from '../errors.ts';
import type { TrustAnchors } from '../trust.ts';
import { type BootFacts, type ExaminedLog, examineEventLog } from './boot-facts.ts';
import { parseVcekChain, type VcekChain } from './certificates.ts';
import { type Evidence, parsePcrs } from './evidence.ts';
import { type HclReport, parseHclReport } from './hcl-report.ts';
import { parseQuote, QUOTE_CHECKS, type Quote, quoteFailures } from './quote.ts';
import { isCurrent, isListOf, isRevoked } from './revocation-checks.ts';
import { parseRevocationList, type RevocationList } from './revocation-list.ts';
import { decodeTcb, encodeTcb, isOfGeneration, parseSnpReport, type SnpReport } from './snp-report.ts';

export interface VerifyOptions {
  readonly trust: TrustAnchors;
  /** When the certificates must be valid. */
  readonly at: Date;
  /**
   * AMD's revocation lists, DER or PEM. Those of other generations than the evidence's say nothing about it.
   * @default - not asked: a revoked certificate is as good as any
   */
  readonly revocationLists?: readonly Uint8Array[];
}

/** What genuine evidence states. Names are lower-case hex. */
export interface VerifiedFacts {
  readonly hardware: TrustAnchors['hardware'];
  readonly generation: Generation;
  /** Whether there was a revocation list of this generation to hold the certificates against. */
  readonly revocationListShown: boolean;
  readonly product: string;
  readonly reportVersion: number;
  readonly guestSvn: number;
  readonly debug: boolean;
  /** Whether the guest policy would let a migration agent in. */
  readonly migrationAllowed: boolean;
  /** Whether one is associated: the report names its id. */
  readonly migrationAgentPresent: boolean;
  readonly smtAllowed: boolean;
  readonly vmpl: number;
  readonly platformInfo: number;
  readonly aliasCheckComplete: boolean;
  readonly measurement: string;
  readonly hostData: string;
  readonly idKeyDigest: string;
  readonly familyId: string;
  readonly imageId: string;
  readonly chipId: string;
  readonly reportedTcb: Tcb;
  readonly committedTcb: Tcb;
  readonly launchTcb: Tcb;
  readonly currentTcb: Tcb;
  /** Firmware `major.minor.build`. */
  readonly firmwareVersion: string;
  readonly vmUniqueId: string;
  readonly secureBoot: boolean;
  readonly tpmEnabled: boolean;
  readonly consoleEnabled: boolean;
  /** The vTPM's attestation key: trustworthy because the signed report hashes the claims that name it. */
  readonly akKey: RsaPublicJwk;
  /** Ascending. */
  readonly quotedPcrs: readonly number[];
  /** SHA-256 bank, the quoted PCRs only. */
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
  readonly quoteNonce: Uint8Array;
  /** Milliseconds of the vTPM's clock, for records of a run: it starts anew with every virtual machine. */
  readonly tpmClock: number;
  readonly resetCount: number;
  readonly restartCount: number;
  /**
   * What the event log says of the boot.
   * @default - the machine showed none
   */
  readonly boot?: BootFacts;
}

interface ParsedEvidence {
  readonly hcl: HclReport;
  readonly report: SnpReport;
  readonly chain: VcekChain;
  /** Of the generation of the chain. */
  readonly lists: readonly RevocationList[];
  readonly quote: Quote;
  /** Not every vTPM has a log to show, so a machine without one is no worse: PCR values are what policies compare. */
  readonly log: ExaminedLog | undefined;
}

const CHECKS: Readonly<Record<string, (parsed: ParsedEvidence, options: VerifyOptions) => boolean>> = {
  'root is the pinned key': ({ chain }, { trust }) => keyDigest(chain.ark) === trust.amdRootKeys[chain.generation],
  'ark is issued by itself': ({ chain }) => isIssuedBy(chain.ark, chain.ark),
  'ask is issued by the ark': ({ chain }) => isIssuedBy(chain.ask, chain.ark),
  'vcek is issued by the ask': ({ chain }) => isIssuedBy(chain.vcek, chain.ask),
  'certificates are valid at that time': ({ chain }, { at }) =>
    [chain.vcek, chain.ask, chain.ark].every(
      ({ validFrom, validTo }) => Date.parse(validFrom) <= at.getTime() && at.getTime() <= Date.parse(validTo),
    ),
  'revocation list is signed by the ark': ({ lists, chain }) => lists.every((list) => isListOf(list, chain.ark)),
  'revocation list is current at that time': ({ lists }, { at }) => lists.every((list) => isCurrent(list, at)),
  'no certificate of the chain is revoked': ({ lists, chain }) =>
    ![chain.vcek, chain.ask, chain.ark].some((certificate) => lists.some((list) => isRevoked(list, certificate))),
  'vcek is of the generation of its chain': ({ chain }) => chain.product.split('-')[0] === chain.generation,
  'report is of the generation of its chain': ({ report, chain }) => isOfGeneration(report, chain.generation),
  'report is signed with a vcek': ({ report }) => report.signingKey === 0,
  'chip key is not masked': ({ report }) => !report.chipKeyMasked,
  'report is signed by this vcek': ({ report: { signedBytes, signature }, chain }) =>
    verify('sha384', signedBytes, { key: chain.vcek.publicKey, dsaEncoding: 'ieee-p1363' }, signature),
  'vcek is of the reporting chip': ({ report, chain }) =>
    // Turin's short id is followed by zeros in the report.
    equalBytes(report.chipId, concat(chain.hardwareId, new Uint8Array(64 - chain.hardwareId.length))),
  'vcek is of the reported tcb': ({ report, chain }) =>
    equalBytes(report.reportedTcb, encodeTcb(chain.tcb, chain.generation)),
  'claims are the reported ones': ({ hcl, report }) =>
    equalBytes(report.reportData, concat(sha256(hcl.runtimeClaims), new Uint8Array(32))),
  'event log replays to the quoted pcrs': ({ log }) => log === undefined || log.replays,
  'event log agrees on secure boot': ({ log, hcl }) =>
    log?.facts.secureBoot === undefined || log.facts.secureBoot.enabled === hcl.vmConfiguration.secureBoot,
};

/** Names of all checks of {@link verifyEvidence}, in the order failures are listed. */
export const VERIFY_CHECKS: readonly string[] = [...Object.keys(CHECKS), ...QUOTE_CHECKS];

/**
 * Decides whether evidence is genuine: AMD's root to chip key to report to claims to attestation key to quote.
 * Does not ask whether the environment is a good one: that is `appraise`.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`, or `ATTESTATION_REJECTED` with one failure per failed check
 */
export function verifyEvidence(evidence: Evidence, options: VerifyOptions): VerifiedFacts {
  const { facts, failures } = examineUnverified(evidence, options);
  if (failures.length === 0) return facts;
  throw new SecureTrainingError('ATTESTATION_REJECTED', `evidence is not genuine: not (${failures.join('; ')})`, {
    failures,
  });
}

/**
 * What evidence says together with what is wrong with it. The facts mean nothing unless `failures` is empty:
 * they are there so that one refusal can name everything. Use {@link verifyEvidence}.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`
 */
export function examineUnverified(
  evidence: Evidence,
  options: VerifyOptions,
): { readonly facts: VerifiedFacts; readonly failures: readonly string[] } {
  const hcl = parseHclReport(evidence.hclReport);
  const report = parseSnpReport(hcl.snpReport);
  const chain = parseVcekChain(evidence.vcekChain);
  const lists = (options.revocationLists ?? [])
    .map((list) => parseRevocationList(list))
    .filter(({ generation }) => generation === chain.generation);
  const quote = parseQuote(evidence.quote.message);
  // Some Azure vTPMs show a log of no bytes (seen in 2026): the same as none.
  const log = evidence.eventLog?.length ? examineEventLog(evidence.eventLog, pcrValues(evidence)) : undefined;
  const parsed: ParsedEvidence = { hcl, report, chain, lists, quote, log };
  return {
    facts: readFacts(parsed, evidence, options.trust),
    failures: [
      ...Object.keys(CHECKS).filter((name) => !CHECKS[name]?.(parsed, options)),
      ...quoteFailures(quote, evidence.quote, hcl.akKey),
    ],
  };
}

function readFacts(
  { hcl, report, chain, lists, quote, log }: ParsedEvidence,
  evidence: Evidence,
  trust: TrustAnchors,
): VerifiedFacts {
  const { generation, product } = chain;
  const quotedPcrs = quote.selections.flatMap(({ pcrs }) => pcrs);
  return {
    hardware: trust.hardware,
    generation,
    revocationListShown: lists.length > 0,
    product,
    reportVersion: report.version,
    guestSvn: report.guestSvn,
    debug: report.policy.debug,
    migrationAllowed: report.policy.migrationAgent,
    migrationAgentPresent: report.reportIdMa !== NO_MIGRATION_AGENT,
    smtAllowed: report.policy.smt,
    vmpl: report.vmpl,
    platformInfo: report.platformInfo,
    aliasCheckComplete: report.aliasCheckComplete,
    measurement: report.measurement,
    hostData: report.hostData,
    idKeyDigest: report.idKeyDigest,
    familyId: report.familyId,
    imageId: report.imageId,
    chipId: toHex(report.chipId),
    reportedTcb: decodeTcb(report.reportedTcb, generation),
    committedTcb: decodeTcb(report.committedTcb, generation),
    launchTcb: decodeTcb(report.launchTcb, generation),
    currentTcb: decodeTcb(report.currentTcb, generation),
    firmwareVersion: report.currentVersion,
    ...hcl.vmConfiguration,
    akKey: hcl.akKey,
    quotedPcrs,
    pcrs: pcrValues(evidence),
    quoteNonce: quote.extraData,
    tpmClock: quote.clock,
    resetCount: quote.resetCount,
    restartCount: quote.restartCount,
    ...(log === undefined ? {} : { boot: log.facts }),
  };
}

function pcrValues({ quote }: Evidence): ReadonlyMap<number, Uint8Array> {
  const values = Object.entries(parsePcrs(quote.pcrs));
  return new Map(values.map(([pcr, value]): [number, Uint8Array] => [Number(pcr), fromHex(value)]));
}

const NO_MIGRATION_AGENT = 'ff'.repeat(32);

/** Names and key identifiers first: a signature alone would not say that the signer may issue certificates. */
function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

/** A root as {@link TrustAnchors} names it. */
export function keyDigest(certificate: X509Certificate): string {
  return createHash('sha256')
    .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex');
}
