import { createSecretKey, generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { ecPublicJwk, importJwk, publicJwk, rsaPublicJwk, thumbprint } from '../../../runtime/crypto/jwk.ts';
import { rejection } from '../rejection.ts';

// RFC 7638 section 3.1.
const RFC_KEY = {
  kty: 'RSA',
  n: '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw',
  e: 'AQAB',
} as const;

const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });

test('thumbprint of the RFC', () => {
  expect(thumbprint(RFC_KEY)).toBe('NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs');
});

test('one key has one thumbprint, however it is written', () => {
  expect(thumbprint({ ...RFC_KEY, e: 'AAEAAQ' })).toBe(thumbprint(RFC_KEY));
  const written = { ...RFC_KEY, alg: 'RS256', kid: '2011-04-29', d: 'AQAB' };
  expect(thumbprint(written)).toBe(thumbprint(RFC_KEY));
  expect(publicJwk(importJwk(written))).toEqual(RFC_KEY);
});

test.each([
  ['an exponent with leading zeros', { e: 'AAEAAQ' }],
  ['a modulus with a leading zero', { n: Buffer.concat([Buffer.of(0), modulus()]).toString('base64url') }],
  ['the standard alphabet, padded', { n: modulus().toString('base64') }],
])('takes what vaults write: %s', (_, change) => {
  expect(thumbprint({ ...RFC_KEY, ...change })).toBe(thumbprint(RFC_KEY));
});

test.each([
  ['an exponent with a zero at its end', { e: 'AQABAA' }, 'an exponent that is even or 1'],
  ['an exponent of 1', { e: 'AQ' }, 'an exponent that is even or 1'],
  ['an exponent of 2', { e: 'Ag' }, 'an exponent that is even or 1'],
  ['no exponent', { e: '' }, 'an exponent that is even or 1'],
  ['an even modulus', { n: `${RFC_KEY.n.slice(0, -2)}AA` }, 'an even modulus'],
  ['a modulus cut short', { n: RFC_KEY.n.slice(0, -4) }, 'found an RSA key of 2024 bits'],
  ['a character too many', { e: 'AQABA' }, 'not those of a P-256 or RSA key'],
  ['a character of no alphabet', { e: 'AQ AB' }, 'not those of a P-256 or RSA key'],
  ['the type of a vault', { kty: 'RSA-HSM' as 'RSA' }, 'not those of a P-256 or RSA key'],
])('refuses their neighbours: %s', (_, change, message) => {
  expect(() => thumbprint({ ...RFC_KEY, ...change })).toThrow(rejection('CONFIG_INVALID', message));
});

test('the public half of a private key, and no more', () => {
  expect(Object.keys(publicJwk(ec.privateKey)).sort()).toEqual(['crv', 'kty', 'x', 'y']);
  expect(ecPublicJwk(ec.privateKey)).toEqual(ecPublicJwk(ec.publicKey));
});

test.each([
  ['another curve', generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey, 'EC P-384, wanted P-256 or RSA'],
  ['Ed25519', generateKeyPairSync('ed25519').publicKey, 'OKP Ed25519, wanted P-256 or RSA'],
  ['a short RSA key', generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey, 'found an RSA key of 1024 bits'],
  ['a secret key', createSecretKey(new Uint8Array(32)), 'found a secret key'],
])('refuses %s', (_, key, message) => {
  expect(() => publicJwk(key)).toThrow(rejection('CONFIG_INVALID', message));
});

test('refuses a key of the other kind, and what is no key', () => {
  expect(() => rsaPublicJwk(ec.publicKey)).toThrow(rejection('CONFIG_INVALID', 'found a P-256 key, wanted an RSA key'));
  expect(() => ecPublicJwk(importJwk(RFC_KEY))).toThrow(
    rejection('CONFIG_INVALID', 'found an RSA key, wanted a P-256 key'),
  );
  const offCurve = { kty: 'EC', crv: 'P-256', x: 'A'.repeat(43), y: `${'A'.repeat(42)}E` } as const;
  expect(() => importJwk(offCurve)).toThrow(rejection('CONFIG_INVALID', 'not those of a P-256 or RSA key'));
});

function modulus(): Buffer {
  return Buffer.from(RFC_KEY.n, 'base64url');
}
