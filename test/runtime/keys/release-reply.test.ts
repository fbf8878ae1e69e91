import {
  constants,
  generateKeyPairSync,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
  sign,
} from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { rootFingerprint, x5cOf } from '../../../emulator/service-pki.ts';
import { type CertificateOptions, createIdentity, type SigningIdentity } from '../../../emulator/signing-identity.ts';
import { concat, toBase64Url, utf8 } from '../../../runtime/crypto/bytes.ts';
import { rsaPublicJwk } from '../../../runtime/crypto/jwk.ts';
import { kwpWrap } from '../../../runtime/crypto/key-wrap.ts';
import { SecureTrainingError } from '../../../runtime/errors.ts';
import { type OpenReleaseOptions, openRelease } from '../../../runtime/keys/release.ts';
import { parseReleasePolicy, policyDigest } from '../../../runtime/keys/release-policy.ts';
import { REPLY_CHECKS } from '../../../runtime/keys/release-reply.ts';
import { rejection } from '../rejection.ts';

const HOST = 'kv-owner.vault.azure.net';
const VERSION = '0123456789abcdef0123456789abcdef';
const KID = `https://${HOST}/keys/training-key-1/${VERSION}`;
const AT = new Date('2026-11-23T12:00:00Z');
const NONCE = 'nonce of this release';
const ALGORITHM = 'RSA_AES_KEY_WRAP_256';
const OAEP = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };

const [rootKeys, vaultKeys, transferKeys, releasedKeys] = [rsaKeys(), rsaKeys(), rsaKeys(), rsaKeys()];
const validity = { notBefore: new Date('2026-01-01'), notAfter: new Date('2027-01-01') };
const root = createIdentity({ commonName: 'Test Root', ca: true, ...validity }, rootKeys);
// One key for root and intermediate: what counts is the names and who signed.
const intermediate = createIdentity({ commonName: 'Test Issuing CA', ca: true, ...validity }, rootKeys, root);
// As the leaf of a recorded vault: wildcards, no vault by name.
const vault = leaf(['vault.azure.net', '*.vault.azure.net', '*.vaultcore.azure.net']);
const selfSigned = createIdentity({ commonName: HOST, dnsNames: [HOST], ca: false, ...validity }, vaultKeys);

const { n, e } = rsaPublicJwk(releasedKeys.publicKey);
const AUTHORITY = 'https://maowner.neu.attest.azure.net';
/** As it was sent. The digest that an agreement pins is of its meaning. */
const POLICY = {
  version: '1.0.0',
  anyOf: [
    {
      authority: AUTHORITY,
      allOf: [
        { claim: 'secureboot', equals: true },
        { claim: 'tier', equals: 7 },
      ],
    },
  ],
};

type Members = Readonly<Record<string, unknown>>;

/** A reply before it is signed. */
interface Draft {
  readonly signer: SigningIdentity;
  readonly header: Members;
  readonly request: Members;
  readonly key: Members;
  readonly attributes: unknown;
  readonly policy: Members;
  readonly sealing: Members;
  readonly ciphertext: Uint8Array;
}

/** The shape of a vault recorded in 2022 (azure-sdk-for-js, keyvault-keys, can_create_an_exportable_key_and_release_it). */
const GOOD: Draft = {
  signer: vault,
  header: { alg: 'RS256', kid: '5736CE9F', typ: 'JWT' },
  request: { 'api-version': '7.6', enc: ALGORITHM, kid: KID, nonce: NONCE },
  key: { kid: KID, kty: 'RSA-HSM', key_ops: ['wrapKey'], n, e: 'AAEAAQ' },
  attributes: { enabled: true, created: 1, updated: 1, recoveryLevel: 'Recoverable', exportable: true },
  policy: { data: policyData(POLICY), immutable: true },
  sealing: { kid: 'TpmEphemeralEncryptionKey', alg: 'dir', enc: ALGORITHM },
  ciphertext: sealed(releasedKeys.privateKey),
};

