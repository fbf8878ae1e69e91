import { expect, test } from 'vitest';
import { review } from '../../../scripts/review/review.ts';
import { change, plan, type Side } from './plans.ts';

const TYPE = 'azurerm_resource_group_template_deployment';

function deployment(...resources: object[]): NonNullable<Side> {
  return { name: 'd', deployment_mode: 'Incremental', template_content: JSON.stringify({ resources }) };
}

function key(digest: string, properties: object = {}): object {
  return {
    type: 'Microsoft.KeyVault/vaults/keys',
    name: `kv-a/training-key-${digest}`,
    properties: { kty: 'RSA-HSM', keyOps: ['wrapKey'], release_policy: { data: digest }, ...properties },
  };
}

function provider(properties: object = {}): object {
  const closed = { publicNetworkAccess: 'Disabled', policySigningCertificates: { keys: ['a'] } };
  return {
    type: 'Microsoft.Attestation/attestationProviders',
    name: 'attesta',
    properties: { ...closed, ...properties },
  };
}

const REPLACED = { actions: ['delete', 'create'] };
const OLD = key('aaaaaaaa');
const NEW = key('bbbbbbbb');

test.each([
  ['replaced in place', [change(TYPE, deployment(OLD), deployment(NEW), REPLACED)]],
  [
    'under an address of its own',
    [change(TYPE, deployment(OLD), null), change(TYPE, null, deployment(NEW), { name: 'That' })],
  ],
])('a new policy is a new key and an unchanged old one: %s', (_, changes) => {
  const { findings, notes } = review(plan({ changes }));
  expect(findings).toEqual([]);
  expect(notes).toMatchObject([
    { says: 'new policy, new key: training-key-bbbbbbbb is made, training-key-aaaaaaaa stays in its vault as it is' },
  ]);
  // With a provider that deletes what a deployment made, the same plan loses the old key.
  expect(review(plan({ changes, keeps: false }))).toMatchObject({
    findings: [{ rule: 'lost', says: 'Microsoft.KeyVault/vaults/keys kv-a/training-key-aaaaaaaa is destroyed' }],
    notes: [],
  });
});

test('a first key and provider, and redeploying them unchanged, pass', () => {
  const changes = [
    change(TYPE, null, deployment(OLD)),
    change(TYPE, null, deployment(provider())),
    change(TYPE, deployment(OLD, provider()), { ...deployment(OLD, provider()), tags: {} }),
  ];
  expect(review(plan({ changes }))).toEqual({ findings: [], notes: [] });
});

test.each<[string, object, object, string, string]>([
  [
    'its policy',
    OLD,
    key('aaaaaaaa', { release_policy: { data: 'other' } }),
    'release-key',
    'training-key-aaaaaaaa: release_policy changed under the same name, which Azure ignores: a key is never updated',
  ],
  [
    'its operations',
    OLD,
    key('aaaaaaaa', { keyOps: ['wrapKey', 'unwrapKey'] }),
    'release-key',
    'kv-a/training-key-aaaaaaaa: keyOps has unwrapKey: opens data without attestation',
  ],
  [
    'a public provider',
    provider(),
    provider({ publicNetworkAccess: 'Enabled' }),
    'public-path',
    'attesta: publicNetworkAccess: Enabled, wanted Disabled',
  ],
  [
    'a provider left to its default',
    provider(),
    provider({ publicNetworkAccess: undefined }),
    'public-path',
    'attesta: publicNetworkAccess: (not set), wanted Disabled',
  ],
  [
    'its signers',
    provider(),
    provider({ policySigningCertificates: { keys: ['b'] } }),
    'role-widened',
    'attesta: who may sign attestation policies changed',
  ],
])('%s changed is a finding', (_, before, after, rule, says) => {
  const { findings } = review(plan({ changes: [change(TYPE, deployment(before), deployment(after))] }));
  expect(findings).toContainEqual({ rule, address: `${TYPE}.This`, says });
});

test.each<[string, object, string]>([
  ['with more operations', key('aaaaaaaa', { keyOps: ['wrapKey', 'decrypt'] }), 'keyOps has decrypt'],
  ['with the operations Azure chooses', key('aaaaaaaa', { keyOps: undefined }), 'keyOps has every operation'],
  ['without a policy', key('aaaaaaaa', { release_policy: undefined }), 'has no release policy'],
])('a new key %s is a finding', (_, made, says) => {
  expect(review(plan({ changes: [change(TYPE, null, deployment(made))] })).findings).toMatchObject([
    { rule: 'release-key', says: expect.stringContaining(says) },
  ]);
});

test.each([
  ['a key without a successor', OLD],
  ['a provider', provider()],
])('%s that goes is lost', (_, gone) => {
  expect(review(plan({ changes: [change(TYPE, deployment(gone), null)] })).findings).toMatchObject([
    { rule: 'lost', says: expect.stringContaining('stays in Azure, and nobody keeps it any more') },
  ]);
});

test('a flow log that is switched off is a finding', () => {
  const flows = (enabled: boolean) => ({
    type: 'Microsoft.Network/networkWatchers/flowLogs',
    name: 'watcher/flow-a',
    properties: { enabled },
  });
  const changes = [change(TYPE, deployment(flows(true)), deployment(flows(false)))];
  expect(review(plan({ changes })).findings).toEqual([
    { rule: 'unrecorded', address: `${TYPE}.This`, says: 'watcher/flow-a: enabled: false' },
  ]);
  expect(review(plan({ changes: [change(TYPE, null, deployment(flows(true)))] })).findings).toEqual([]);
});

test('a key of another vault is no successor', () => {
  const elsewhere = { ...NEW, name: 'kv-b/training-key-bbbbbbbb' };
  const { findings, notes } = review(
    plan({ changes: [change(TYPE, deployment(OLD), deployment(elsewhere), REPLACED)] }),
  );
  expect([findings.length, notes]).toEqual([1, []]);
});

test('a template that nobody can read yet, or ever, is a finding', () => {
  const unknown = { unknown: { template_content: true } };
  expect(review(plan({ changes: [change(TYPE, null, { name: 'd' }, unknown)] })).findings).toMatchObject([
    { rule: 'release-key', says: 'template_content is known only after apply' },
  ]);
  const broken = { ...deployment(), template_content: '{"resources": 1}' };
  expect(review(plan({ changes: [change(TYPE, null, broken)] })).findings).toMatchObject([
    { rule: 'lost', says: 'its template cannot be read' },
  ]);
});
