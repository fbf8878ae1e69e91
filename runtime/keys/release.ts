import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { importJwk, type RsaPublicJwk } from '../crypto/jwk.ts';
import { kwpUnwrap } from '../crypto/key-wrap.ts';
import { SecureTrainingError } from '../errors.ts';
import type { TrustAnchors } from '../trust.ts';
import { type ExpectedKey, parseReleaseReply, replyFailures } from './release-reply.ts';

export interface KeyReleaseRequest {
  readonly vaultHost: string;
  readonly keyName: string;
  /** Always named: "latest" would be the vault's choice. */
  readonly keyVersion: string;
  /** Token of Azure Attestation. */
  readonly token: string;
  readonly nonce: string;
}

/** Asks a vault for a key. Behind an interface because vaults are about to unwrap without releasing (`secureunwrapkey`). */
export interface KeyReleaser {
  /**
   * @returns the vault's signed reply, of which nothing has been verified
   * @throws {@link SecureTrainingError} `RELEASE_DENIED`, `UNAVAILABLE`
   */
  release(request: KeyReleaseRequest): Promise<string>;
}

export interface OpenReleaseOptions {
  readonly expected: ExpectedKey;
  /** `kid` of the token's key that the release was to be sealed to. */
  readonly transferKid: string;
  readonly nonce: string;
  readonly trust: Pick<TrustAnchors, 'vaultRoots'>;
  readonly at: Date;
  /** RSA-OAEP with SHA-256 inside the vTPM. */
  readonly decrypt: (cipher: Uint8Array) => Promise<Uint8Array>;
}

export interface OpenedRelease {
  /** The released key, private half. */
  readonly key: KeyObject;
  /** Whether the reply itself ties this release to this run: stated in the receipt. */
  readonly nonceEchoed: boolean;
}

/** Bytes of RSA-OAEP before the key wrap: the vTPM's ephemeral key has 2048 bits. */
const TRANSFER_LENGTH = 256;
/** AES-256, as the algorithm asked for says; AES-KWP itself would take shorter keys. */
const TRANSFER_KEY_LENGTH = 32;

/**
 * Verifies a vault's reply and opens the key in it. Nothing is decrypted before every check has passed.
 * @throws {@link SecureTrainingError} `RELEASE_DENIED` with every failed check, `EVIDENCE_MALFORMED`
 */
export async function openRelease(reply: string, options: OpenReleaseOptions): Promise<OpenedRelease> {
  const { expected, transferKid, nonce, trust, at } = options;
  const parsed = parseReleaseReply(reply);
  const failures = replyFailures(parsed, { expected, transferKid, nonce, vaultRoots: trust.vaultRoots, at });
  if (failures.length > 0) {
    const message = `reply of ${expected.vaultHost} for key ${expected.keyName} rejected: not (${failures.join('; ')})`;
    throw new SecureTrainingError('RELEASE_DENIED', message, { failures });
  }
  const key = await unwrap(parsed.ciphertext, expected.key, options.decrypt);
  return { key, nonceEchoed: parsed.request.nonce === nonce };
}

/**
 * Whether a refusal may pass by itself: vaults fail now and then to fetch the signing keys of the attestation provider,
 * and say so with this text (Azure/azure-sdk-for-net 27957). Worth a few tries with a fresh token; any other 403 is final.
 */
export function isTransientDenial(message: string): boolean {
  return /attestation statement cannot be verified/i.test(message);
}

const DOES_NOT_OPEN = 'the released key does not open';

async function unwrap(
  ciphertext: Uint8Array,
  expected: RsaPublicJwk,
  decrypt: OpenReleaseOptions['decrypt'],
): Promise<KeyObject> {
  if (ciphertext.length <= TRANSFER_LENGTH) throw denied(`wrapped key has ${ciphertext.length} bytes`);
  const transferKey = await decrypt(ciphertext.subarray(0, TRANSFER_LENGTH)).catch((cause: unknown) => {
    // A TPM that is away, or whose PCRs moved, says so itself.
    const refused = cause instanceof SecureTrainingError && cause.code === 'CIPHERTEXT_REJECTED';
    throw refused ? denied(DOES_NOT_OPEN, cause) : cause;
  });
  let pkcs8: Uint8Array | undefined;
  let key: KeyObject;
  try {
    if (transferKey.length !== TRANSFER_KEY_LENGTH)
      throw new RangeError(`transfer key has ${transferKey.length} bytes`);
    pkcs8 = kwpUnwrap(transferKey, ciphertext.subarray(TRANSFER_LENGTH));
    const der = Buffer.from(pkcs8.buffer, pkcs8.byteOffset, pkcs8.byteLength);
    key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  } catch (cause) {
    // One message whatever failed: the difference would be an oracle.
    throw denied(DOES_NOT_OPEN, cause);
  } finally {
    transferKey.fill(0);
    pkcs8?.fill(0);
  }
  if (!createPublicKey(key).equals(importJwk(expected))) {
    throw denied('the released key is not the one agreed on');
  }
  return key;
}

function denied(message: string, cause?: unknown): SecureTrainingError {
  return new SecureTrainingError('RELEASE_DENIED', message, { cause });
}
