import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { toBase64Url, utf8 } from '../runtime/crypto/bytes.ts';

/** A user-assigned managed identity. */
export interface Identity {
  readonly name: string;
  readonly clientId: string;
  readonly principalId: string;
}

/** Managed identity tokens hold for a day. */
const LIFETIME_IN_SECONDS = 86_400;

/**
 * Microsoft Entra ID as far as its tokens go: access tokens of version 1.0, RS256
 * (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference). Every emulated service checks them.
 */
export class TokenIssuer {
  readonly tenantId: string;
  readonly #key: KeyObject;
  readonly #publicKey: KeyObject;
  readonly #now: () => Date;

  /** @param key RSA private key */
  constructor(tenantId: string, key: KeyObject, now: () => Date = () => new Date()) {
    this.tenantId = tenantId;
    this.#key = key;
    this.#publicKey = createPublicKey(key.export({ type: 'pkcs1', format: 'pem' }).toString());
    this.#now = now;
  }

  /** @param resource audience of the token, for example `https://vault.azure.net` */
  issue({ clientId, principalId }: Identity, resource: string): { readonly token: string; readonly expiresOn: number } {
    const iat = this.#seconds();
    const exp = iat + LIFETIME_IN_SECONDS;
    const claims = {
      aud: resource,
      iss: this.#issuer(),
      iat,
      nbf: iat,
      exp,
      appid: clientId,
      oid: principalId,
      sub: principalId,
      tid: this.tenantId,
      ver: '1.0',
    };
    const signed = `${part({ typ: 'JWT', alg: 'RS256' })}.${part(claims)}`;
    return { token: `${signed}.${toBase64Url(sign('sha256', utf8(signed), this.#key))}`, expiresOn: exp };
  }

  /** Principal of a genuine, current token for this audience; `undefined` for anything else. */
  authenticate(bearer: string | undefined, audience: string): { readonly principalId: string } | undefined {
    const token = bearer?.replace(/^Bearer /i, '');
    const [header, payload, signature, ...more] = token?.split('.') ?? [];
    if (header === undefined || payload === undefined || signature === undefined || more.length > 0) return undefined;
    if (!verify('sha256', utf8(`${header}.${payload}`), this.#publicKey, Buffer.from(signature, 'base64url')))
      return undefined;
    const { aud, iss, nbf, exp, oid } = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<
      string,
      unknown
    >;
    const now = this.#seconds();
    const current = typeof nbf === 'number' && typeof exp === 'number' && nbf <= now && now < exp;
    const fits = typeof aud === 'string' && aud.replace(/\/$/, '') === audience && iss === this.#issuer();
    return current && fits && typeof oid === 'string' ? { principalId: oid } : undefined;
  }

  #issuer(): string {
    return `https://sts.windows.net/${this.tenantId}/`;
  }

  #seconds(): number {
    return Math.floor(this.#now().getTime() / 1000);
  }
}

function part(value: object): string {
  return toBase64Url(utf8(JSON.stringify(value)));
}
