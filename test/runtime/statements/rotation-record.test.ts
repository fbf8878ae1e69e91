import { generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { ecPublicJwk } from '../../../runtime/crypto/jwk.ts';
import { serialiseEnvelope, signStatement } from '../../../runtime/statements/dsse.ts';
import { type RotationRecord, signRotation, verifyRotation } from '../../../runtime/statements/rotation-record.ts';

const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const ID = `https://kv-owner.vault.azure.net/keys/training-key/${'a'.repeat(32)}`;
const RECORD: RotationRecord = {
  dataset: 'digits',
  version: 2,
  manifestDigest: 'a'.repeat(64),
  objects: 7,
  from: [ID],
  to: ID.replace(/a{32}$/, 'b'.repeat(32)),
  toThumbprint: 'A'.repeat(43),
  slotsSha256: 'b'.repeat(64),
  rotatedAt: '2026-11-23T12:00:00.000Z',
};

test('what was signed is read back', () => {
  expect(verifyRotation(serialiseEnvelope(signRotation(RECORD, key)), ecPublicJwk(key))).toEqual(RECORD);
});

test.each([
  ['dataset', '../x', 'dataset'],
  ['version', 0, 'version'],
  ['manifestDigest', 'abc', 'manifestDigest'],
  ['objects', 0, 'objects'],
  ['from', [ID, ID], 'from'],
  ['to', 'a key', 'to'],
  ['toThumbprint', 'short', 'toThumbprint'],
  ['slotsSha256', '', 'slotsSha256'],
  ['rotatedAt', 'yesterday', 'rotatedAt'],
])('refuses to sign a wrong %s', (member, value, where) => {
  expect(() => signRotation({ ...RECORD, [member]: value }, key)).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(where) }),
  );
});

test('refuses another signer and another statement', () => {
  const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const signed = serialiseEnvelope(signRotation(RECORD, key));
  expect(() => verifyRotation(signed, ecPublicJwk(stranger))).toThrow(
    expect.objectContaining({ code: 'CONSENT_MISSING' }),
  );
  const other = {
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ name: 'digits/3', digest: { sha256: RECORD.manifestDigest } }],
    predicateType: 'urn:confidential-training:key-rotation:v1',
    predicate: { ...RECORD },
  } as const;
  expect(() => verifyRotation(serialiseEnvelope(signStatement(other, [key])), ecPublicJwk(key))).toThrow(
    'rotation record: its subjects are not those its content names',
  );
});
