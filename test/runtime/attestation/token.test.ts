import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { signingKeys } from '../../../emulator/attestation-service.ts';
import { signToken } from '../../../emulator/guest-token.ts';
import { createTokenSigner } from '../../../emulator/service-pki.ts';
import { parseCompactJws } from '../../../runtime/attestation/jws.ts';
import {
  type TokenExpectations,
  TRANSFER_KID,
  transferKeyOf,
  verifyToken,
} from '../../../runtime/attestation/token.ts';
import { fromBase64, toBase64, toBase64Url, utf8 } from '../../../runtime/crypto/bytes.ts';
import { rsaPublicJwk } from '../../../runtime/crypto/jwk.ts';

const AUTHORITY = 'https://maowner.neu.attest.azure.net';
const NOW = new Date('2026-11-23T12:00:00Z');
const SECONDS = NOW.getTime() / 1000;
const VM_ID = '0a1b2c3d-0001-4002-8003-a0b0c0d0e0f0';
const signer = createTokenSigner(AUTHORITY, NOW);
const ephemeral = rsaPublicJwk(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey);
const other = rsaPublicJwk(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey);
const transferKey = { kid: TRANSFER_KID, key_ops: ['encrypt'], kty: 'RSA', e: 'AQAB', n: ephemeral.n };
const tee = {
  'x-ms-attestation-type': 'sevsnpvm',
  'x-ms-compliance-status': 'azure-compliant-cvm',
  'x-ms-sevsnpvm-is-debuggable': false,
  'x-ms-sevsnpvm-migration-allowed': false,
};
const claims = {
  iss: AUTHORITY,
  iat: SECONDS,
  nbf: SECONDS,
  exp: SECONDS + 28_800,
  secureboot: true,
  'x-ms-attestation-type': 'azurevm',
  'x-ms-azurevm-vmid': VM_ID.toUpperCase(),
  'x-ms-isolation-tee': tee,
  'x-ms-runtime': { 'client-payload': { nonce: toBase64(utf8('n')) }, keys: [transferKey] },
};
const expected: TokenExpectations = {
  authority: AUTHORITY,
  certificates: signingKeys(signer),
  nonce: 'n',
  ephemeralModulus: fromBase64(ephemeral.n),
  vmId: VM_ID,
  now: NOW,
};
const sign = (changes: object = {}) => signToken({ ...claims, ...changes }, signer, AUTHORITY);
const runtime = (keys: readonly object[], nonce = 'n') => ({
  'x-ms-runtime': { 'client-payload': { nonce: toBase64(utf8(nonce)) }, keys },
});
const rejected = (...failures: string[]) =>
  expect.objectContaining({
    code: 'ATTESTATION_REJECTED',
    failures,
    message: `attestation token rejected: not (${failures.join('; ')})`,
  });

test('accepts a token that was made for this machine, now', () => {
  expect(verifyToken(sign(), expected)).toMatchObject({ issuedAt: NOW, transferKid: TRANSFER_KID, claims });
});

test('accepts the id of the machine in either case', () => {
  expect(() =>
    verifyToken(sign({ 'x-ms-azurevm-vmid': VM_ID }), { ...expected, vmId: VM_ID.toUpperCase() }),
  ).not.toThrow();
});

// One good token, one claim changed.
test.each<[string, object]>([
  ['issuer is the authority', { iss: `${AUTHORITY}/` }],
  ['issued within five minutes of this clock', { iat: SECONDS - 301 }],
  ['issued within five minutes of this clock', { iat: SECONDS + 301 }],
  ['issued within five minutes of this clock', { iat: String(SECONDS) }],
  ['valid already', { nbf: SECONDS + 301 }],
  ['valid already', { nbf: undefined }],
  ['not expired', { exp: SECONDS }],
  ['not expired', { exp: undefined }],
  ['nonce is the one sent', runtime([transferKey], 'replayed')],
  ['nonce is the one sent', { 'x-ms-runtime': { keys: [transferKey] } }],
  ['transfer key is the ephemeral key', runtime([{ ...transferKey, n: other.n }])],
  ['transfer key is the ephemeral key', runtime([{ ...transferKey, e: 'Aw' }])],
  ['transfer key is the ephemeral key', runtime([])],
  // The vault takes the first that may encrypt, so another one before ours is another one.
  ['transfer key is the ephemeral key', runtime([{ ...transferKey, kid: 'HCLEkPub', n: other.n }, transferKey])],
  ['vm is this one', { 'x-ms-azurevm-vmid': '00000000-0000-4000-8000-000000000000' }],
  ['vm is this one', { 'x-ms-azurevm-vmid': { toString: 1 } }],
  ['type is azurevm', { 'x-ms-attestation-type': 'sevsnpvm' }],
  ['secure boot is on', { secureboot: false }],
  ['secure boot is on', { secureboot: 'true' }],
  ['hardware is sevsnpvm', { 'x-ms-isolation-tee': { ...tee, 'x-ms-attestation-type': 'tdxvm' } }],
  ['platform is compliant', { 'x-ms-isolation-tee': { ...tee, 'x-ms-compliance-status': undefined } }],
  ['debug is off', { 'x-ms-isolation-tee': { ...tee, 'x-ms-sevsnpvm-is-debuggable': true } }],
  ['migration is off', { 'x-ms-isolation-tee': { ...tee, 'x-ms-sevsnpvm-migration-allowed': true } }],
])('rejects when not: %s (%#)', (failure, change) => {
  expect(() => verifyToken(sign(change), expected)).toThrow(rejected(failure));
});

