import type { TokenCredential } from '@azure/core-auth';
import type { SignedQuote } from '../../runtime/attestation/evidence.ts';
import type { HclReport } from '../../runtime/attestation/hcl-report.ts';
import type { Network } from '../../runtime/azure/network.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import type { EphemeralKey } from '../../runtime/tpm/azure-vtpm.ts';
import type { Tpm } from '../../runtime/tpm/tpm.ts';
import type { TrustAnchors } from '../../runtime/trust.ts';
import type { QuestionId } from './questions.ts';

/** A version of a vault's key, as `NAME/VERSION` on the command line. */
export interface KeyVersion {
  readonly name: string;
  readonly version: string;
}

/** What has to be prepared outside the machine; a step whose inputs are missing is skipped and says which. */
export interface CaptureInputs {
  /** Issuer of the attestation provider, `https://HOST`. */
  readonly authority?: string;
  /** Another provider, whose AzureGuest policy lets nobody in. */
  readonly denyingAuthority?: string;
  /** Another provider, whose AzureGuest policy issues every input as a claim. */
  readonly echoingAuthority?: string;
  readonly vaultHost?: string;
  readonly key?: KeyVersion;
  /** A key of the same vault whose release policy this machine does not meet. */
  readonly keyOfAnotherPolicy?: KeyVersion;
  readonly disabledKey?: KeyVersion;
  readonly expiredKey?: KeyVersion;
  /** Identity that may read and release keys. */
  readonly credential?: TokenCredential;
  /** Identity of this machine that has no role at the vault. */
  readonly credentialWithoutRole?: TokenCredential;
  /** A token that an earlier capture kept, expired by now. */
  readonly expiredToken?: string;
  /** A quote that an earlier capture kept, of another boot where possible. */
  readonly oldQuote?: SignedQuote;
  /** Consent to rotating `key` and making another one beside it. */
  readonly changeKeys?: true;
}

/** What earlier steps found. Each step reads it by {@link found}, so that it fails by itself when they failed. */
interface Findings {
  report?: HclReport & { readonly bytes: Uint8Array };
  vcekChain?: string;
  akCertificate?: Uint8Array;
  akPublicArea?: Uint8Array;
  plainQuote?: SignedQuote;
  /** @default - there is none, or an empty one */
  eventLog?: Uint8Array;
  /** The token that releases are asked for with, and the key that opens them. */
  session?: { readonly token: string; readonly ephemeral: EphemeralKey };
  /** The key as the vault describes it: a KeyBundle. */
  keyBundle?: Readonly<Record<string, unknown>>;
}

/** Where a step works. */
export interface Place {
  readonly tpm: Tpm;
  readonly network: Network;
  readonly trust: TrustAnchors;
  readonly now: () => Date;
  readonly readEventLog: () => Promise<Uint8Array>;
  readonly inputs: CaptureInputs;
  readonly findings: Findings;
}

export interface Outcome {
  /**
   * Bytes as they are, or what is written as JSON.
   * @default - there was nothing to keep, and `text` says why
   */
  readonly content?: Uint8Array | object;
  /** @default - no service was asked */
  readonly status?: number;
  /** One line for people; never a token. */
  readonly text?: string;
  /**
   * The answer is kept, but the question stays open.
   * @default false
   */
  readonly unsettled?: boolean;
}

export interface Step {
  readonly name: string;
  readonly questions: readonly QuestionId[];
  readonly does: string;
  /** Name below the output folder. */
  readonly file: string;
  /**
   * Inputs without which it is skipped.
   * @default []
   */
  readonly inputs?: readonly (keyof CaptureInputs)[];
  /**
   * Steps that go before it, whatever was asked for.
   * @default []
   */
  readonly needs?: readonly string[];
  readonly run: (place: Place) => Promise<Outcome>;
}

/** @throws {@link SecureTrainingError} `UNAVAILABLE` naming the step that should have found it */
export function found<T>(value: T | undefined, step: string): T {
  if (value === undefined) throw new SecureTrainingError('UNAVAILABLE', `${step} has brought nothing to go on with`);
  return value;
}

/** An input of a step, there because the step names it in `inputs`. */
export function given<K extends keyof CaptureInputs>({ inputs }: Place, name: K): NonNullable<CaptureInputs[K]> {
  const value = inputs[name];
  if (value === undefined || value === null) throw new TypeError(`the step does not name its input ${name}`);
  return value as NonNullable<CaptureInputs[K]>;
}
