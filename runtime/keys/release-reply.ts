import { X509Certificate } from 'node:crypto';
import { readExtensions } from '../attestation/certificates.ts';
import { DER_TAG, derChildren, derElements } from '../attestation/der.ts';
import { asObject, asText, type CompactJws, jsonObject, parseCompactJws, verifyRs256 } from '../attestation/jws.ts';
import { equalBytes, fromBase64, toHex } from '../crypto/bytes.ts';
import type { RsaPublicJwk } from '../crypto/jwk.ts';
import { SecureTrainingError } from '../errors.ts';
import { decodeReleasePolicy, policyDigest } from './release-policy.ts';
import { vaultKeyId } from './slots.ts';

/** As DER (RFC 5280 section 4.2.1); extended key usages are written with dots, as Node shows them. */
const BASIC_CONSTRAINTS = '551d13';
const NAME_CONSTRAINTS = '551d1e';
const SERVER_AUTHENTICATION = '1.3.6.1.5.5.7.3.1';

/** The one algorithm asked for: AES-256 key by RSA-OAEP with SHA-256, then AES-KWP (the service's default means SHA-1). */
export const RELEASE_ALGORITHM = 'RSA_AES_KEY_WRAP_256';

/** The key an agreement names, and where. */
export interface ExpectedKey {
  readonly vaultHost: string;
  readonly keyName: string;
  readonly keyVersion: string;
  /** Public half. */
  readonly key: RsaPublicJwk;
  /** `policyDigest` of the release policy: compared by meaning. */
  readonly policySha256: string;
}

export interface ReplyExpectations {
  readonly expected: ExpectedKey;
  /** `kid` of the key that the release was to be sealed to. */
  readonly transferKid: string;
  readonly nonce: string;
  /** SHA-256 fingerprints of accepted roots. */
  readonly vaultRoots: readonly string[];
  readonly at: Date;
}

/** A vault's reply to a release, taken apart. Shapes: facts/key-vault.md 3.4, from recordings of real services. */
export interface ReleaseReply {
  readonly jws: CompactJws;
  /** Leaf first. */
  readonly chain: readonly X509Certificate[];
  readonly request: Readonly<Record<string, unknown>>;
  readonly key: Readonly<Record<string, unknown>>;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly policy: Uint8Array;
  /** Header of `key_hsm`. */
  readonly sealing: Readonly<Record<string, unknown>>;
  /** The wrapped key: 256 bytes RSA-OAEP, then AES-KWP. */
  readonly ciphertext: Uint8Array;
}

type Check = (reply: ReleaseReply, wanted: ReplyExpectations) => boolean;

const CHECKS: Readonly<Record<string, Check>> = {
  'algorithm is RS256': ({ jws }) => jws.header.alg === 'RS256',
  'signature is valid': ({ jws, chain }) => chain[0] !== undefined && verifyRs256(jws, chain[0].publicKey),
  'certificates lead to a pinned root': ({ chain }, { vaultRoots }) => leadsToRoot(chain, vaultRoots),
  'certificates are for servers': ({ chain }) => chain.every(isForServers),
  'certificates are current': ({ chain }, { at }) => chain.every((c) => c.validFromDate <= at && at <= c.validToDate),
  // Every vault of Azure signs with one wildcard certificate: this names the service, the key ids below the vault.
  'certificate is of the vault': ({ chain }, { expected }) =>
    chain[0]?.checkHost(expected.vaultHost, { subject: 'never', partialWildcards: false }) !== undefined,
  'request names the key version': ({ request }, { expected }) => request.kid === vaultKeyId(expected),
  'request has the algorithm asked for': ({ request }) => request.enc === RELEASE_ALGORITHM,
  // Whether vaults echo the nonce is open; one that is there has to be ours.
  'nonce is the one sent': ({ request }, { nonce }) => request.nonce === undefined || request.nonce === nonce,
  'key is the one asked for': ({ key }, { expected }) => key.kid === vaultKeyId(expected),
  'key is RSA': ({ key }) => key.kty === 'RSA' || key.kty === 'RSA-HSM',
  'public half is the one agreed on': ({ key }, { expected }) =>
    sameInteger(key.n, expected.key.n) && sameInteger(key.e, expected.key.e),
  'key is exportable': ({ attributes }) => attributes.exportable === true,
  'release policy is the one agreed on': ({ policy }, { expected }) => hasDigest(policy, expected.policySha256),
  'sealed to the transfer key': ({ sealing }, { transferKid }) => sealing.kid === transferKid && sealing.alg === 'dir',
  'sealed with the algorithm asked for': ({ sealing }) => sealing.enc === RELEASE_ALGORITHM,
};

