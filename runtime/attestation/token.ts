import { type KeyObject, X509Certificate } from 'node:crypto';
import { equalBytes, fromBase64, toBase64, utf8 } from '../crypto/bytes.ts';
import { SecureTrainingError } from '../errors.ts';
import { asObject, asText, type CompactJws, parseCompactJws, verifyRs256 } from './jws.ts';

/** Name that Azure Attestation gives the ephemeral key in an AzureGuest token. */
export const TRANSFER_KID = 'TpmEphemeralEncryptionKey';
/** Oldest token taken as fresh, and how far the clock of the operating system may be off. */
const MAXIMUM_SKEW_IN_MS = 5 * 60_000;

export interface TokenExpectations {
  /** Issuer as in the agreement, without a slash at the end. */
  readonly authority: string;
  /** JWKS that `AUTHORITY/certs` gave over TLS. */
  readonly certificates: unknown;
  /** The text sent with the request. */
  readonly nonce: string;
  /** Modulus of the key in this machine's vTPM, big endian. */
  readonly ephemeralModulus: Uint8Array;
  /** Id of this virtual machine, in either case. */
  readonly vmId: string;
  /** What the operating system believes. */
  readonly now: Date;
}

/** A token that holds. */
export interface AttestationToken {
  readonly jwt: string;
  readonly claims: Readonly<Record<string, unknown>>;
  /** The trainer's clock from here on: the operating system's is the host's to set. */
  readonly issuedAt: Date;
  /** `kid` of the key that a vault will seal a release to. */
  readonly transferKid: string;
}

interface Claims {
  readonly token: Readonly<Record<string, unknown>>;
  readonly tee: Readonly<Record<string, unknown>>;
  /** The key a vault would take: the first that may encrypt. */
  readonly transferKey: Readonly<Record<string, unknown>>;
  readonly nonce: unknown;
}

type Check = (claims: Claims, expected: TokenExpectations) => boolean;

const CHECKS: Readonly<Record<string, Check>> = {
  'issuer is the authority': ({ token }, { authority }) => token.iss === authority,
  'issued within five minutes of this clock': ({ token }, { now }) =>
    typeof token.iat === 'number' && Math.abs(token.iat * 1000 - now.getTime()) <= MAXIMUM_SKEW_IN_MS,
  'valid already': ({ token }, { now }) =>
    typeof token.nbf === 'number' && token.nbf * 1000 <= now.getTime() + MAXIMUM_SKEW_IN_MS,
  'not expired': ({ token }, { now }) => typeof token.exp === 'number' && token.exp * 1000 > now.getTime(),
  // The service gives back the base64 of the text it was sent.
  'nonce is the one sent': ({ nonce }, expected) => nonce === toBase64(utf8(expected.nonce)),
  'transfer key is the ephemeral key': ({ transferKey }, { ephemeralModulus }) =>
    transferKey.kid === TRANSFER_KID && isModulus(transferKey, ephemeralModulus),
  'vm is this one': ({ token }, { vmId }) => {
    const found = token['x-ms-azurevm-vmid'];
    return typeof found === 'string' && found.toLowerCase() === vmId.toLowerCase();
  },
  'type is azurevm': ({ token }) => token['x-ms-attestation-type'] === 'azurevm',
  'secure boot is on': ({ token }) => token.secureboot === true,
  'hardware is sevsnpvm': ({ tee }) => tee['x-ms-attestation-type'] === 'sevsnpvm',
  'platform is compliant': ({ tee }) => tee['x-ms-compliance-status'] === 'azure-compliant-cvm',
  'debug is off': ({ tee }) => tee['x-ms-sevsnpvm-is-debuggable'] === false,
  'migration is off': ({ tee }) => tee['x-ms-sevsnpvm-migration-allowed'] === false,
};

/**
 * Decides whether a token of Azure Attestation was made by the authority, now, for this machine and its ephemeral key.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`, `ATTESTATION_REJECTED` with every failed check
 */
