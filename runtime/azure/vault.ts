import type { TokenCredential } from '@azure/core-auth';
import { KeyClient, type KeyVaultKey } from '@azure/keyvault-keys';
import { toBase64Url } from '../crypto/bytes.ts';
import type { RsaPublicJwk } from '../crypto/jwk.ts';
import { type ErrorCode, SecureTrainingError } from '../errors.ts';
import type { KeyReleaseRequest, KeyReleaser } from '../keys/release.ts';
import { httpFailure, toServiceError } from './http-failure.ts';
import { attemptSignal, type Network } from './network.ts';
import { withRetry } from './retry.ts';

/** What a vault says about one version of a key. */
interface VaultKey {
  /** `https://HOST/keys/NAME/VERSION` */
  readonly kid: string;
  readonly version: string;
  readonly keyType: string;
  readonly jwk: RsaPublicJwk;
  readonly keyOps: readonly string[];
  readonly exportable: boolean;
  readonly enabled: boolean;
  /** The policy as the vault keeps it, which is not byte for byte what was sent. */
  readonly releasePolicy?: { readonly data: Uint8Array; readonly immutable: boolean };
}

export interface VaultClient extends KeyReleaser {
  /**
   * The newest version when none is named; `undefined` when there is no such key.
   * @throws {@link SecureTrainingError} `CONFIG_INVALID` when the caller lacks the role
   */
  getKey(name: string, version?: string, abortSignal?: AbortSignal): Promise<VaultKey | undefined>;
  /**
   * The vault's signed reply (JWS), not yet verified: `openRelease` does that.
   * @throws {@link SecureTrainingError} `RELEASE_DENIED` with the vault's reason
   */
  release(request: KeyReleaseRequest, abortSignal?: AbortSignal): Promise<string>;
}

/** SHA-256 for the OAEP step; left out, a vault takes SHA-1. */
const RELEASE_ALGORITHM = 'RSA_AES_KEY_WRAP_256';
const ATTEMPT_TIMEOUT_IN_MS = 30_000;

/**
 * Keys of one vault. The SDK keeps checking that the authentication challenge names the vault's own domain, so that no
 * other host can ask for a vault token.
 */
export function vaultClient(network: Network, credential: TokenCredential, vaultHost: string): VaultClient {
  const client = new KeyClient(`https://${vaultHost}`, credential, {
    httpClient: network.httpClient,
    retryOptions: { maxRetries: 0 },
  });
  async function call<T>(
    what: string,
    denied: ErrorCode,
    abortSignal: AbortSignal | undefined,
    attempt: (signal: AbortSignal) => Promise<T>,
  ) {
    try {
      return await withRetry(what, () => attempt(attemptSignal(abortSignal, ATTEMPT_TIMEOUT_IN_MS)), {
        ...network.retry,
        abortSignal,
      });
    } catch (error) {
      if (httpFailure(error)?.status === 404) return undefined;
      throw toServiceError(what, error, { denied });
    }
  }
  return {
    async getKey(name, version, abortSignal) {
      const key = await call(`key ${name} of ${vaultHost}`, 'CONFIG_INVALID', abortSignal, (signal) =>
        client.getKey(name, { ...(version === undefined ? {} : { version }), abortSignal: signal }),
      );
      return key === undefined ? undefined : toVaultKey(key);
    },
    async release({ vaultHost: asked, keyName, keyVersion, token, nonce }, abortSignal) {
      if (asked !== vaultHost) throw new TypeError(`this client speaks to ${vaultHost}, not to ${asked}`);
      const what = `release of ${keyName} by ${vaultHost}`;
      const released = await call(what, 'RELEASE_DENIED', abortSignal, (signal) =>
        client.releaseKey(keyName, token, {
          version: keyVersion,
          algorithm: RELEASE_ALGORITHM,
          nonce,
          abortSignal: signal,
        }),
      );
      if (released === undefined)
        throw new SecureTrainingError('RELEASE_DENIED', `${what}: no version ${keyVersion} of this key`);
      return released.value;
    },
  };
}

function toVaultKey({ key, id, keyOperations, properties }: KeyVaultKey): VaultKey {
  const { releasePolicy } = properties;
  if (id === undefined || key?.n === undefined || key.e === undefined) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `key ${properties.name}: found type ${key?.kty}, wanted RSA or RSA-HSM`,
    );
  }
  return {
    kid: id,
    version: properties.version ?? id.slice(id.lastIndexOf('/') + 1),
    keyType: String(key.kty),
    jwk: { kty: 'RSA', n: toBase64Url(withoutLeadingZeros(key.n)), e: toBase64Url(withoutLeadingZeros(key.e)) },
    keyOps: keyOperations ?? [],
    exportable: properties.exportable ?? false,
    enabled: properties.enabled ?? false,
    ...(releasePolicy?.encodedPolicy === undefined
      ? {}
      : {
          releasePolicy: {
            data: Uint8Array.from(releasePolicy.encodedPolicy),
            immutable: releasePolicy.immutable ?? false,
          },
        }),
  };
}

/** Vaults write the exponent as AAEAAQ now and then; a thumbprint needs the shortest form (RFC 7518 section 2). */
function withoutLeadingZeros(bytes: Uint8Array): Uint8Array {
  return bytes.subarray(bytes.findIndex((byte) => byte !== 0));
}
