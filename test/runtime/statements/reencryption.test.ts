import { generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { ecPublicJwk } from '../../../runtime/crypto/jwk.ts';
import { slotOf } from '../../../runtime/keys/slots.ts';
import { serialiseEnvelope, signStatement } from '../../../runtime/statements/dsse.ts';
import {
  type ReencryptedObject,
  type ReencryptionPlan,
  signPlan,
  signReencrypted,
  verifyPlan,
  verifyReencrypted,
} from '../../../runtime/statements/reencryption.ts';
import { rejection } from '../rejection.ts';

const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const ID = `https://kv-owner.vault.azure.net/keys/training-key/${'a'.repeat(32)}`;
const DATASET = { dataset: 'digits', from: 2, manifestDigest: 'a'.repeat(64), version: 3 };
const PLAN: ReencryptionPlan = { to: ID, startedAt: '2026-11-23T12:00:00.000Z', datasets: [DATASET] };
const RECORD: ReencryptedObject = {
  manifestDigest: 'a'.repeat(64),
  from: 'train.enc',
  object: {
    name: 'train-x00000001.enc',
    protocol: '2.0',
    nonceScheme: 'big-endian',
    regionLength: 4_194_304,
    regionCount: 1,
    plaintextSize: 100,
    ciphertextSize: 128,
    merkleRoot: 'b'.repeat(64),
    split: 'train',
    rows: 7,
    keyBinding: 'c'.repeat(64),
  },
  slots: [slotOf(ID, new Uint8Array(256))],
};

test('what was signed is read back', () => {
  expect(verifyPlan(serialiseEnvelope(signPlan(PLAN, key)), ecPublicJwk(key))).toEqual(PLAN);
  expect(verifyReencrypted(serialiseEnvelope(signReencrypted(RECORD, key)), ecPublicJwk(key))).toEqual(RECORD);
});

test.each<[string, Partial<Record<keyof ReencryptionPlan, unknown>>]>([
  ['to', { to: 'a key' }],
  ['startedAt', { startedAt: 'yesterday' }],
  ['datasets', { datasets: [] }],
  ['datasets', { datasets: [DATASET, DATASET] }],
  ['from', { datasets: [{ ...DATASET, from: 0 }] }],
  ['version', { datasets: [{ ...DATASET, version: 1 }] }],
  ['manifestDigest', { datasets: [{ ...DATASET, manifestDigest: 'abc' }] }],
])('refuses to sign a plan with a wrong %s', (where, change) => {
  expect(() => signPlan({ ...PLAN, ...change } as ReencryptionPlan, key)).toThrow(rejection('CONFIG_INVALID', where));
});

test.each<[string, Partial<Record<keyof ReencryptedObject, unknown>>]>([
  ['manifestDigest', { manifestDigest: '' }],
  ['from', { from: '../x' }],
  ['object', { object: { ...RECORD.object, ciphertextSize: 1 } }],
  ['slots', { slots: [] }],
])('refuses to sign an object with a wrong %s', (where, change) => {
  expect(() => signReencrypted({ ...RECORD, ...change } as ReencryptedObject, key)).toThrow(
    rejection('CONFIG_INVALID', where),
  );
});

test('refuses another signer, another kind of statement, and other subjects', () => {
  const plan = serialiseEnvelope(signPlan(PLAN, key));
  const record = serialiseEnvelope(signReencrypted(RECORD, key));
  expect(() => verifyPlan(plan, ecPublicJwk(stranger))).toThrow(rejection('CONSENT_MISSING'));
  expect(() => verifyReencrypted(record, ecPublicJwk(stranger))).toThrow(rejection('CONSENT_MISSING'));
  expect(() => verifyPlan(record, ecPublicJwk(key))).toThrow(rejection('EVIDENCE_MALFORMED'));
  expect(() => verifyReencrypted(plan, ecPublicJwk(key))).toThrow(rejection('EVIDENCE_MALFORMED'));
  const other = {
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ name: 'train.enc', digest: { sha256: RECORD.object.merkleRoot } }],
    predicateType: 'urn:confidential-training:reencrypted-object:v1',
    predicate: { ...RECORD },
  } as const;
  expect(() => verifyReencrypted(serialiseEnvelope(signStatement(other, [key])), ecPublicJwk(key))).toThrow(
    'its subjects are not those its content names',
  );
});
