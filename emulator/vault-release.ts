import { constants, createHash, createPrivateKey, publicEncrypt, randomBytes, sign } from 'node:crypto';
import { parseCompactJws, verifyRs256 } from '../runtime/attestation/jws.ts';
import { keysOf, transferKeyOf } from '../runtime/attestation/token.ts';
import { concat, toBase64Url, utf8 } from '../runtime/crypto/bytes.ts';
import { importJwk } from '../runtime/crypto/jwk.ts';
import { kwpWrap } from '../runtime/crypto/key-wrap.ts';
import { SecureTrainingError } from '../runtime/errors.ts';
import { evaluateReleasePolicy, type ReleasePolicy } from '../runtime/keys/release-policy.ts';
import { asFailure, HttpFailure } from './json-http.ts';
import { x5cOf } from './service-pki.ts';
import type { SigningIdentity } from './signing-identity.ts';
import { keyBundle, keyId } from './vault-bundle.ts';
import { privateKeyOf, type VaultKey, type VaultKeyVersion } from './vault-state.ts';

/** JWKS of a token issuer, or undefined where nobody by that name is known. */
export type TokenIssuers = (authority: string) => unknown;

export interface ReleaseInputs {
  readonly host: string;
  readonly key: VaultKey;
  readonly version: VaultKeyVersion;
  /** As in the request's path: the reply's request part echoes what was asked for. */
  readonly askedVersion: string | undefined;
  readonly apiVersion: string;
  readonly target: string;
  /** @default - not echoed */
  readonly nonce?: string;
  readonly algorithm: string;
  readonly signer: SigningIdentity;
  readonly tokenIssuers: TokenIssuers;
  readonly now: Date;
  readonly echoNonce: boolean;
}

/** Hash of OAEP and of MGF1 for each algorithm the service has. */
const OAEP_HASHES: Readonly<Record<string, string>> = {
  CKM_RSA_AES_KEY_WRAP: 'sha1',
  RSA_AES_KEY_WRAP_256: 'sha256',
  RSA_AES_KEY_WRAP_384: 'sha384',
};
/** What the service takes when the request names none. */
export const DEFAULT_RELEASE_ALGORITHM = 'CKM_RSA_AES_KEY_WRAP';

/** Checks the token against the key's policy and seals the key to the machine that the token speaks of. */
export async function releaseKey(inputs: ReleaseInputs): Promise<{ readonly value: string }> {
  const { host, key, version, algorithm, now } = inputs;
  const oaepHash = OAEP_HASHES[algorithm];
  if (oaepHash === undefined)
    throw new HttpFailure(400, 'BadParameter', `Key encryption algorithm ${algorithm} is not supported.`);
  if (!key.exportable || key.releasePolicy === undefined)
    throw forbidden('The key is not exportable.', 'KeyNotExportable');
  const claims = await verifiedClaims(inputs.target, key.releasePolicy.policy, inputs.tokenIssuers, now);
  if (!evaluateReleasePolicy(key.releasePolicy.policy, claims).allowed) throw notMet();
  const transferKey = transferKeyOf(claims);
  if (transferKey === undefined) throw notMet();

  const bundle = keyBundle(host, key, version);
  const keyHsm = {
    schema_version: '1.0',
    header: { kid: transferKey.kid, alg: 'dir', enc: algorithm },
    ciphertext: toBase64Url(wrapKey(version, transferKey, oaepHash)),
  };
  const nonce = inputs.echoNonce && inputs.nonce !== undefined ? { nonce: inputs.nonce } : {};
  return {
    value: signReply(
      {
        request: {
          'api-version': inputs.apiVersion,
          enc: algorithm,
          kid: keyId(host, key.name, inputs.askedVersion),
          ...nonce,
        },
        response: {
          key: { ...bundle, key: { ...(bundle.key as object), key_hsm: toBase64Url(utf8(JSON.stringify(keyHsm))) } },
        },
      },
      inputs.signer,
    ),
  };
}

/**
 * Claims of a token whose issuer the policy names and whose signature is that issuer's.
 * @throws {@link HttpFailure} 403, with the text by which clients tell a fault from a refusal
 */
async function verifiedClaims(
  target: string,
  policy: ReleasePolicy,
  issuers: TokenIssuers,
  now: Date,
): Promise<Readonly<Record<string, unknown>>> {
  try {
    const jws = parseCompactJws(target, 'token');
    const { iss, nbf, exp } = jws.payload;
    // Never from an address in the token: a vault asks those issuers alone that the policy names.
    const named = policy.anyOf.some(({ authority }) => authority.replace(/\/$/, '') === iss);
    const jwks = named ? await issuers(String(iss)) : undefined;
    const keys = jwks === undefined ? [] : keysOf(jwks, String(jws.header.kid), now);
    const seconds = now.getTime() / 1000;
    const current = typeof nbf === 'number' && typeof exp === 'number' && nbf <= seconds + 300 && seconds < exp;
    if (jws.header.alg === 'RS256' && current && keys.some((key) => verifyRs256(jws, key))) return jws.payload;
  } catch (error) {
    if (!(error instanceof SecureTrainingError)) throw error;
  }
  throw forbidden('Target environment attestation statement cannot be verified.', 'AccessDenied');
}

/** RSA-OAEP of a fresh AES-256 key, then AES-KWP of PKCS#8 under it. */
function wrapKey(
  version: VaultKeyVersion,
  transferKey: Readonly<Record<string, unknown>>,
  oaepHash: string,
): Uint8Array {
  const jwk = { kty: 'RSA', n: String(transferKey.n), e: String(transferKey.e) } as const;
  const publicKey = asFailure(403, 'Forbidden', () => importJwk(jwk));
  const aesKey = randomBytes(32);
  const pkcs8 = privateKeyOf(version).export({ type: 'pkcs8', format: 'der' });
  try {
    const padding = constants.RSA_PKCS1_OAEP_PADDING;
    return concat(publicEncrypt({ key: publicKey, padding, oaepHash }, aesKey), kwpWrap(aesKey, pkcs8));
  } finally {
    aesKey.fill(0);
    pkcs8.fill(0);
  }
}

/** Header as recorded from a vault: `kid` is the SHA-1 thumbprint in hex, `x5c` leaf to root. */
function signReply(payload: object, signer: SigningIdentity): string {
  const x5c = x5cOf(signer);
  const leaf = Buffer.from(x5c[0] ?? '', 'base64');
  const thumbprint = (hash: string) => createHash(hash).update(leaf).digest();
  const header = {
    alg: 'RS256',
    kid: thumbprint('sha1').toString('hex').toUpperCase(),
    x5t: thumbprint('sha1').toString('base64url'),
    typ: 'JWT',
    'x5t#S256': thumbprint('sha256').toString('base64url'),
    x5c,
  };
  const signed = [header, payload].map((part) => toBase64Url(utf8(JSON.stringify(part)))).join('.');
  return `${signed}.${toBase64Url(sign('sha256', utf8(signed), createPrivateKey(signer.privateKey)))}`;
}

function notMet(): HttpFailure {
  return forbidden('Target environment attestation does not meet key release policy requirements.', 'AccessDenied');
}

function forbidden(message: string, innerCode: string): HttpFailure {
  return new HttpFailure(403, 'Forbidden', message, { innerCode });
}
