import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { SecureTrainingError } from '../errors.ts';
import { fromBase64, toBase64Url } from './bytes.ts';

/** Public half of a signing key: the only signature algorithm here is ECDSA P-256 with SHA-256. */
export interface EcPublicJwk {
  readonly kty: 'EC';
  readonly crv: 'P-256';
  readonly x: string;
  readonly y: string;
}

/** Public half of a wrapping key (RSA-OAEP-256). */
export interface RsaPublicJwk {
  readonly kty: 'RSA';
  readonly n: string;
  readonly e: string;
}

type PublicJwk = EcPublicJwk | RsaPublicJwk;

/** Smallest RSA modulus taken, in bits: what the vTPM makes. */
const MINIMUM_MODULUS = 2048;
const MAXIMUM_MODULUS = 8192;

/**
 * RFC 7638 section 3: SHA-256 over the required members in lexicographic order, base64url. This is how keys and owners are named.
 * Normalises first, so that `AAEAAQ` and `AQAB` (vaults write both) name the same key.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when the members are no key
 */
export function thumbprint(jwk: PublicJwk): string {
  const key = publicJwk(importJwk(jwk));
  const members =
    key.kty === 'EC' ? { crv: key.crv, kty: key.kty, x: key.x, y: key.y } : { e: key.e, kty: key.kty, n: key.n };
  return toBase64Url(createHash('sha256').update(JSON.stringify(members)).digest());
}

/**
 * The public members of a public or private key, and nothing else.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for anything but P-256 or RSA of 2048 to 8192 bits
 */
export function publicJwk(key: KeyObject): PublicJwk {
  if (key.type === 'secret') throw invalid('found a secret key, wanted a P-256 or RSA key');
  const exported = (key.type === 'private' ? createPublicKey(key) : key).export({ format: 'jwk' });
  const { kty, crv, x, y, n, e } = exported;
  if (kty === 'EC' && crv === 'P-256' && x !== undefined && y !== undefined) return { kty, crv, x, y };
  if (kty === 'RSA' && n !== undefined && e !== undefined) {
    const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
    if (bits < MINIMUM_MODULUS || bits > MAXIMUM_MODULUS) {
      throw invalid(`found an RSA key of ${bits} bits, wanted ${MINIMUM_MODULUS} to ${MAXIMUM_MODULUS}`);
    }
    // What is wrapped under an exponent of 1 is the plaintext; no RSA key has an even exponent or modulus.
    const exponent = key.asymmetricKeyDetails?.publicExponent ?? 0n;
    if (exponent < 3n || exponent % 2n === 0n || ((fromBase64(n).at(-1) ?? 0) & 1) === 0) {
      throw invalid('found an RSA key with an even modulus, or an exponent that is even or 1');
    }
    return { kty, n, e };
  }
  throw invalid(`found a key of type ${kty ?? 'unknown'}${crv === undefined ? '' : ` ${crv}`}, wanted P-256 or RSA`);
}

/** {@link publicJwk} of a signing key. */
export function ecPublicJwk(key: KeyObject): EcPublicJwk {
  const jwk = publicJwk(key);
  if (jwk.kty !== 'EC') throw invalid('found an RSA key, wanted a P-256 key');
  return jwk;
}

/** {@link publicJwk} of a wrapping key. */
export function rsaPublicJwk(key: KeyObject): RsaPublicJwk {
  const jwk = publicJwk(key);
  if (jwk.kty !== 'RSA') throw invalid('found a P-256 key, wanted an RSA key');
  return jwk;
}

/**
 * Reads the required public members only: private members, `alg`, `use` and the like change nothing.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when they are no P-256 point or RSA key of 2048 to 8192 bits
 */
export function importJwk(jwk: PublicJwk): KeyObject {
  const members =
    jwk.kty === 'EC' ? { kty: jwk.kty, crv: jwk.crv, x: jwk.x, y: jwk.y } : { kty: jwk.kty, n: jwk.n, e: jwk.e };
  let key: KeyObject;
  try {
    // Node passes over what is no base64, so that two texts would be one key.
    for (const text of jwk.kty === 'EC' ? [jwk.x, jwk.y] : [jwk.n, jwk.e]) fromBase64(text);
    key = createPublicKey({ key: members, format: 'jwk' });
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', 'the members of the key are not those of a P-256 or RSA key', {
      cause,
    });
  }
  publicJwk(key);
  return key;
}

function invalid(message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', message);
}
