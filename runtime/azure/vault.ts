import type { TokenCredential } from '@azure/core-auth';
import { KeyClient, type KeyVaultKey } from '@azure/keyvault-keys';
import { fromBase64, toBase64Url, utf8 } from '../crypto/bytes.ts';
import type { RsaPublicJwk } from '../crypto/jwk.ts';
import { type ErrorCode, SecureTrainingError } from '../errors.ts';
import type { KeyUnwrapper } from '../keys/escrow.ts';
import { isTransientDenial, type KeyReleaseRequest, type KeyReleaser } from '../keys/release.ts';
import { HttpFailure, httpFailure, toServiceError } from './http-failure.ts';
import { attemptSignal, type Network } from './network.ts';
import { parseJson, request } from './request.ts';
import { withRetry } from './retry.ts';

/** What a vault says about one version of a key. */
export interface VaultKey {
  /** `https://HOST/keys/NAME/VERSION` */
  readonly kid: string;
  readonly version: string;
  readonly keyType: string;
  readonly jwk: RsaPublicJwk;
  readonly keyOps: readonly string[];
  readonly exportable: boolean;
  readonly enabled: boolean;
  /** @default - it does not expire */
  readonly expiresOn?: Date;
  /** The policy as the vault keeps it, which is not byte for byte what was sent. */
  readonly releasePolicy?: { readonly data: Uint8Array; readonly immutable: boolean };
}

export interface VaultClient extends KeyReleaser, KeyUnwrapper {
  /**
   * The newest version when none is named; `undefined` when there is no such key.
   * @throws {@link SecureTrainingError} `CONFIG_INVALID` when the caller lacks the role
   */
  getKey(name: string, version?: string, abortSignal?: AbortSignal): Promise<VaultKey | undefined>;
  /**
   * Makes a release policy immutable: nobody, this caller included, ever changes it again. Allowed again with the same policy.
   * @throws {@link SecureTrainingError} `CONFIG_INVALID` when the caller lacks the role, or another policy is locked already
   */
  lockReleasePolicy(name: string, policy: Uint8Array, abortSignal?: AbortSignal): Promise<void>;
  /**
   * A new key, or a new version of one: RSA-HSM 3072, exportable under this policy, which is immutable from the start, and
   * good for wrapping alone.
   * @throws {@link SecureTrainingError} `CONFIG_INVALID` when the caller lacks the role or the vault refuses
   */
  createReleaseKey(name: string, policy: Uint8Array, abortSignal?: AbortSignal): Promise<VaultKey>;
  /**
   * Ends every use of one version of a key, release included. Can be undone.
   * @throws {@link SecureTrainingError} `CONFIG_INVALID` when the caller lacks the role or there is no such version
   */
  disableKey(name: string, version: string, abortSignal?: AbortSignal): Promise<void>;
  /**
   * By REST: the SDK refuses a key that has expired, which a vault goes on unwrapping with.
   * @throws {@link SecureTrainingError} `CONFIG_INVALID` when the caller lacks the role, or the key its key_ops
   */
  unwrapKey(
    name: string,
    version: string,
    wrapped: Uint8Array,
    abortSignal?: AbortSignal,
  ): Promise<Uint8Array | undefined>;
  /**
   * The vault's signed reply (JWS), not yet verified: `openRelease` does that.
   * @throws {@link SecureTrainingError} `RELEASE_DENIED` with the vault's reason, `UNAVAILABLE` while it cannot judge the token
   */
  release(request: KeyReleaseRequest, abortSignal?: AbortSignal): Promise<string>;
}

