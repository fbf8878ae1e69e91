import { parseEvidence } from './attestation/evidence.ts';
import { TRANSFER_KID } from './attestation/token.ts';
import { acceptEvidence } from './attestation/verdict.ts';
import { sha256, toHex, utf8 } from './crypto/bytes.ts';
import { SecureTrainingError } from './errors.ts';
import { parseReleaseReply, replyFailures } from './keys/release-reply.ts';
import { vaultKeyId } from './keys/slots.ts';
import { runMeasurement } from './run-measurement.ts';
import { type Agreement, verifyAgreement } from './statements/agreement.ts';
import { quoteNonce, releaseNonce } from './statements/bindings.ts';
import { evidenceDigest, parseReceipt, type ReceiptContent } from './statements/receipt.ts';
import { privacyTerms } from './training/privacy/terms.ts';
import type { TrustAnchors } from './trust.ts';

/**
 * What a receipt proves. AUTHENTIC: a vault of the named owners released to this very run. CONSISTENT: everything fits,
 * but anybody with a confidential VM could have made it. EMULATED: no hardware stands behind it. REJECTED: it does not hold.
 */
export type Verdict = 'AUTHENTIC' | 'CONSISTENT' | 'EMULATED' | 'REJECTED';

/** Exit code of `ctrain verify` for each verdict. */
export const VERDICT_EXIT_CODES: Readonly<Record<Verdict, number>> = {
  AUTHENTIC: 0,
  REJECTED: 10,
  CONSISTENT: 11,
  EMULATED: 12,
};

export interface ReceiptCheck {
  readonly name: string;
  readonly passed: boolean;
  /** Why it failed, or what was found. */
  readonly detail: string;
}

export interface VerifyReceiptOptions {
  readonly receipt: Uint8Array;
  readonly agreement: Uint8Array;
  readonly trust: TrustAnchors;
  /** Thumbprints of owner keys that the verifier knows from elsewhere, or the agreement's digest; both empty proves only consistency. */
  readonly knownOwners: readonly string[];
  readonly knownAgreement?: string;
  /** The vaults' signed replies by owner id, from opened annexes. */
  readonly releaseReplies: Readonly<Record<string, string>>;
  /** Opened model files by name, to compare with the receipt's subjects. */
  readonly modelFiles?: Readonly<Record<string, Uint8Array>>;
  /**
   * AMD's revocation lists, DER or PEM; the one of the machine's generation has to be among them.
   * @default - not asked, unless the agreement requires one: a receipt carries none
   */
  readonly revocationLists?: readonly Uint8Array[];
}

export interface ReceiptVerdict {
  readonly verdict: Verdict;
  readonly checks: readonly ReceiptCheck[];
  readonly content?: ReceiptContent;
  readonly digest?: string;
}

/** Runs every check that can be run, offline, and says what the receipt proves. Never throws for what the receipt holds. */
export function verifyReceipt(options: VerifyReceiptOptions): ReceiptVerdict {
  const checks: ReceiptCheck[] = [];
  const check = <T>(name: string, work: () => T, detail: (value: T) => string = () => ''): T | undefined => {
    try {
      const value = work();
      checks.push({ name, passed: true, detail: detail(value) });
      return value;
    } catch (error) {
      if (!(error instanceof SecureTrainingError)) throw error;
      checks.push({
        name,
        passed: false,
        detail: error.failures.length > 0 ? error.failures.join('; ') : error.message,
      });
      return undefined;
    }
  };

  const receipt = check(
    'receipt is signed by the key it names',
    () => parseReceipt(options.receipt),
    ({ content }) => content.runId,
  );
  if (receipt === undefined) return { verdict: 'REJECTED', checks };
  const { content, digest } = receipt;
  const at = new Date(content.finishedOn);

  const agreed = check(
    'agreement is signed by every party and names this trainer',
    () => verifyAgreement(options.agreement, { trainerSha256: content.trainerSha256, now: at }),
    ({ agreement }) => agreement.owners.map((owner) => owner.name).join(', '),
  );
  if (agreed === undefined) return { verdict: 'REJECTED', checks, content, digest };
  const { agreement } = agreed;
  check('receipt is about this agreement', () =>
    requireEqual('agreement digest', content.agreementDigest, agreed.digest),
  );
  check('manifests, keys, metrics and configuration are those agreed on', () => requireAgreed(content, agreement));
  check(
    'evidence is genuine and the machine is what the agreement demands',
    () => checkEvidence(content, agreement, options),
    String,
  );
  check('model files are those of the receipt', () => checkModel(content, options.modelFiles), String);

  if (privacyTerms(agreement.configuration) !== undefined && agreement.configuration.training.epochs > 0) {
    check(
      'each row is protected by differential privacy, within what was agreed on',
      () => checkPrivacy(content, agreement),
      String,
    );
  }

  const tied = agreement.owners.map((owner) => {
    const reply = options.releaseReplies[owner.ownerId];
    if (reply === undefined) return false;
    const name = `vault of ${owner.name} released its key to this run`;
    return check(name, () => checkRelease(content, owner, reply, options.trust, at), tieText) === true;
  });
  if (checks.some(({ passed }) => !passed)) return { verdict: 'REJECTED', checks, content, digest };
  if (options.trust.hardware === 'EMULATED') return { verdict: 'EMULATED', checks, content, digest };
  const known =
    options.knownAgreement === agreed.digest ||
    (agreement.owners.length > 0 && agreement.owners.every((owner) => options.knownOwners.includes(owner.ownerId)));
  return { verdict: known && tied.every(Boolean) ? 'AUTHENTIC' : 'CONSISTENT', checks, content, digest };
}