export function verifyToken(jwt: string, expected: TokenExpectations): AttestationToken {
  const jws = parseCompactJws(jwt, 'token');
  reject(signatureFailures(jws, expected));
  const claims = readClaims(jws.payload);
  reject(Object.keys(CHECKS).filter((name) => CHECKS[name]?.(claims, expected) !== true));
  return {
    jwt,
    claims: jws.payload,
    issuedAt: new Date(Number(jws.payload.iat) * 1000),
    transferKid: String(claims.transferKey.kid),
  };
}

/** What is wrong with a token's signature; claims are not looked at before this is empty. */
function signatureFailures(jws: CompactJws, { authority, certificates, now }: TokenExpectations): string[] {
  const failures: string[] = [];
  const { alg, jku, kid } = jws.header;
  if (alg !== 'RS256') failures.push('algorithm is RS256');
  // Keys come from the authority alone; a token that names another place was made for somebody who follows it.
  if (jku !== `${authority}/certs`) failures.push('key source is the authority');
  const keys = typeof kid === 'string' ? keysOf(certificates, kid, now) : [];
  if (keys.length === 0) failures.push('signing key is one of the authority');
  if (!keys.some((key) => verifyRs256(jws, key))) failures.push('signature is valid');
  return failures;
}

/**
 * Public keys of the entries of a JWKS with this `kid`. Azure Attestation gives `x5c` and often no `n` and `e`
 * (jose's JWKS code does not read `x5c`), so the key is that of the first certificate.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`
 */
export function keysOf(jwks: unknown, kid: string, now: Date): KeyObject[] {
  const { keys } = asObject(jwks, 'certificates');
  if (!Array.isArray(keys)) throw malformed('certificates: keys is not a list');
  const entries = keys
    .map((entry: unknown) => asObject(entry, 'certificates: key'))
    .filter((entry) => entry.kid === kid);
  return entries.flatMap(({ x5c }) => {
    if (!Array.isArray(x5c)) return [];
    const der = fromBase64(asText(x5c[0], 'certificates: x5c'), 'certificates: x5c');
    try {
      const { publicKey, validFromDate, validToDate } = new X509Certificate(der);
      return validFromDate <= now && now <= validToDate ? [publicKey] : [];
    } catch (cause) {
      throw malformed('certificates: x5c is not a certificate', cause);
    }
  });
}

/**
 * The key a vault seals a release to: the first RSA key in `x-ms-runtime` that may encrypt
 * (Key Vault release documentation; recorded services take `use`, `key_use` and `key_ops`).
 */
export function transferKeyOf(claims: Readonly<Record<string, unknown>>): Record<string, unknown> | undefined {
  const keys = child(claims, 'x-ms-runtime').keys;
  if (!Array.isArray(keys)) return undefined;
  const candidates = keys.filter((key: unknown) => typeof key === 'object' && key !== null) as Record<
    string,
    unknown
  >[];
  return candidates.find(({ kty, kid, use, key_use, key_ops }) => {
    const encrypts = use === 'enc' || key_use === 'enc' || (Array.isArray(key_ops) && key_ops.includes('encrypt'));
    return kty === 'RSA' && typeof kid === 'string' && encrypts;
  });
}

function readClaims(token: Readonly<Record<string, unknown>>): Claims {
  return {
    token,
    tee: child(token, 'x-ms-isolation-tee'),
    transferKey: transferKeyOf(token) ?? {},
    nonce: child(child(token, 'x-ms-runtime'), 'client-payload').nonce,
  };
}

/** An absent or odd member reads as empty: every check on it then fails by name. */
function child(value: Readonly<Record<string, unknown>>, name: string): Readonly<Record<string, unknown>> {
  const found = value[name];
  return typeof found === 'object' && found !== null ? (found as Record<string, unknown>) : {};
}

function isModulus({ n, e }: Readonly<Record<string, unknown>>, modulus: Uint8Array): boolean {
  if (typeof n !== 'string' || e !== 'AQAB') return false;
  return equalBytes(fromBase64(n, 'transfer key'), modulus);
}

function reject(failures: readonly string[]): void {
  if (failures.length === 0) return;
  throw new SecureTrainingError('ATTESTATION_REJECTED', `attestation token rejected: not (${failures.join('; ')})`, {
    failures,
  });
}

function malformed(message: string, cause?: unknown): SecureTrainingError {
  return new SecureTrainingError('EVIDENCE_MALFORMED', message, { cause });
}