const OPTIONS: OpenReleaseOptions = {
  expected: {
    vaultHost: HOST,
    keyName: 'training-key-1',
    keyVersion: VERSION,
    key: { kty: 'RSA', n, e },
    policySha256: policyDigest(parseReleasePolicy(POLICY)),
  },
  transferKid: 'TpmEphemeralEncryptionKey',
  nonce: NONCE,
  trust: { vaultRoots: [rootFingerprint(root)] },
  at: AT,
  decrypt: async (cipher) => Uint8Array.from(privateDecrypt({ key: transferKeys.privateKey, ...OAEP }, cipher)),
};

describe('what real services have been seen to write is taken', () => {
  test.each<[string, Partial<Draft>, boolean]>([
    ['a vault of 2022', {}, true],
    ['e without a leading zero', { key: { ...GOOD.key, e: 'AQAB' } }, true],
    ['n with a leading zero', { key: { ...GOOD.key, n: toBase64Url(concat(Uint8Array.of(0), bytesOf(n))) } }, true],
    ['n in the standard alphabet, padded', { key: { ...GOOD.key, n: bytesOf(n).toString('base64') } }, true],
    ['a managed HSM: kty RSA', { key: { ...GOOD.key, kty: 'RSA' } }, true],
    [
      'a managed HSM: header without typ, kid of x5t#S256',
      { header: { alg: 'RS256', kid: 'x', 'x5t#S256': 'x' } },
      true,
    ],
    ['a policy with members in another order', { policy: { data: policyData(reordered()) } }, true],
    ['a policy with booleans and numbers as text', { policy: { data: policyData(asText()) } }, true],
    [
      'a policy with a content type and a padded body',
      { policy: { contentType: 'application/json; charset=utf-8', data: padded() } },
      true,
    ],
    ['an authority with a slash at its end', { policy: { data: policyData(withSlash()) } }, true],
    ['no nonce', { request: without(GOOD.request, 'nonce') }, false],
    ['unknown members', { request: { ...GOOD.request, more: 1 }, sealing: { ...GOOD.sealing, more: 1 } }, true],
    ['a leaf of this vault alone', { signer: leaf([HOST]) }, true],
    ['a leaf for servers and clients', { signer: leaf([HOST], { more: usage(1, 2) }) }, true],
    ['an authority that may have none below it', { signer: byAuthority({ pathLength: 0, more: usage(1, 2) }) }, true],
  ])('%s', async (_, change, nonceEchoed) => {
    const opened = await openRelease(reply({ ...GOOD, ...change }), OPTIONS);
    expect(opened.nonceEchoed).toBe(nonceEchoed);
    expect(rsaPublicJwk(opened.key)).toEqual({ kty: 'RSA', n, e });
  });
});

type Refused = [check: string, what: string, change: Partial<Draft>, options?: Partial<OpenReleaseOptions>];