/** Names of the checks of {@link replyFailures}, in the order failures are listed. */
export const REPLY_CHECKS: readonly string[] = Object.keys(CHECKS);

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` */
export function parseReleaseReply(text: string): ReleaseReply {
  const jws = parseCompactJws(text, 'release reply');
  const bundle = asObject(asObject(jws.payload.response, 'release reply: response').key, 'release reply: response.key');
  const key = asObject(bundle.key, 'release reply: response.key.key');
  const policy = asObject(bundle.release_policy, 'release reply: release_policy');
  const wrapped = jsonObject(fromBase64(asText(key.key_hsm, 'release reply: key_hsm'), 'key_hsm'), 'key_hsm');
  return {
    jws,
    chain: readChain(jws.header.x5c),
    request: asObject(jws.payload.request, 'release reply: request'),
    key,
    attributes: asObject(bundle.attributes, 'release reply: attributes'),
    policy: fromBase64(asText(policy.data, 'release reply: release_policy.data'), 'release_policy.data'),
    sealing: asObject(wrapped.header, 'key_hsm: header'),
    ciphertext: fromBase64(asText(wrapped.ciphertext, 'key_hsm: ciphertext'), 'key_hsm: ciphertext'),
  };
}

/** Every check that fails, by name. Empty: this vault released this key to this request. */
export function replyFailures(reply: ReleaseReply, wanted: ReplyExpectations): string[] {
  return REPLY_CHECKS.filter((name) => CHECKS[name]?.(reply, wanted) !== true);
}

function readChain(x5c: unknown): X509Certificate[] {
  // A vault sends three; a bound keeps a hostile reply from costing signatures without end.
  if (!Array.isArray(x5c) || x5c.length === 0 || x5c.length > 8)
    throw malformed('release reply: x5c: wanted 1 to 8 certificates');
  return x5c.map((entry: unknown, i) => {
    try {
      const certificate = new X509Certificate(fromBase64(asText(entry, `x5c[${i}]`), `x5c[${i}]`));
      // Node reads the key when it is first asked for, and only then finds that it is none.
      return certificate.publicKey && certificate;
    } catch (cause) {
      throw malformed(`release reply: x5c[${i}] is not a certificate`, cause);
    }
  });
}

function leadsToRoot(chain: readonly X509Certificate[], roots: readonly string[]): boolean {
  const root = chain.at(-1);
  // A pinned root as the leaf itself would make any server certificate a certificate authority.
  if (root === undefined || chain.length < 2) return false;
  const linked = chain.slice(0, -1).every((certificate, i) => {
    const issuer = chain[i + 1];
    return (
      issuer?.ca === true &&
      mayIssue(issuer, i) &&
      certificate.checkIssued(issuer) &&
      certificate.verify(issuer.publicKey)
    );
  });
  return linked && roots.includes(root.fingerprint256.replaceAll(':', '').toLowerCase());
}

/**
 * Node checks a pair of certificates, never a path: how many authorities may stand below this one (RFC 5280 section 4.2.1.9)
 * and for which names it may speak (4.2.1.10). None of Azure's has such names, so one that has is not one of them.
 */
function mayIssue(issuer: X509Certificate, authoritiesBelow: number): boolean {
  const extensions = readExtensions(Uint8Array.from(issuer.raw), 'x5c');
  if (extensions.has(NAME_CONSTRAINTS)) return false;
  const constraints = derElements(extensions.get(BASIC_CONSTRAINTS) ?? new Uint8Array(), 'x5c')[0];
  const length = derChildren(constraints, DER_TAG.sequence, 'x5c').find(({ tag }) => tag === DER_TAG.integer);
  return length === undefined || authoritiesBelow <= Number.parseInt(toHex(length.value), 16);
}

/** A certificate without extended key usage is for everything (RFC 5280 section 4.2.1.12), and Node then shows none. */
function isForServers({ keyUsage }: X509Certificate): boolean {
  return (keyUsage as readonly string[] | undefined)?.includes(SERVER_AUTHENTICATION) ?? true;
}

/** Vaults write `e` as AAEAAQ or AQAB: integers are compared, not texts. */
function sameInteger(found: unknown, wanted: string): boolean {
  const [left, right] = [integerOf(found), integerOf(wanted)];
  return left !== undefined && right !== undefined && equalBytes(left, right);
}

/** `undefined` for what is no base64: Buffer would leave out what it cannot read. */
function integerOf(text: unknown): Uint8Array | undefined {
  if (typeof text !== 'string') return undefined;
  try {
    return withoutLeadingZeros(fromBase64(text));
  } catch (error) {
    if (error instanceof SecureTrainingError) return undefined;
    throw error;
  }
}

function withoutLeadingZeros(bytes: Uint8Array): Uint8Array {
  const first = bytes.findIndex((byte) => byte !== 0);
  return first < 0 ? new Uint8Array(0) : bytes.subarray(first);
}

function hasDigest(policy: Uint8Array, wanted: string): boolean {
  try {
    return policyDigest(decodeReleasePolicy(policy)) === wanted;
  } catch (error) {
    // A policy outside the grammar is not the one agreed on; any other error is ours.
    if (error instanceof SecureTrainingError) return false;
    throw error;
  }
}

function malformed(message: string, cause?: unknown): SecureTrainingError {
  return new SecureTrainingError('EVIDENCE_MALFORMED', message, { cause });
}
