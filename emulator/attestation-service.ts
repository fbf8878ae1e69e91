import { SecureTrainingError } from '../runtime/errors.ts';
import { ATTESTATION_POLICY } from '../runtime/keys/release-policy.ts';
import type { TrustAnchors } from '../runtime/trust.ts';
import { parseGuestRequest } from './azure-guest-request.ts';
import { guestClaims, refusingRule, sealToken, signerKid, signToken } from './guest-token.ts';
import { verifyGuest } from './guest-verification.ts';
import { HttpFailure, type JsonRequest, jsonHandler, type RequestHandler } from './json-http.ts';
import { x5cOf } from './service-pki.ts';
import type { SigningIdentity } from './signing-identity.ts';

export interface AttestationServiceOptions {
  /** `https://NAME.REGION.attest.azure.net`, without a slash at the end: the issuer of its tokens. */
  readonly authority: string;
  /** Which chips are genuine. */
  readonly trust: TrustAnchors;
  readonly signer: SigningIdentity;
  /**
   * Policy for type AzureGuest.
   * @default ATTESTATION_POLICY, whose hash release policies demand by default
   */
  readonly policy?: string;
  /**
   * What a dishonest service says instead, for tests of refusals.
   * @default - what was verified
   */
  readonly alterClaims?: (claims: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>>;
  /**
   * PEM certificate of the authority below which attestation keys have theirs.
   * @default - any issuer
   */
  readonly vtpmAuthority?: string;
  /** @default the system's clock */
  readonly clock?: () => Date;
}

/**
 * Azure Attestation with one operation, `attest/AzureGuest`, and the documents by which relying parties find its keys.
 * Verifies all it is sent, refuses what does not hold, and seals its token to the guest's ephemeral key.
 */
export function attestationService(options: AttestationServiceOptions): RequestHandler {
  const { authority, signer } = options;
  const policy = options.policy ?? ATTESTATION_POLICY;
  // Now rather than with the first guest: a policy it cannot read must not start.
  refusingRule(policy, {});
  return jsonHandler(async (request) => {
    switch (`${request.method} ${request.path}`) {
      case 'GET /certs':
        return signingKeys(signer);
      case 'GET /.well-known/openid-configuration':
        return openIdConfiguration(authority);
      case 'POST /attest/AzureGuest':
        return attestGuest(request, { ...options, policy });
      default:
        throw new HttpFailure(404, 'NotFound', `No operation ${request.method} ${request.path}`);
    }
  });
}

/** JWKS of a token signer, as `AUTHORITY/certs` serves it: certificates, no modulus. */
export function signingKeys(signer: SigningIdentity): { readonly keys: readonly object[] } {
  return { keys: [{ kid: signerKid(signer), kty: 'RSA', x5c: x5cOf(signer) }] };
}

function openIdConfiguration(authority: string): object {
  return {
    claims_supported: ['iss', 'iat', 'exp', 'nbf', 'jti', 'x-ms-policy-hash', 'x-ms-runtime', 'x-ms-isolation-tee'],
    id_token_signing_alg_values_supported: ['RS256'],
    issuer: authority,
    jwks_uri: `${authority}/certs`,
    response_types_supported: ['token', 'none'],
  };
}

function attestGuest(request: JsonRequest, options: AttestationServiceOptions & { readonly policy: string }): object {
  if (!request.query.has('api-version')) throw new HttpFailure(400, 'InvalidParameter', 'api-version is missing');
  const now = options.clock?.() ?? new Date();
  try {
    const guest = parseGuestRequest(request.json());
    const verified = verifyGuest(guest, { ...options, at: now });
    const claims = guestClaims(guest, verified, { authority: options.authority, policy: options.policy, now });
    const rule = refusingRule(options.policy, claims);
    if (rule !== undefined)
      throw new HttpFailure(400, 'PolicyEvaluationError', `The attestation policy refuses: ${rule}`);
    const said = options.alterClaims?.(claims) ?? claims;
    return sealToken(signToken(said, options.signer, options.authority), verified.ephemeralKey);
  } catch (error) {
    // Everything wrong with what a guest sent is the guest's; anything else becomes a 500.
    if (error instanceof SecureTrainingError) throw new HttpFailure(400, 'InvalidParameter', error.message);
    throw error;
  }
}
