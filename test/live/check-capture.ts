import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseEventLog } from '../../runtime/attestation/event-log.ts';
import { type EvidenceBundle, parseEvidence } from '../../runtime/attestation/evidence.ts';
import { parseHclReport } from '../../runtime/attestation/hcl-report.ts';
import { jsonObject } from '../../runtime/attestation/jws.ts';
import { verifyQuote } from '../../runtime/attestation/quote.ts';
import { parseSnpReport } from '../../runtime/attestation/snp-report.ts';
import { TRANSFER_KID, verifyToken } from '../../runtime/attestation/token.ts';
import { verifyEvidence } from '../../runtime/attestation/verify.ts';
import { fromBase64, sha256, toHex } from '../../runtime/crypto/bytes.ts';
import { rsaPublicJwk, thumbprint } from '../../runtime/crypto/jwk.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { ATTESTATION_POLICY, attestationPolicyHash } from '../../runtime/keys/release-policy.ts';
import { parseReleaseReply, replyFailures } from '../../runtime/keys/release-reply.ts';
import { publicAreaJwk } from '../../runtime/tpm/structures.ts';
import type { TrustAnchors } from '../../runtime/trust.ts';
import { type CaptureManifest, MANIFEST_FILE, type StepRecord } from '../../scripts/live/capture.ts';
import type { Exchange } from '../../scripts/live/exchange.ts';
import { expectedKey } from '../../scripts/live/vault-steps.ts';

/** A captured folder with its parts at hand. */
interface Captured {
  readonly manifest: CaptureManifest;
  readonly trust: TrustAnchors;
  /** Bytes of a step's file; `undefined` where the step has brought none. */
  readonly bytes: (step: string) => Uint8Array | undefined;
  readonly json: <T>(step: string) => T | undefined;
  readonly record: (step: string) => StepRecord | undefined;
}

/** `undefined` is fine, text says what is not. */
type Check = (captured: Captured) => string | undefined;