// One good reply, one change a row.
const REFUSED: Refused[] = [
  ['algorithm is RS256', 'PS256', { header: { ...GOOD.header, alg: 'PS256' } }],
  ['algorithm is RS256', 'none', { header: { ...GOOD.header, alg: 'none' } }],
  ['signature is valid', 'another key', { signer: { ...vault, privateKey: pem(transferKeys.privateKey) } }],
  ['certificates lead to a pinned root', 'another root', {}, { trust: { vaultRoots: ['00'.repeat(32)] } }],
  ['certificates lead to a pinned root', 'no roots', {}, { trust: { vaultRoots: [] } }],
  ['certificates lead to a pinned root', 'root left out', { signer: { ...vault, chain: vault.chain.slice(0, 2) } }],
  [
    'certificates lead to a pinned root',
    'intermediate left out',
    { signer: { ...vault, chain: [vault.chain[0] ?? '', vault.chain[2] ?? ''] } },
  ],
  [
    'certificates lead to a pinned root',
    'pinned leaf on its own',
    { signer: selfSigned },
    { trust: { vaultRoots: [rootFingerprint(selfSigned)] } },
  ],
  ['certificates lead to a pinned root', 'issuer that is no authority', { signer: belowALeaf() }],
  ['certificates lead to a pinned root', 'issuer of the right name that signed nothing', { signer: forged() }],
  [
    'certificates lead to a pinned root',
    'an authority below one that may have none',
    { signer: belowTheLastAuthority() },
  ],
  [
    'certificates lead to a pinned root',
    'an authority for the names of somebody else',
    // NameConstraints: permitted subtree example.com.
    { signer: byAuthority({ more: { '2.5.29.30': Buffer.from('3011a00f300d820b6578616d706c652e636f6d', 'hex') } }) },
  ],
  ['certificates are for servers', 'a leaf for clients', { signer: leaf([HOST], { more: usage(2) }) }],
  ['certificates are for servers', 'an authority for mail', { signer: byAuthority({ more: usage(4) }) }],
  ['certificates are current', 'before', {}, { at: new Date('2025-12-31T23:59:59Z') }],
  ['certificates are current', 'after', {}, { at: new Date('2027-01-01T00:00:01Z') }],
  ['certificate is of the vault', 'another service', { signer: leaf(['*.blob.core.windows.net']) }],
  ['certificate is of the vault', 'the domain above', { signer: leaf(['vault.azure.net']) }],
  ['certificate is of the vault', 'a wildcard two levels up', { signer: leaf(['*.azure.net']) }],
  ['certificate is of the vault', 'part of a label', { signer: leaf(['kv-*.vault.azure.net']) }],
  ['certificate is of the vault', 'only the common name', { signer: leaf([]) }],
  [
    'request names the key version',
    'no version',
    { request: { ...GOOD.request, kid: KID.slice(0, KID.lastIndexOf('/')) } },
  ],
  [
    'request names the key version',
    'another version',
    { request: { ...GOOD.request, kid: KID.replace(VERSION, 'f'.repeat(32)) } },
  ],
  [
    'request names the key version',
    'another vault',
    { request: { ...GOOD.request, kid: KID.replace('kv-owner', 'kv-other') } },
  ],
  ['request names the key version', 'no TLS', { request: { ...GOOD.request, kid: KID.replace('https', 'http') } }],
  ['request names the key version', 'none', { request: without(GOOD.request, 'kid') }],
  ['request has the algorithm asked for', 'SHA-1', { request: { ...GOOD.request, enc: 'CKM_RSA_AES_KEY_WRAP' } }],
  ['request has the algorithm asked for', 'SHA-384', { request: { ...GOOD.request, enc: 'RSA_AES_KEY_WRAP_384' } }],
  ['request has the algorithm asked for', 'none', { request: without(GOOD.request, 'enc') }],
  ['nonce is the one sent', 'another', { request: { ...GOOD.request, nonce: `${NONCE}.` } }],
  ['nonce is the one sent', 'empty', { request: { ...GOOD.request, nonce: '' } }],
  ['nonce is the one sent', 'null', { request: { ...GOOD.request, nonce: null } }],
  ['key is the one asked for', 'another key', { key: { ...GOOD.key, kid: KID.replace('key-1', 'key-2') } }],
  ['key is the one asked for', 'no version', { key: { ...GOOD.key, kid: KID.slice(0, KID.lastIndexOf('/')) } }],
  ['key is RSA', 'elliptic', { key: { ...GOOD.key, kty: 'EC-HSM' } }],
  ['key is RSA', 'symmetric', { key: { ...GOOD.key, kty: 'oct-HSM' } }],
  ['key is RSA', 'in small letters', { key: { ...GOOD.key, kty: 'rsa-hsm' } }],
  ['public half is the one agreed on', 'another exponent', { key: { ...GOOD.key, e: 'Aw' } }],
  ['public half is the one agreed on', 'a zero at the end', { key: { ...GOOD.key, e: 'AQABAA' } }],
  ['public half is the one agreed on', 'a character too many', { key: { ...GOOD.key, e: 'AQABA' } }],
  ['public half is the one agreed on', 'a character of no alphabet', { key: { ...GOOD.key, e: 'AQ AB' } }],
  ['public half is the one agreed on', 'a number', { key: { ...GOOD.key, e: 65537 } }],
  ['public half is the one agreed on', 'no exponent', { key: without(GOOD.key, 'e') }],
  [
    'public half is the one agreed on',
    'another modulus',
    { key: { ...GOOD.key, n: rsaPublicJwk(transferKeys.publicKey).n } },
  ],
  ['public half is the one agreed on', 'a modulus cut short', { key: { ...GOOD.key, n: n.slice(0, -4) } }],
  ['key is exportable', 'not', { attributes: { exportable: false } }],
  ['key is exportable', 'as text', { attributes: { exportable: 'true' } }],
  ['key is exportable', 'not said', { attributes: {} }],
  [
    'release policy is the one agreed on',
    'a condition less',
    { policy: { data: policyData(changed((allOf) => allOf.slice(1))) } },
  ],
  [
    'release policy is the one agreed on',
    'a condition more',
    { policy: { data: policyData(changed((allOf) => [...allOf, { claim: 'x', equals: 'y' }])) } },
  ],
  [
    'release policy is the one agreed on',
    'a value in capitals',
    { policy: { data: policyData(changed(([, ...rest]) => [{ claim: 'secureboot', equals: 'True' }, ...rest])) } },
  ],
  [
    'release policy is the one agreed on',
    'any instead of all',
    { policy: { data: policyData({ ...POLICY, anyOf: [{ authority: AUTHORITY, anyOf: POLICY.anyOf[0]?.allOf }] }) } },
  ],
  [
    'release policy is the one agreed on',
    'a second authority',
    {
      policy: {
        data: policyData({
          ...POLICY,
          anyOf: [...POLICY.anyOf, { ...POLICY.anyOf[0], authority: 'https://sharedneu.neu.attest.azure.net' }],
        }),
      },
    },
  ],
  [
    'release policy is the one agreed on',
    'outside the grammar',
    { policy: { data: policyData({ ...POLICY, version: '2.0.0' }) } },
  ],
  ['release policy is the one agreed on', 'no JSON', { policy: { data: 'AAAA' } }],
  ['sealed to the transfer key', 'another key', { sealing: { ...GOOD.sealing, kid: 'HCLEkPub' } }],
  ['sealed to the transfer key', 'another way', { sealing: { ...GOOD.sealing, alg: 'RSA-OAEP' } }],
  ['sealed with the algorithm asked for', 'SHA-1', { sealing: { ...GOOD.sealing, enc: 'CKM_RSA_AES_KEY_WRAP' } }],
];

