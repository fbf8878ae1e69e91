import { type KeyObject, randomBytes } from 'node:crypto';
import { buildAzureGuestRequest, openAzureGuestResponse } from './attestation/azure-guest.ts';
import { parseVcekChain } from './attestation/certificates.ts';
import type { EvidenceBundle } from './attestation/evidence.ts';
import { parseEvidence } from './attestation/evidence.ts';
import { parseHclReport } from './attestation/hcl-report.ts';
import { type AttestationToken, verifyToken } from './attestation/token.ts';
import { acceptEvidence } from './attestation/verdict.ts';
import type { VerifiedFacts } from './attestation/verify.ts';
import type { Generation } from './catalogue.ts';
import { fromBase64, sha256, toBase64, toBase64Url, toHex, utf8 } from './crypto/bytes.ts';
import type { EcPublicJwk } from './crypto/jwk.ts';
import { SecureTrainingError } from './errors.ts';
import { type KeyReleaser, openRelease } from './keys/release.ts';
import type { Agreement, AgreementOwner } from './statements/agreement.ts';
import { quoteNonce, releaseNonce } from './statements/bindings.ts';
import {
  createEphemeralKey,
  type EphemeralKey,
  quotePcrs,
  readAkCertificate,
  readAkPublic,
  readHclReport,
} from './tpm/azure-vtpm.ts';
import type { Tpm } from './tpm/tpm.ts';
import type { TrustAnchors } from './trust.ts';

/** The services the environment speaks to; runtime/azure has the real ones. */
export interface AttestationServices {
  /** Id of this virtual machine, as its platform states it. */
  readVmId(): Promise<string>;
  /** VCEK, ASK and ARK as PEM. */
  readCertificates(): Promise<string>;
  /** AMD's revocation list of a generation, from wherever somebody put it; `undefined` where nobody did. */
  readRevocationList(generation: Generation): Promise<Uint8Array | undefined>;
  /** `POST AUTHORITY/attest/AzureGuest`. */
  attestGuest(authority: string, body: object): Promise<unknown>;
  /** `GET AUTHORITY/certs`. */
  fetchCertificates(authority: string): Promise<unknown>;
  releaser(vaultHost: string): KeyReleaser;
}

export interface EnvironmentOptions {
  readonly tpm: Tpm;
  readonly services: AttestationServices;
  readonly trust: TrustAnchors;
  readonly agreement: Agreement;
  readonly agreementDigest: string;
  readonly runId: string;
  /** Public half of the key that will sign the receipt: the quote and every release name it. */
  readonly receiptKey: EcPublicJwk;
  /** What PCR 15 was extended with for this run. */
  readonly runMeasurement: Uint8Array;
  readonly now: () => Date;
  /**
   * TCG event log of this boot.
   * @default - the machine has none to show
   */
  readonly eventLog?: Uint8Array;
  /** Called as each step ends; a step that failed is the last one. */
  readonly onStep?: (step: EnvironmentStep) => void;
  /** Called as each owner's vault has answered and the answer was judged. */
  readonly onRelease?: (owner: AgreementOwner, state: EnvironmentStep['state']) => void;
}

export type EnvironmentStepName = 'verifyEnvironment' | 'setupAttestation' | 'initializeEncryption';

export interface EnvironmentStep {
  readonly name: EnvironmentStepName;
  readonly state: 'success' | 'failed';
}

interface Verified {
  readonly facts: VerifiedFacts;
  readonly bundle: EvidenceBundle;
  readonly vcekChain: string;
  readonly quoteMessage: Uint8Array;
}

interface Attested {
  readonly tokens: ReadonlyMap<string, AttestationToken>;
  readonly ephemeral: EphemeralKey;
}

/** A data owner's key, released to this machine, and what the receipt says about it. */
export interface ReleasedKey {
  readonly owner: AgreementOwner;
  /** Private half; opens content keys and never leaves this process. */
  readonly key: KeyObject;
  /** The vault's signed reply: evidence for the owner's annex. */
  readonly reply: string;
  readonly replySha256: string;
  readonly nonceEchoed: boolean;
}

/**
 * A machine that has proved what it is, step by step. Every step needs the one before it, and a failure takes back all
 * that came before: an environment is established whole or not at all.
 */