test('names every failed check', () => {
  expect(() => verifyToken(sign({ secureboot: false, exp: 0, 'x-ms-isolation-tee': [] }), expected)).toThrow(
    rejected(
      'not expired',
      'secure boot is on',
      'hardware is sevsnpvm',
      'platform is compliant',
      'debug is off',
      'migration is off',
    ),
  );
});

test('a clock of the operating system more than five minutes off is refused', () => {
  const late = new Date(NOW.getTime() + 301_000);
  expect(() => verifyToken(sign(), { ...expected, now: late })).toThrow(
    rejected('issued within five minutes of this clock'),
  );
});

test('an unsigned claim is never looked at', () => {
  const [header = '', , signature = ''] = sign().split('.');
  const forged = `${header}.${toBase64Url(utf8(JSON.stringify({ ...claims, secureboot: false })))}.${signature}`;
  expect(() => verifyToken(forged, expected)).toThrow(rejected('signature is valid'));
});

test.each<[string[], object]>([
  [['algorithm is RS256'], { alg: 'none' }],
  [['key source is the authority'], { jku: 'https://evil.example/certs' }],
  [['signing key is one of the authority'], { kid: 'unknown' }],
])('a header is refused for %j', (failures, change) => {
  const [header = '', payload = '', signature = ''] = sign().split('.');
  const parsed = JSON.parse(new TextDecoder().decode(fromBase64(header))) as object;
  const altered = `${toBase64Url(utf8(JSON.stringify({ ...parsed, ...change })))}.${payload}.${signature}`;
  expect(() => verifyToken(altered, expected)).toThrow(rejected(...failures, 'signature is valid'));
});

test('a header with an extension that has to be understood is refused, whoever signed it', () => {
  const [, payload = ''] = sign().split('.');
  const header = toBase64Url(utf8(JSON.stringify({ alg: 'RS256', crit: ['b64'], b64: false })));
  expect(() => verifyToken(`${header}.${payload}.AAAA`, expected)).toThrow(
    expect.objectContaining({
      code: 'EVIDENCE_MALFORMED',
      message: 'token header has extensions that are not understood',
    }),
  );
});

test('what is no JSON is not quoted, not even in the cause', () => {
  const parse = () => parseCompactJws(`${toBase64Url(utf8('secret-of-somebody'))}.e30.AAAA`, 'token');
  expect(parse).toThrow(expect.objectContaining({ message: 'token header is not JSON', cause: undefined }));
});

test('another provider in the same name is refused', () => {
  const stranger = createTokenSigner(AUTHORITY, NOW);
  expect(() => verifyToken(signToken(claims, stranger, AUTHORITY), expected)).toThrow(
    rejected('signing key is one of the authority', 'signature is valid'),
  );
});

test('a signing certificate that has ended signs nothing', () => {
  const old = createTokenSigner(AUTHORITY, new Date('2000-01-01'));
  expect(() => verifyToken(signToken(claims, old, AUTHORITY), { ...expected, certificates: signingKeys(old) })).toThrow(
    rejected('signing key is one of the authority', 'signature is valid'),
  );
});

test.each([
  [{}, 'certificates: keys is not a list'],
  [
    { keys: [{ kid: parseCompactJws(sign(), 't').header.kid, x5c: ['AAAA'] }] },
    'certificates: x5c is not a certificate',
  ],
])('malformed keys of the provider are told: %#', (certificates, message) => {
  expect(() => verifyToken(sign(), { ...expected, certificates })).toThrow(
    expect.objectContaining({ code: 'EVIDENCE_MALFORMED', message }),
  );
});

test('finds the transfer key under every name recorded services use', () => {
  const bare = { kid: 'k', kty: 'RSA', n: ephemeral.n, e: 'AQAB' };
  for (const marked of [
    { ...bare, use: 'enc' },
    { ...bare, key_use: 'enc' },
    { ...bare, key_ops: ['encrypt'] },
  ]) {
    expect(transferKeyOf({ 'x-ms-runtime': { keys: [null, bare, marked] } })).toEqual(marked);
  }
  expect(transferKeyOf({ 'x-ms-isolation-tee': { 'x-ms-runtime': { keys: [transferKey] } } })).toBeUndefined();
});

test('no text makes the parser throw anything but EVIDENCE_MALFORMED', () => {
  const part = fc.oneof(
    fc.string(),
    fc.json().map((text) => toBase64Url(utf8(text))),
  );
  fc.assert(
    fc.property(
      fc.array(part, { maxLength: 4 }).map((parts) => parts.join('.')),
      (text) => {
        try {
          parseCompactJws(text, 'token');
        } catch (error) {
          expect(error).toMatchObject({ code: 'EVIDENCE_MALFORMED' });
        }
      },
    ),
    { numRuns: 200 },
  );
});