describe('a reply is refused by name, and nothing is decrypted', () => {
  test.each<Refused>(REFUSED)('%s: %s', async (check, _, change, options) => {
    let decrypted = 0;
    const decrypt = async () => {
      decrypted++;
      return new Uint8Array(32);
    };
    await expect(openRelease(reply({ ...GOOD, ...change }), { ...OPTIONS, ...options, decrypt })).rejects.toMatchObject(
      {
        code: 'RELEASE_DENIED',
        message: `reply of ${HOST} for key training-key-1 rejected: not (${check})`,
        failures: [check],
      },
    );
    expect(decrypted).toBe(0);
  });

  test('every check has a row', () => {
    expect([...new Set(REFUSED.map(([check]) => check))]).toEqual(REPLY_CHECKS);
  });

  test('all that is wrong is told at once', async () => {
    const change = { header: { alg: 'none' }, attributes: {}, sealing: {} };
    await expect(openRelease(reply({ ...GOOD, ...change }), OPTIONS)).rejects.toMatchObject({
      failures: [
        'algorithm is RS256',
        'key is exportable',
        'sealed to the transfer key',
        'sealed with the algorithm asked for',
      ],
    });
  });
});

describe('a reply that is none', () => {
  const sign = (payload: object, header: Members = {}) =>
    jws({ ...GOOD.header, x5c: x5cOf(vault), ...header }, payload, vault);

  test.each([
    ['two parts', 'e30.e30', 'release reply has 2 parts'],
    ['no response', sign({ request: {} }), 'release reply: response is not an object'],
    [
      'the bare key of api-version 7.2',
      sign({ response: { key: 'AAAA' } }),
      'release reply: response.key is not an object',
    ],
    ['no certificates', reply({ ...GOOD, signer: { ...vault, chain: [] } }), 'x5c: wanted 1 to 8 certificates'],
    [
      'nine certificates',
      reply({ ...GOOD, signer: { ...vault, chain: Array(9).fill(vault.chain[0]) } }),
      'x5c: wanted 1 to 8',
    ],
    ['a certificate that is none', sign(payloadOf(GOOD), { x5c: ['AAAA'] }), 'x5c[0] is not a certificate'],
    ['no attributes', reply({ ...GOOD, attributes: null }), 'release reply: attributes is not an object'],
    ['no wrapped key', sign(payloadOf(GOOD, { key_hsm: undefined })), 'release reply: key_hsm is not text'],
    ['a wrapped key that is no JSON', sign(payloadOf(GOOD, { key_hsm: 'AAAA' })), 'key_hsm is not JSON'],
    ['a policy that is no base64', reply({ ...GOOD, policy: { data: '{}' } }), 'release_policy.data is not base64'],
  ])('%s', async (_, text, message) => {
    await expect(openRelease(text, OPTIONS)).rejects.toThrow(rejection('EVIDENCE_MALFORMED', message));
  });
});

