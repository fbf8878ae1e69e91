import { createHash, generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { toHex, utf8 } from '../../../runtime/crypto/bytes.ts';
import { ecPublicJwk, thumbprint } from '../../../runtime/crypto/jwk.ts';
import { quoteNonce, releaseNonce } from '../../../runtime/statements/bindings.ts';

const key = () => ecPublicJwk(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey);
const receiptKey = key();
const agreementDigest = 'ab'.repeat(32);
const quoteMessage = utf8('quote');
const digest = (label: string, last: string | Uint8Array) =>
  createHash('sha256')
    .update(label)
    .update(agreementDigest, 'hex')
    .update(thumbprint(receiptKey), 'base64url')
    .update(createHash('sha256').update(last).digest())
    .digest('hex');

test('the layouts of the design', () => {
  expect(toHex(quoteNonce({ agreementDigest, receiptKey, runId: 'run-1' }))).toBe(digest('quote/v1', 'run-1'));
  expect(releaseNonce({ agreementDigest, receiptKey, quoteMessage })).toBe(digest('release/v1', quoteMessage));
});

test('each input changes the nonce', () => {
  const quotes = [
    { agreementDigest, receiptKey, runId: 'run-1' },
    { agreementDigest: 'ac'.repeat(32), receiptKey, runId: 'run-1' },
    { agreementDigest, receiptKey: key(), runId: 'run-1' },
    { agreementDigest, receiptKey, runId: 'run-2' },
  ].map((input) => toHex(quoteNonce(input)));
  const releases = [
    { agreementDigest, receiptKey, quoteMessage },
    { agreementDigest, receiptKey: key(), quoteMessage },
    { agreementDigest, receiptKey, quoteMessage: utf8('other') },
  ].map(releaseNonce);
  expect(new Set([...quotes, ...releases]).size).toBe(7);
});

test('a digest is 32 bytes', () => {
  expect(() => quoteNonce({ agreementDigest: 'ab', receiptKey, runId: 'a' })).toThrow(
    'agreement digest is 1 bytes, wanted 32',
  );
});
