import type { Network } from './network.ts';
import { parseJson, request } from './request.ts';

/** API version that documents AzureGuest (Azure/azure-rest-api-specs, attestation data plane, stable/2025-06-01). */
export const API_VERSION = '2025-06-01';

/**
 * Sends evidence to an attestation provider; the evidence is its own credential, no token goes along.
 * @param authority issuer of the tokens, `https://HOST`
 * @throws {@link SecureTrainingError} `ATTESTATION_REJECTED` with the provider's reason
 */
export async function attestAzureGuest(
  network: Network,
  authority: string,
  body: object,
  abortSignal?: AbortSignal,
): Promise<unknown> {
  const what = `attestation by ${authority}`;
  const response = await request(network, {
    what,
    denied: 'ATTESTATION_REJECTED',
    method: 'POST',
    url: `${authority}/attest/AzureGuest?api-version=${API_VERSION}`,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    ...(abortSignal === undefined ? {} : { abortSignal }),
  });
  return parseJson(what, response, 'EVIDENCE_MALFORMED');
}

/** The provider's signing certificates: a JWKS with `x5c`. */
export async function fetchCertificates(
  network: Network,
  authority: string,
  abortSignal?: AbortSignal,
): Promise<unknown> {
  const what = `certificates of ${authority}`;
  const response = await request(network, {
    what,
    denied: 'ATTESTATION_REJECTED',
    method: 'GET',
    url: `${authority}/certs`,
    ...(abortSignal === undefined ? {} : { abortSignal }),
  });
  return parseJson(what, response, 'EVIDENCE_MALFORMED');
}