/** SHA-256 for the OAEP step; left out, a vault takes SHA-1. */
const RELEASE_ALGORITHM = 'RSA_AES_KEY_WRAP_256';
/** As vaults write it back (azure-sdk-for-js recordings). */
const POLICY_CONTENT_TYPE = 'application/json; charset=utf-8';
const KEY_SIZE = 3072;
const VAULT_SCOPE = 'https://vault.azure.net/.default';
/** Key Vault keys, data plane, `unwrapKey`: `{alg, value}` in, `{kid, value}` out, the same since 7.0. */
const API_VERSION = '7.4';
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
    async lockReleasePolicy(name, policy, abortSignal) {
      const what = `release policy of ${name} in ${vaultHost}`;
      // Without a version: the policy belongs to the key, and the vault refuses one for a version (AKV.SKR.1016).
      const locked = await call(what, 'CONFIG_INVALID', abortSignal, (signal) =>
        client.updateKeyProperties(name, {
          releasePolicy: { encodedPolicy: policy, contentType: POLICY_CONTENT_TYPE, immutable: true },
          abortSignal: signal,
        }),
      );
      if (locked === undefined) throw new SecureTrainingError('CONFIG_INVALID', `${what}: there is no such key`);
    },
    async createReleaseKey(name, policy, abortSignal) {
      const what = `new key ${name} in ${vaultHost}`;
      const key = await call(what, 'CONFIG_INVALID', abortSignal, (signal) =>
        client.createRsaKey(name, {
          hsm: true,
          keySize: KEY_SIZE,
          keyOps: ['wrapKey'],
          exportable: true,
          releasePolicy: { encodedPolicy: policy, contentType: POLICY_CONTENT_TYPE, immutable: true },
          abortSignal: signal,
        }),
      );
      if (key === undefined) throw new SecureTrainingError('CONFIG_INVALID', `${what}: there is no such vault`);
      return toVaultKey(key);
    },
    async disableKey(name, version, abortSignal) {
      const what = `key ${name} version ${version} of ${vaultHost}`;
      const key = await call(what, 'CONFIG_INVALID', abortSignal, (signal) =>
        client.updateKeyProperties(name, version, { enabled: false, abortSignal: signal }),
      );
      if (key === undefined) throw new SecureTrainingError('CONFIG_INVALID', `${what}: there is no such version`);
    },
    async unwrapKey(name, version, wrapped, abortSignal) {
      const what = `unwrapping with ${name} of ${vaultHost}`;
      const response = await request(network, {
        what,
        denied: 'CONFIG_INVALID',
        as: { credential, scope: VAULT_SCOPE },
        method: 'POST',
        url: `https://${vaultHost}/keys/${name}/${version}/unwrapkey?api-version=${API_VERSION}`,
        headers: { 'content-type': 'application/json' },
        body: utf8(JSON.stringify({ alg: 'RSA-OAEP-256', value: toBase64Url(wrapped) })),
        // 400: the padding does not come out right.
        accepted: [400],
        ...(abortSignal === undefined ? {} : { abortSignal }),
      });
      if (response.status === 400) return undefined;
      const { value } = parseJson(what, response, 'UNAVAILABLE') as { readonly value?: unknown };
      response.body.fill(0);
      return fromBase64(String(value), `${what}: value`);
    },
    async release({ vaultHost: asked, keyName, keyVersion, token, nonce }, abortSignal) {
      if (asked !== vaultHost) throw new TypeError(`this client speaks to ${vaultHost}, not to ${asked}`);
      const what = `release of ${keyName} by ${vaultHost}`;
      const released = await call(what, 'RELEASE_DENIED', abortSignal, (signal) =>
        client
          .releaseKey(keyName, token, { version: keyVersion, algorithm: RELEASE_ALGORITHM, nonce, abortSignal: signal })
          .catch(denied),
      );
      if (released === undefined)
        throw new SecureTrainingError('RELEASE_DENIED', `${what}: no version ${keyVersion} of this key`);
      return released.value;
    },
  };
}

/** Tells the one refusal that may pass from all others, so that it is tried again. */
function denied(error: unknown): never {
  const failure = httpFailure(error);
  if (failure?.status !== 403 || !isTransientDenial(failure.message)) throw error;
  const { status, serviceCode, retryAfterInMs } = failure;
  throw new HttpFailure(failure.message, { status, serviceCode, retryAfterInMs, retryable: true });
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
    ...(properties.expiresOn === undefined ? {} : { expiresOn: properties.expiresOn }),
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
