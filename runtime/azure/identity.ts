import type { AccessToken, TokenCredential } from '@azure/core-auth';
import { SecureTrainingError } from '../errors.ts';
import { METADATA_ENDPOINT, type Network } from './network.ts';
import { parseJson, request } from './request.ts';

/** A token is fetched anew this long before it ends. */
const RENEW_BEFORE_END_IN_MS = 5 * 60_000;

/**
 * Tokens of a virtual machine's user-assigned identity, from the metadata service
 * (https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token, "Get a token using HTTP").
 *
 * Not the SDK's ManagedIdentityCredential: that one lets environment variables choose another token service, and hides
 * from the one retry mechanism why an attempt failed.
 */
export function managedIdentity(network: Network, clientId: string): TokenCredential {
  const cache = new Map<string, AccessToken>();
  return {
    async getToken(scopes, options) {
      const resource = resourceOf(scopes);
      const cached = cache.get(resource);
      if (cached !== undefined && cached.expiresOnTimestamp - RENEW_BEFORE_END_IN_MS > Date.now()) return cached;
      // The SDKs' AbortSignalLike is wider than Node's AbortSignal: only a real one can be handed on.
      const abortSignal = options?.abortSignal instanceof AbortSignal ? options.abortSignal : undefined;
      const token = await fetchToken(network, clientId, resource, abortSignal);
      cache.set(resource, token);
      return token;
    },
  };
}

async function fetchToken(
  network: Network,
  clientId: string,
  resource: string,
  abortSignal: AbortSignal | undefined,
): Promise<AccessToken> {
  const what = `token of identity ${clientId} for ${resource}`;
  const query = new URLSearchParams({ 'api-version': '2018-02-01', resource, client_id: clientId });
  const response = await request(network, {
    what,
    denied: 'CONFIG_INVALID',
    method: 'GET',
    url: `${METADATA_ENDPOINT}/metadata/identity/oauth2/token?${query}`,
    headers: { metadata: 'true' },
    ...(abortSignal === undefined ? {} : { abortSignal }),
  });
  const { access_token, expires_on } = parseJson(what, response, 'UNAVAILABLE') as Record<string, unknown>;
  // Numbers come as strings.
  const expiresOn = Number(expires_on);
  if (typeof access_token !== 'string' || !Number.isFinite(expiresOn)) {
    throw new SecureTrainingError('UNAVAILABLE', `${what}: the reply lacks access_token or expires_on`);
  }
  return { token: access_token, expiresOnTimestamp: expiresOn * 1000 };
}

/** `https://vault.azure.net/.default` is asked for as `https://vault.azure.net`. */
function resourceOf(scopes: string | string[]): string {
  const [scope, ...more] = typeof scopes === 'string' ? [scopes] : scopes;
  if (scope === undefined || more.length > 0)
    throw new TypeError('a managed identity gives tokens for one scope at a time');
  return scope.replace(/\/\.default$/, '');
}
