import { expect, test } from 'vitest';
import { utf8 } from '../../../runtime/crypto/bytes.ts';
import {
  addSlot,
  chooseSlot,
  type KeySlots,
  parseKeyId,
  parseKeySlots,
  type Slot,
  serialiseKeySlots,
  slotOf,
  thumbprintKeyId,
  vaultKeyId,
} from '../../../runtime/keys/slots.ts';
import { rejection } from '../rejection.ts';

const VERSION = '0123456789abcdef0123456789abcdef';
const KEY = { vaultHost: 'kv-owner.vault.azure.net', keyName: 'training-key-1a2b3c4d', keyVersion: VERSION };
const THUMBPRINT = 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs';
const slot = (keyId: string): Slot => slotOf(keyId, new Uint8Array(384).fill(1));
const SLOTS: KeySlots = {
  version: 1,
  objects: { 'train.enc': [slot(vaultKeyId(KEY)), slot(thumbprintKeyId(THUMBPRINT))] },
};
const parse = (value: unknown) => parseKeySlots(utf8(JSON.stringify(value)));

test('key slots come back', () => {
  expect(parseKeySlots(serialiseKeySlots(SLOTS))).toEqual(SLOTS);
});

test.each([
  ['another version', { ...SLOTS, version: 2 }, 'version: found 2, wanted 1'],
  ['an unknown member', { ...SLOTS, object: {} }, 'object: unknown member, did you mean objects?'],
  ['a path as a name', { version: 1, objects: { '../x': [slot('a')] } }, '../x: wanted a name of letters'],
  ['no slot', { version: 1, objects: { a: [] } }, 'objects.a: found a list of 0, wanted a list of 1 to 64'],
  ['65 slots', { version: 1, objects: { a: Array(65).fill(slot('a')) } }, 'found a list of 65'],
  [
    'PKCS #1 padding',
    { version: 1, objects: { a: [{ ...slot('a'), algorithm: 'RSA1_5' }] } },
    'objects.a[0].algorithm: found "RSA1_5", wanted "RSA-OAEP-256"',
  ],
  [
    'a short key',
    { version: 1, objects: { a: [{ ...slot('a'), encryptedKey: 'AAAA' }] } },
    'objects.a[0].encryptedKey',
  ],
])('refuses %s', (_, value, message) => {
  expect(() => parse(value)).toThrow(rejection('EVIDENCE_MALFORMED', 'keys.json: ', message));
});

test('refuses what is no JSON', () => {
  expect(() => parseKeySlots(Uint8Array.of(0xff))).toThrow(rejection('EVIDENCE_MALFORMED', 'keys.json is not JSON'));
});

test('adds a slot, in place of one of the same key, up to 64', () => {
  const again = addSlot(SLOTS, 'train.enc', slot(vaultKeyId(KEY)));
  expect(again.objects['train.enc']?.map(({ keyId }) => keyId)).toEqual([thumbprintKeyId(THUMBPRINT), vaultKeyId(KEY)]);
  let full = addSlot(SLOTS, 'other', slot('key-0'));
  for (let i = 1; i < 64; i++) full = addSlot(full, 'other', slot(`key-${i}`));
  expect(full.objects.other).toHaveLength(64);
  expect(() => addSlot(full, 'other', slot('key-64'))).toThrow(rejection('CONFIG_INVALID', 'other has 64 key slots'));
});

test('reads vault keys and thumbprints', () => {
  expect(parseKeyId(vaultKeyId(KEY))).toEqual(KEY);
  expect(parseKeyId(thumbprintKeyId(THUMBPRINT))).toEqual({ thumbprint: THUMBPRINT });
});

const HOSTILE = [
  `http://kv-owner.vault.azure.net/keys/k/${VERSION}`,
  `https://kv-owner.vault.azure.net:444/keys/k/${VERSION}`,
  `https://kv-owner.vault.azure.net@evil.example/keys/k/${VERSION}`,
  `https://kv-owner.vault.azure.net/keys/k/${VERSION}?x=1`,
  `https://kv-owner.vault.azure.net/keys/../k/${VERSION}`,
  'https://kv-owner.vault.azure.net/keys/k',
  'urn:ietf:params:oauth:jwk-thumbprint:sha-256:short',
  `https://kv-owner.vault.azure.net/keys/k/${VERSION}\n`,
];

test.each(HOSTILE)('refuses the key id %j', (keyId) => {
  expect(() => parseKeyId(keyId)).toThrow(rejection('EVIDENCE_MALFORMED', 'the key id is neither'));
});

test('chooses only among the keys that are allowed, in their order', () => {
  const slots = SLOTS.objects['train.enc'];
  expect(chooseSlot('train.enc', slots, [KEY])).toBe(slots?.[0]);
  expect(chooseSlot('train.enc', slots, [{ vaultHost: KEY.vaultHost, keyName: 'Training-Key-1a2b3c4d' }])).toBe(
    slots?.[0],
  );
  expect(chooseSlot('train.enc', slots, [THUMBPRINT, KEY])).toBe(slots?.[1]);
});

test.each([
  ['another vault', [vaultKeyId({ ...KEY, vaultHost: 'kv-evil.vault.azure.net' })], 'none of its 1 key slot is'],
  ['another key', [vaultKeyId({ ...KEY, keyName: 'training-key' })], 'none of its 1 key slot is'],
  ['another version', [vaultKeyId({ ...KEY, keyVersion: 'f'.repeat(32) })], 'none of its 1 key slot is'],
  ['hostile ids', HOSTILE, 'none of its 8 key slots is'],
  ['no slots', [], 'none of its 0 key slots is'],
])('with slots of %s none is left', (_, keyIds, message) => {
  expect(() => chooseSlot('train.enc', keyIds.map(slot), [KEY])).toThrow(
    rejection('CIPHERTEXT_REJECTED', `train.enc: ${message}`),
  );
});
