import { expect, test } from 'vitest';
import {
  checkEscrowKey,
  checkSealingKey,
  type EscrowKeyFacts,
  expiryWarning,
  resolveKeyName,
  type SealingKeyFacts,
} from '../../../runtime/data/sealing-key.ts';
import { rejection } from '../rejection.ts';

const good: SealingKeyFacts = {
  keyOps: ['wrapKey'],
  exportable: true,
  enabled: true,
  releasePolicy: { immutable: true },
};

test('takes a locked, exportable key that may only wrap', () => {
  expect(() => checkSealingKey('training-key', good)).not.toThrow();
});

test.each<[string, Partial<SealingKeyFacts>]>([
  ['it is disabled', { enabled: false }],
  ['it is not exportable', { exportable: false }],
  ['its release policy can still be changed', { releasePolicy: { immutable: false } }],
  ['key_ops: found unwrapKey, wanted only wrapKey', { keyOps: ['wrapKey', 'unwrapKey'] }],
  ['key_ops: found decrypt, wanted only wrapKey', { keyOps: ['encrypt', 'decrypt'] }],
])('refuses when %s', (message, change) => {
  expect(() => checkSealingKey('training-key', { ...good, ...change })).toThrow(
    rejection('CONFIG_INVALID', 'key training-key is not safe to seal to', message),
  );
});

test('names everything that is wrong at once', () => {
  const { releasePolicy: _, ...bare } = good;
  const bad = { ...bare, enabled: false, exportable: false, keyOps: ['unwrapKey', 'sign'] };
  expect(() => checkSealingKey('k', bad)).toThrow(
    expect.objectContaining({
      failures: [
        'it is disabled',
        'it is not exportable, so no machine could ever get it',
        'it has no release policy',
        'key_ops: found unwrapKey, sign, wanted only wrapKey: the vault would open data for whoever has a role',
      ],
    }),
  );
});

const known = ['training-key-1a2b3c4d', 'other-key', 'training-key-deadbeef'];

test.each([
  ['training-key', 'training-key-deadbeef'],
  ['training-key-1a2b3c4d', 'training-key-1a2b3c4d'],
  ['other-key', 'other-key'],
])('%s means %s', (name, found) => {
  expect(resolveKeyName(name, known)).toBe(found);
});

test.each(['training', 'training-key-', 'TRAINING-KEY', 'other'])('%s means no key', (name) => {
  expect(() => resolveKeyName(name, known)).toThrow(
    rejection('CONFIG_INVALID', `no key is called ${name}; the deployment has training-key-1a2b3c4d`),
  );
});

const NOW = new Date('2026-11-23T12:00:00Z');

test.each<[string, Date | undefined, string | undefined]>([
  ['that does not expire', undefined, undefined],
  ['with 31 days left', new Date('2026-12-24T13:00:00Z'), undefined],
  ['with 30 days left', new Date('2026-12-23T13:00:00Z'), 'warning: key k expires in 30 days'],
  ['that expired', new Date('2026-11-22T11:00:00Z'), 'warning: key k expired 2026-11-22T11:00:00.000Z'],
])('says what there is to say of a key %s', (_, expiresOn, wanted) => {
  const said = expiryWarning('k', expiresOn, NOW);
  if (wanted === undefined) expect(said).toBeUndefined();
  else expect(said).toContain(wanted);
});

const ESCROW: EscrowKeyFacts = {
  kid: 'https://kv-owner.vault.azure.net/keys/escrow/0123456789abcdef0123456789abcdef',
  thumbprint: 'A'.repeat(43),
  keyOps: ['wrapKey', 'unwrapKey'],
  exportable: false,
  enabled: true,
};
const AROUND = {
  datasetKeys: ['https://kv-owner.vault.azure.net/keys/training-key-1a2b3c4d', 'B'.repeat(43)],
  platformVaults: ['kv-platform.vault.azure.net'],
};

test('an escrow key stays in the vault and unwraps there', () => {
  expect(() => checkEscrowKey('escrow', ESCROW, AROUND)).not.toThrow();
});

test.each<[string, Partial<EscrowKeyFacts>]>([
  ['it is disabled', { enabled: false }],
  ['key_ops: found wrapKey, wanted unwrapKey among them', { keyOps: ['wrapKey'] }],
  ['key_ops: found none', { keyOps: [] }],
  [
    "it is the dataset's own key",
    { kid: 'https://kv-owner.vault.azure.net/keys/training-key-1a2b3c4d/fedcba9876543210fedcba9876543210' },
  ],
  ["it is the dataset's own key", { thumbprint: 'B'.repeat(43) }],
  ['it is exportable', { exportable: true }],
  ['it is exportable', { releasePolicy: { immutable: true } }],
  [
    'kv-platform.vault.azure.net is a vault of the platform',
    { kid: 'https://kv-platform.vault.azure.net/keys/escrow/0123456789abcdef0123456789abcdef' },
  ],
])('no escrow key: %s', (message, change) => {
  expect(() => checkEscrowKey('escrow', { ...ESCROW, ...change }, AROUND)).toThrow(
    rejection('CONFIG_INVALID', 'key escrow is no escrow key', message),
  );
});