/** The quote must bind exactly this receipt key, agreement and run, on the machine that measured this trainer. */
function checkEvidence(
  content: ReceiptContent,
  agreement: Agreement,
  { trust, revocationLists }: VerifyReceiptOptions,
): string {
  requireEqual('evidence digest', evidenceDigest(content.evidence), content.evidenceSha256);
  requireEqual('hardware', content.hardware, trust.hardware);
  const { agreementDigest, receiptKey, runId, trainerSha256 } = content;
  const facts = acceptEvidence(parseEvidence(content.evidence), {
    trust,
    at: new Date(content.startedOn),
    policy:
      revocationLists === undefined ? agreement.environment : { ...agreement.environment, revocationList: 'required' },
    ...(revocationLists === undefined ? {} : { revocationLists }),
    expected: {
      nonce: quoteNonce({ agreementDigest, receiptKey, runId }),
      pcr15: sha256(new Uint8Array(32), runMeasurement(trainerSha256, agreementDigest, runId)),
    },
  });
  return `${facts.generation}, ${content.hardware}`;
}

function requireAgreed(content: ReceiptContent, agreement: Agreement): void {
  const wanted = agreement.owners.flatMap(({ ownerId, datasets }) =>
    datasets.map(({ dataset, version, manifestDigest }) => ({ ownerId, dataset, version, digest: manifestDigest })),
  );
  requireEqual('manifests', JSON.stringify(content.manifests), JSON.stringify(wanted));
  // Where the owner's reply is not shown, what the receipt says of the release is all that a reader has.
  const keys = agreement.owners.map((owner) => [owner.ownerId, owner.vaultHost, vaultKeyId(owner)]);
  const released = content.releases.map(({ ownerId, vaultHost, keyId }) => [ownerId, vaultHost, keyId]);
  requireEqual('released keys', JSON.stringify(released), JSON.stringify(keys));
  const unagreed = Object.keys(content.metrics).filter((name) => !agreement.metrics.includes(name));
  requireEqual('metrics beyond those agreed on', unagreed.join(), '');
  requireEqual('configuration', JSON.stringify(content.configuration), JSON.stringify(agreement.configuration));
}

/** @returns what was spent, in words */
function checkPrivacy({ privacy }: ReceiptContent, { configuration }: Agreement): string {
  const terms = privacyTerms(configuration);
  if (privacy === undefined || terms === undefined)
    throw new SecureTrainingError('EVIDENCE_MALFORMED', 'privacy: found nothing, wanted what was spent');
  requireEqual('delta', String(privacy.delta), String(terms.delta));
  if (terms.budget > 0 && privacy.epsilon > terms.budget) {
    throw new SecureTrainingError(
      'EVIDENCE_MALFORMED',
      `epsilon: found ${privacy.epsilon}, wanted at most ${terms.budget}`,
    );
  }
  return `epsilon ${privacy.epsilon.toFixed(3)}, delta ${privacy.delta}`;
}

function checkModel(content: ReceiptContent, files: VerifyReceiptOptions['modelFiles']): string {
  if (files === undefined) return 'not opened';
  const wanted = new Map(content.model.map(({ name, plainSha256 }) => [name, plainSha256]));
  const found = new Map(Object.entries(files));
  for (const [name, plainSha256] of wanted) {
    const file = found.get(name);
    if (file === undefined) throw new SecureTrainingError('CIPHERTEXT_REJECTED', `${name} is missing`);
    requireEqual(name, toHex(sha256(file)), plainSha256);
  }
  // A file that no receipt names would be taken for verified.
  for (const name of found.keys())
    requireEqual(`${name} in the receipt`, wanted.has(name) ? 'there' : 'missing', 'there');
  return [...wanted.keys()].join(', ');
}

/** @returns whether the reply names this run; one without the nonce could be of another run of the same machine */
function checkRelease(
  content: ReceiptContent,
  owner: Agreement['owners'][number],
  reply: string,
  trust: TrustAnchors,
  at: Date,
): boolean {
  const stated = content.releases.find(({ ownerId }) => ownerId === owner.ownerId);
  requireEqual('release reply', toHex(sha256(utf8(reply))), stated?.replySha256);
  const { agreementDigest, receiptKey, evidence } = content;
  const quoteMessage = parseEvidence(evidence).quote.message;
  const { vaultHost, keyName, keyVersion, key, releasePolicySha256 } = owner;
  const parsed = parseReleaseReply(reply);
  const nonce = releaseNonce({ agreementDigest, receiptKey, quoteMessage });
  const failures = replyFailures(parsed, {
    expected: { vaultHost, keyName, keyVersion, key, policySha256: releasePolicySha256 },
    transferKid: TRANSFER_KID,
    nonce,
    vaultRoots: trust.vaultRoots,
    at,
  });
  if (failures.length > 0) throw new SecureTrainingError('RELEASE_DENIED', failures.join('; '), { failures });
  const echoed = parsed.request.nonce === nonce;
  requireEqual('nonce in the release reply', echoed ? 'there' : 'missing', stated?.nonceEchoed ? 'there' : 'missing');
  return echoed;
}

function tieText(tied: boolean): string {
  return tied ? '' : 'the reply names no nonce, so it may be of another run';
}

function requireEqual(what: string, found: string, wanted: string | undefined): void {
  if (found === wanted) return;
  const short = (value: string | undefined) => (value === undefined ? 'nothing' : value.slice(0, 80));
  throw new SecureTrainingError('EVIDENCE_MALFORMED', `${what}: found ${short(found)}, wanted ${short(wanted)}`);
}
