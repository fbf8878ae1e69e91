import { type EcPublicJwk, importJwk, publicJwk, type RsaPublicJwk } from '../crypto/jwk.ts';
import { SecureTrainingError } from '../errors.ts';
import { type Check, members, oneOf, text, where } from '../shape.ts';

const base64url = text(/^[A-Za-z0-9_-]{1,1400}$/, 'base64url');

/** A signing key in a statement, in its one canonical form: two spellings of a key would be two keys to a reader who compares text. */
export const ecKey: Check<EcPublicJwk> = where(
  members<EcPublicJwk>({ kty: oneOf('EC'), crv: oneOf('P-256'), x: base64url, y: base64url }),
  canonical,
);

/** A wrapping key in a statement, in its one canonical form. */
export const rsaKey: Check<RsaPublicJwk> = where(
  members<RsaPublicJwk>({ kty: oneOf('RSA'), n: base64url, e: base64url }),
  canonical,
);

function canonical(jwk: EcPublicJwk | RsaPublicJwk): string | undefined {
  try {
    const same = Object.entries(publicJwk(importJwk(jwk))).every(([name, value]) => Object(jwk)[name] === value);
    return same ? undefined : 'the key is not in its canonical form';
  } catch (error) {
    if (error instanceof SecureTrainingError) return error.message;
    throw error;
  }
}