describe('what is wrapped', () => {
  const ellipticKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const shortKey = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;

  test.each<[string, Uint8Array, string]>([
    ['only a transfer key', GOOD.ciphertext.subarray(0, 256), 'wrapped key has 256 bytes'],
    ['a transfer key of 128 bits', sealed(releasedKeys.privateKey, 16), 'the released key does not open'],
    [
      'one altered byte',
      GOOD.ciphertext.map((byte, i) => (i === 400 ? byte ^ 1 : byte)),
      'the released key does not open',
    ],
    ['no key', sealed(utf8('not a key')), 'the released key does not open'],
    ['another RSA key', sealed(transferKeys.privateKey), 'the released key is not the one agreed on'],
    ['an RSA key too short for any use', sealed(shortKey), 'the released key is not the one agreed on'],
    ['a key of another kind', sealed(ellipticKey), 'the released key is not the one agreed on'],
  ])('%s is refused', async (_, ciphertext, message) => {
    await expect(openRelease(reply({ ...GOOD, ciphertext }), OPTIONS)).rejects.toMatchObject({
      code: 'RELEASE_DENIED',
      message,
    });
  });
});

test.each([
  ['CIPHERTEXT_REJECTED', 'RELEASE_DENIED', 'the released key does not open'],
  ['ATTESTATION_REJECTED', 'ATTESTATION_REJECTED', 'the TPM says'],
  ['UNAVAILABLE', 'UNAVAILABLE', 'the TPM says'],
] as const)('%s of the TPM ends as %s', async (found, code, message) => {
  const decrypt = () => Promise.reject(new SecureTrainingError(found, 'the TPM says'));
  await expect(openRelease(reply(GOOD), { ...OPTIONS, decrypt })).rejects.toMatchObject({ code, message });
});

function reply(draft: Draft): string {
  return jws({ ...draft.header, x5c: x5cOf(draft.signer) }, payloadOf(draft), draft.signer);
}

function payloadOf(draft: Draft, more: Members = {}): object {
  const wrapped = { schema_version: '1.0', header: draft.sealing, ciphertext: toBase64Url(draft.ciphertext) };
  const key = { ...draft.key, key_hsm: toBase64Url(utf8(JSON.stringify(wrapped))), ...more };
  return {
    request: draft.request,
    response: { key: { key, attributes: draft.attributes, release_policy: draft.policy } },
  };
}

function jws(header: object, payload: object, signer: SigningIdentity): string {
  const signed = [header, payload].map((part) => toBase64Url(utf8(JSON.stringify(part)))).join('.');
  return `${signed}.${toBase64Url(sign('sha256', utf8(signed), signer.privateKey))}`;
}