/** Whatever a folder holds is checked; what it does not hold is an open question, not a failure. */
const CHECKS: Readonly<Record<string, Check>> = {
  'hcl-report parses': ({ bytes }) => {
    const report = bytes('hcl-report');
    if (report !== undefined) parseSnpReport(parseHclReport(report).snpReport);
    return undefined;
  },
  'attestation key is the reported one': ({ bytes }) => {
    const [report, area, der] = [bytes('hcl-report'), bytes('ak-public'), bytes('ak-certificate')];
    if (report === undefined) return undefined;
    const names = [parseHclReport(report).akKey];
    if (area !== undefined) names.push(publicAreaJwk(area));
    if (der !== undefined) names.push(rsaPublicJwk(new X509Certificate(der).publicKey));
    return new Set(names.map(thumbprint)).size === 1 ? undefined : 'report, handle and certificate name several keys';
  },
  'evidence is genuine at its date': ({ json, record, trust }) => {
    const evidence = json<EvidenceBundle>('evidence');
    if (evidence !== undefined) verifyEvidence(parseEvidence(evidence), { trust, at: dateOf(record('evidence')) });
    return undefined;
  },
  'plain quote is signed and has no nonce': ({ bytes, json }) => {
    const [report, quote] = [bytes('hcl-report'), json<EvidenceBundle['quote']>('quote-plain')];
    if (report === undefined || quote === undefined) return undefined;
    const signed = { message: fromBase64(quote.message), signature: fromBase64(quote.signature), pcrs: quote.pcrs };
    const { extraData } = verifyQuote(signed, parseHclReport(report).akKey);
    return extraData.length === 0 ? undefined : `it has ${extraData.length} bytes of qualifying data`;
  },
  'tcbm is the reported tcb': ({ bytes, json }) => {
    const [report, thim] = [bytes('hcl-report'), json<Exchange>('thim-certificates')];
    if (report === undefined || thim?.answer.status !== 200) return undefined;
    // Most significant first, where the report has the least significant first.
    const wanted = toHex(parseSnpReport(parseHclReport(report).snpReport).reportedTcb.toReversed());
    const { tcbm } = JSON.parse(thim.answer.body) as { tcbm?: unknown };
    return String(tcbm).toLowerCase() === wanted ? undefined : `tcbm is ${String(tcbm)}, the report says ${wanted}`;
  },
  'vm id is the reported one': ({ bytes, json }) => {
    const [report, vmId] = [bytes('hcl-report'), json<Exchange>('vm-id')];
    if (report === undefined || vmId?.answer.status !== 200) return undefined;
    const [found, wanted] = [vmId.answer.body.trim().toLowerCase(), parseHclReport(report).vmConfiguration.vmUniqueId];
    return found === wanted ? undefined : 'the metadata service names another machine';
  },
  'event log parses': ({ bytes }) => {
    const log = bytes('event-log');
    if (log !== undefined && log.length > 0) parseEventLog(log);
    return undefined;
  },
  'pcr 15 was zero': ({ json }) => {
    const value = json<Record<string, string>>('pcrs')?.['15'];
    return value === undefined || /^0{64}$/.test(value) ? undefined : 'a run would be refused on this image';
  },
  'issuer has no slash': ({ manifest, json }) => {
    const document = json<Exchange>('openid-configuration');
    if (document?.answer.status !== 200) return undefined;
    const { issuer } = JSON.parse(document.answer.body) as { issuer?: unknown };
    return issuer === manifest.authority ? undefined : `issuer is ${String(issuer)}, wanted ${manifest.authority}`;
  },
  'token of the control holds': tokenOf('attest-as-microsoft'),
  'token of a random unique holds': tokenOf('attest-random-unique'),
  'token of pcr 0-15 holds': tokenOf('attest-pcrs-0-15'),
  'token of a quote with qualifying data holds': tokenOf('attest-qualifying-data'),
  'token names the policy we hash': ({ json }) => {
    const token = json<Exchange>('attest-as-microsoft')?.token;
    if (token === undefined) return undefined;
    const claims = jsonObject(fromBase64(token.split('.')[1] ?? ''), 'token');
    const wanted = attestationPolicyHash(ATTESTATION_POLICY);
    return claims['x-ms-policy-hash'] === wanted ? undefined : `x-ms-policy-hash is not ${wanted}`;
  },
  'altered report is refused': refusedWith('attest-altered-report', 400),
  'key without its certification is refused': refusedWith('attest-wrong-key', 400),
  'policy that denies refuses': refusedWith('attest-denying-policy', 400),
  'release reply holds': releaseReply,
  'release opened in the vtpm': ({ json }) => {
    const opened = json<Exchange>('release')?.opened;
    return opened === undefined || 'nonceEchoed' in opened ? undefined : opened.failures.join('; ');
  },
  'release with an altered token is refused': refusedWith('release-altered-token', 403),
  'release without a role is refused': refusedWith('release-no-role', 403),
  'release against the policy is refused': refusedWith('release-wrong-policy', 403),
  'release with an expired token is refused': refusedWith('release-expired-token', 403),
  'release of a disabled key is refused': refusedWith('release-disabled-key', 403),
  'release of an expired key is granted': ({ json }) => {
    const status = json<Exchange>('release-expired-key')?.answer.status;
    return status === undefined || status === 200 ? undefined : `status ${status}: expiry does stop a release`;
  },
};

/** Names of all checks, in the order failures are listed. */
export const CAPTURE_CHECKS: readonly string[] = Object.keys(CHECKS);

/**
 * Puts a captured folder through the parsers and checks that production uses, as of the times it was captured at.
 * Where the code takes something for granted, the capture has to show it: a failure is a wrong assumption, or a damaged file.
 * @returns what fails, `CHECK: why`
 */