export class SecureEnvironment {
  readonly #options: EnvironmentOptions;
  #verified: Verified | undefined;
  #attested: Attested | undefined;
  #keys: readonly ReleasedKey[] | undefined;

  constructor(options: EnvironmentOptions) {
    this.#options = options;
  }

  /** Runs the three steps in order. */
  static async establish(options: EnvironmentOptions): Promise<EstablishedEnvironment> {
    const environment = new SecureEnvironment(options);
    await environment.verifyEnvironment();
    await environment.setupAttestation();
    await environment.initializeEncryption();
    return environment.established();
  }

  /**
   * Checks the machine against pinned roots and the agreement's policy, before anything secret is asked for.
   * @throws {@link SecureTrainingError} `ATTESTATION_REJECTED` with every failed check, `EVIDENCE_MALFORMED`, `UNAVAILABLE`
   */
  async verifyEnvironment(): Promise<VerifiedFacts> {
    return this.#step('verifyEnvironment', async () => {
      const { tpm, services, trust, agreement, agreementDigest, receiptKey, runId, runMeasurement, now, eventLog } =
        this.#options;
      const nonce = quoteNonce({ agreementDigest, receiptKey, runId });
      const hclReport = await readHclReport(tpm);
      const vcekChain = await services.readCertificates();
      const quote = await quotePcrs(tpm, nonce, agreement.environment.quotedPcrs);
      const bundle: EvidenceBundle = {
        version: 1,
        hclReport: toBase64(hclReport),
        vcekChain,
        quote: { message: toBase64(quote.message), signature: toBase64(quote.signature), pcrs: quote.pcrs },
        ...(eventLog === undefined ? {} : { eventLog: toBase64(eventLog) }),
        nonce: toBase64(nonce),
      };
      const revocationList = await services.readRevocationList(parseVcekChain(vcekChain).generation);
      const vmId = (await services.readVmId()).toLowerCase();
      const facts = acceptEvidence(parseEvidence(bundle), {
        trust,
        at: now(),
        ...(revocationList === undefined ? {} : { revocationLists: [revocationList] }),
        policy: agreement.environment,
        // The PCR holds the hash of what it was extended with, after 32 zero bytes.
        expected: { nonce, pcr15: sha256(new Uint8Array(32), runMeasurement), vmId },
      });
      this.#verified = { facts, bundle, vcekChain, quoteMessage: quote.message };
      return facts;
    });
  }

  /**
   * Exchanges evidence for a token of every owner's attestation authority, bound to a key that only this vTPM holds.
   * @throws {@link SecureTrainingError} `ATTESTATION_REJECTED`, `EVIDENCE_MALFORMED`, `UNAVAILABLE`
   */
  async setupAttestation(): Promise<void> {
    return this.#step('setupAttestation', async () => {
      const verified = required(this.#verified, 'verifyEnvironment');
      const ephemeral = await createEphemeralKey(this.#options.tpm);
      try {
        const authorities = new Set(this.#options.agreement.owners.map((owner) => owner.attestationAuthority));
        const tokens = new Map<string, AttestationToken>();
        for (const authority of authorities) tokens.set(authority, await this.#attest(authority, ephemeral, verified));
        this.#attested = { tokens, ephemeral };
      } catch (error) {
        await ephemeral.close();
        throw error;
      }
    });
  }

  /**
   * Asks every owner's vault for its key and opens it inside the vTPM, which is left for good afterwards.
   * @throws {@link SecureTrainingError} `RELEASE_DENIED`, naming the owner; `UNAVAILABLE`
   */
  async initializeEncryption(): Promise<readonly ReleasedKey[]> {
    return this.#step('initializeEncryption', async () => {
      const verified = required(this.#verified, 'verifyEnvironment');
      const attested = required(this.#attested, 'setupAttestation');
      try {
        this.#requireUnexpired(attested.tokens);
        const keys: ReleasedKey[] = [];
        for (const owner of this.#options.agreement.owners) {
          keys.push(
            await this.#release(owner, verified, attested).catch((error: unknown) => {
              this.#options.onRelease?.(owner, 'failed');
              throw error;
            }),
          );
          this.#options.onRelease?.(owner, 'success');
        }
        this.#keys = keys;
        return keys;
      } finally {
        await attested.ephemeral.close();
      }
    });
  }

  established(): EstablishedEnvironment {
    const { facts, bundle } = required(this.#verified, 'verifyEnvironment');
    const { tokens } = required(this.#attested, 'setupAttestation');
    return { facts, evidence: bundle, tokens, keys: required(this.#keys, 'initializeEncryption') };
  }

  /** By the clock of the attestation service: the operating system's is the host's to set. */
  #requireUnexpired(tokens: ReadonlyMap<string, AttestationToken>): void {
    const { notAfter, name } = this.#options.agreement;
    for (const { issuedAt } of tokens.values()) {
      if (issuedAt.getTime() <= Date.parse(notAfter)) continue;
      throw new SecureTrainingError(
        'CONSENT_MISSING',
        `agreement ${name} expired ${notAfter}; it is ${issuedAt.toISOString()}`,
      );
    }
  }

  async #attest(authority: string, ephemeral: EphemeralKey, verified: Verified): Promise<AttestationToken> {
    const { tpm, services, now, eventLog } = this.#options;
    const nonce = toBase64Url(randomBytes(32));
    const report = parseHclReport(fromBase64(verified.bundle.hclReport));
    const body = buildAzureGuestRequest({
      akCertificate: await readAkCertificate(tpm),
      akPublicArea: (await readAkPublic(tpm)).publicArea,
      // Empty qualifying data: the service's own client sends none. Freshness is the nonce in the client payload.
      pcrQuote: await quotePcrs(tpm, new Uint8Array(0), [0, 1, 2, 3, 4, 5, 6, 7]),
      ephemeral,
      nonce,
      snpReport: report.snpReport,
      runtimeClaims: report.runtimeClaims,
      vcekChain: verified.vcekChain,
      ...(eventLog === undefined ? {} : { tcgLog: eventLog }),
    });
    const response = await services.attestGuest(authority, body);
    const jwt = await openAzureGuestResponse(response, (cipher) => ephemeral.decrypt(cipher, 'rsaes'));
    return verifyToken(jwt, {
      authority,
      certificates: await services.fetchCertificates(authority),
      nonce,
      ephemeralModulus: ephemeral.modulus,
      vmId: verified.facts.vmUniqueId,
      now: now(),
    });
  }

  async #release(owner: AgreementOwner, verified: Verified, attested: Attested): Promise<ReleasedKey> {
    const { services, trust, agreementDigest, receiptKey, now } = this.#options;
    const token = required(attested.tokens.get(owner.attestationAuthority), 'setupAttestation');
    const nonce = releaseNonce({ agreementDigest, receiptKey, quoteMessage: verified.quoteMessage });
    const { vaultHost, keyName, keyVersion } = owner;
    const reply = await services
      .releaser(vaultHost)
      .release({ vaultHost, keyName, keyVersion, token: token.jwt, nonce });
    const opened = await openRelease(reply, {
      expected: { vaultHost, keyName, keyVersion, key: owner.key, policySha256: owner.releasePolicySha256 },
      transferKid: token.transferKid,
      nonce,
      trust,
      at: now(),
      decrypt: (cipher) => attested.ephemeral.decrypt(cipher, 'oaep-sha256'),
    });
    return { owner, key: opened.key, reply, replySha256: toHex(sha256(utf8(reply))), nonceEchoed: opened.nonceEchoed };
  }

  async #step<T>(name: EnvironmentStepName, work: () => Promise<T>): Promise<T> {
    try {
      const result = await work();
      this.#options.onStep?.({ name, state: 'success' });
      return result;
    } catch (error) {
      this.#verified = undefined;
      this.#attested = undefined;
      this.#keys = undefined;
      this.#options.onStep?.({ name, state: 'failed' });
      throw error;
    }
  }
}

/** What {@link SecureEnvironment.establish} leaves: a judged machine and the keys it was given. */
export interface EstablishedEnvironment {
  readonly facts: VerifiedFacts;
  readonly evidence: EvidenceBundle;
  readonly tokens: ReadonlyMap<string, AttestationToken>;
  readonly keys: readonly ReleasedKey[];
}

function required<T>(value: T | undefined, step: EnvironmentStepName): T {
  if (value === undefined)
    throw new SecureTrainingError('ATTESTATION_REJECTED', `${step} has not succeeded in this environment`);
  return value;
}