/** RSA-OAEP of an AES key, then the AES-KWP of a private key's PKCS#8 or of any bytes. */
function sealed(content: KeyObject | Uint8Array, transferKeyLength = 32): Uint8Array {
  const transferKey = randomBytes(transferKeyLength);
  const bytes = content instanceof Uint8Array ? content : content.export({ format: 'der', type: 'pkcs8' });
  // A wrap under the short key would be another cipher's: only its length is to be looked at.
  const wrapped = transferKeyLength === 32 ? kwpWrap(transferKey, Uint8Array.from(bytes)) : new Uint8Array(1232);
  return concat(publicEncrypt({ key: transferKeys.publicKey, ...OAEP }, transferKey), wrapped);
}

type More = Pick<CertificateOptions, 'more' | 'pathLength'>;

function leaf(dnsNames: readonly string[], more: More = {}, issuer = intermediate): SigningIdentity {
  return createIdentity({ commonName: HOST, dnsNames, ca: false, ...validity, ...more }, vaultKeys, issuer);
}

/** A leaf below an authority of its own kind. */
function byAuthority(more: More, issuer = root): SigningIdentity {
  return leaf(
    [HOST],
    {},
    createIdentity({ commonName: 'Another CA', ca: true, ...validity, ...more }, rootKeys, issuer),
  );
}

function belowTheLastAuthority(): SigningIdentity {
  const last = createIdentity({ commonName: 'Last CA', ca: true, ...validity, pathLength: 0 }, rootKeys, root);
  return byAuthority({}, last);
}

/** ExtendedKeyUsage of id-kp numbers (RFC 5280 section 4.2.1.12): 1 servers, 2 clients, 4 mail. */
function usage(...kinds: readonly number[]): Readonly<Record<string, Uint8Array>> {
  const ids = kinds.map((kind) => Buffer.from([0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, kind]));
  return { '2.5.29.37': Buffer.concat([Buffer.from([0x30, 10 * ids.length]), ...ids]) };
}

/** A certificate issued with a vault's own: what any server certificate could do if nobody looked. */
function belowALeaf(): SigningIdentity {
  return createIdentity({ commonName: 'kv-below', dnsNames: [HOST], ca: false, ...validity }, vaultKeys, vault);
}

/** Names the intermediate as its issuer, and is signed by somebody else. */
function forged(): SigningIdentity {
  const stranger = { ...intermediate, privateKey: pem(transferKeys.privateKey) };
  return createIdentity({ commonName: HOST, dnsNames: [HOST], ca: false, ...validity }, vaultKeys, stranger);
}

function changed(change: (allOf: readonly Members[]) => readonly Members[]): object {
  return { ...POLICY, anyOf: POLICY.anyOf.map((entry) => ({ ...entry, allOf: change(entry.allOf) })) };
}

function reordered(): object {
  const { version, anyOf } = POLICY;
  return { anyOf: anyOf.map(({ authority, allOf }) => ({ allOf: allOf.toReversed(), authority })), version };
}

function asText(): object {
  return changed((allOf) => allOf.map(({ claim, equals }) => ({ equals: String(equals), claim })));
}

function withSlash(): object {
  return { ...POLICY, anyOf: POLICY.anyOf.map((entry) => ({ ...entry, authority: `${entry.authority}/` })) };
}

function padded(): string {
  return Buffer.from(JSON.stringify(POLICY)).toString('base64');
}

function policyData(policy: object): string {
  return toBase64Url(utf8(JSON.stringify(policy)));
}

function without(members: Members, name: string): Members {
  return Object.fromEntries(Object.entries(members).filter(([key]) => key !== name));
}

function bytesOf(base64Url: string): Buffer {
  return Buffer.from(base64Url, 'base64url');
}

function pem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}

function rsaKeys(): { readonly privateKey: KeyObject; readonly publicKey: KeyObject } {
  return generateKeyPairSync('rsa', { modulusLength: 2048 });
}