export function captureFailures(folder: string, trust: TrustAnchors): readonly string[] {
  const manifest = JSON.parse(readFileSync(join(folder, MANIFEST_FILE), 'utf8')) as CaptureManifest;
  const damaged = manifest.steps
    .filter(({ file, sha256: digest }) => file !== undefined && toHex(sha256(readBytes(folder, file))) !== digest)
    .map(({ file }) => `files are the captured ones: ${file} has another digest`);
  const record = (step: string) => manifest.steps.find(({ name }) => name === step);
  const bytes = (step: string) => {
    const file = record(step)?.file;
    return file === undefined ? undefined : readBytes(folder, file);
  };
  const json = <T>(step: string) => {
    const content = bytes(step);
    return content === undefined ? undefined : (JSON.parse(new TextDecoder().decode(content)) as T);
  };
  const captured: Captured = { manifest, trust, bytes, json, record };
  return [...damaged, ...CAPTURE_CHECKS.flatMap((name) => run(name, captured))];
}

function run(name: string, captured: Captured): string[] {
  try {
    const why = CHECKS[name]?.(captured);
    return why === undefined ? [] : [`${name}: ${why}`];
  } catch (error) {
    if (!(error instanceof SecureTrainingError || error instanceof SyntaxError)) throw error;
    return [`${name}: ${error.message}`];
  }
}

/** All that a token is compared with stands in the request it answers. */
function tokenOf(step: string): Check {
  return ({ manifest, bytes, json, record }) => {
    const asked = json<Exchange>(step);
    const [report, certificates] = [bytes('hcl-report'), json<Exchange>('certs')?.answer.body];
    if (asked?.token === undefined || report === undefined || certificates === undefined) return undefined;
    const { AttestationInfo } = JSON.parse(asked.request.body ?? '{}') as Record<string, string>;
    const info = jsonObject(fromBase64(AttestationInfo ?? '', 'request'), 'request');
    const { nonce = '' } = info.ClientPayload as Record<string, string>;
    const { EncKeyPub = '' } = info.TpmInfo as Record<string, string>;
    verifyToken(asked.token, {
      authority: manifest.authority ?? '',
      certificates: JSON.parse(certificates),
      nonce: new TextDecoder().decode(fromBase64(nonce)),
      ephemeralModulus: fromBase64(publicAreaJwk(fromBase64(EncKeyPub)).n),
      vmId: parseHclReport(report).vmConfiguration.vmUniqueId,
      now: dateOf(record(step)),
    });
    return undefined;
  };
}

function releaseReply({ manifest, json, record, trust }: Captured): string | undefined {
  const [release, described] = [json<Exchange>('release'), json<Exchange>('key')];
  const { release: key } = manifest.keys;
  if (release?.answer.status !== 200 || key === undefined) return undefined;
  const { value } = JSON.parse(release.answer.body) as { value: string };
  const { nonce } = JSON.parse(release.request.body ?? '{}') as { nonce: string };
  const bundle = described?.answer.status === 200 ? JSON.parse(described.answer.body) : undefined;
  const failures = replyFailures(parseReleaseReply(value), {
    expected: expectedKey(manifest.vaultHost ?? '', key, bundle, value),
    transferKid: TRANSFER_KID,
    nonce,
    vaultRoots: trust.vaultRoots,
    at: dateOf(record('release')),
  });
  return failures.length === 0 ? undefined : failures.join('; ');
}

/** The status our code takes as final, with words that it can show. */
function refusedWith(step: string, wanted: number): Check {
  return ({ json }) => {
    const answer = json<Exchange>(step)?.answer;
    if (answer === undefined) return undefined;
    if (answer.status !== wanted) return `status is ${answer.status}, wanted ${wanted}`;
    const { error } = JSON.parse(answer.body) as { error?: { code?: unknown; message?: unknown } };
    const told = typeof error?.code === 'string' && typeof error.message === 'string';
    return told ? undefined : 'the body has no error with code and message';
  };
}

function dateOf(record: StepRecord | undefined): Date {
  return new Date(record?.at ?? Number.NaN);
}

function readBytes(folder: string, file: string): Uint8Array {
  return Uint8Array.from(readFileSync(join(folder, file)));
}
