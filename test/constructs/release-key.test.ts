import { expect, test } from 'vitest';
import { configureProvider, PROVIDER_VERSIONS } from '../../constructs/provider.ts';
import { ReleaseKey, type ReleaseKeyProps } from '../../constructs/release-key.ts';
import { ReleasePolicy } from '../../constructs/release-policy.ts';
import { ReleaseVault } from '../../constructs/release-vault.ts';
import { TRAINING_KEY } from '../../runtime/catalogue.ts';
import { decodeReleasePolicy, policyDigest, samePolicy } from '../../runtime/keys/release-policy.ts';
import { auditOf, PLACE, SUBSCRIPTION, synthesize, TENANT } from './synthesized.ts';

const attestation = { authority: 'https://attestowner.weu.attest.azure.net' };
const policy = ReleasePolicy.confidentialVm({ attestation });

interface Template {
  readonly resources: readonly [
    { readonly name: string; readonly apiVersion: string; readonly properties: KeyProperties },
  ];
}
interface KeyProperties {
  readonly keyOps: readonly string[];
  readonly release_policy: { readonly data: string };
}

function synthesizeKey(change: Partial<ReleaseKeyProps> = {}) {
  return synthesize((stack) => {
    configureProvider(stack, { subscriptionId: SUBSCRIPTION });
    const vault = new ReleaseVault(stack, 'Vault', {
      ...PLACE,
      name: 'kv-test',
      tenantId: TENANT,
      audit: auditOf(stack),
    });
    new ReleaseKey(stack, 'Key', { vault, policy, ...change });
  });
}

function templateOf(result: ReturnType<typeof synthesizeKey>): Template {
  return JSON.parse(String(result.one('azurerm_resource_group_template_deployment').template_content)) as Template;
}

test('the vault is Premium, cannot be purged, takes roles, and has no public network', () => {
  expect(synthesizeKey().one('azurerm_key_vault')).toMatchObject({
    sku_name: 'premium',
    purge_protection_enabled: true,
    soft_delete_retention_days: 90,
    rbac_authorization_enabled: true,
    public_network_access_enabled: false,
    network_acls: { default_action: 'Deny', bypass: 'None' },
    lifecycle: { prevent_destroy: true },
  });
});

test('every use of the vault is recorded in its own table', () => {
  expect(synthesizeKey().one('azurerm_monitor_diagnostic_setting')).toMatchObject({
    enabled_log: [{ category: 'AuditEvent' }, { category: 'AzurePolicyEvaluationDetails' }],
    log_analytics_destination_type: 'Dedicated',
  });
});

test('the key is exportable from an HSM, wraps only, and has the policy that was given', () => {
  const [key] = templateOf(synthesizeKey()).resources;
  expect(key).toMatchObject({
    type: 'Microsoft.KeyVault/vaults/keys',
    properties: { kty: 'RSA-HSM', keySize: 3072, keyOps: ['wrapKey'], attributes: { enabled: true, exportable: true } },
  });
  expect(samePolicy(decodeReleasePolicy(Buffer.from(key.properties.release_policy.data, 'base64')), policy)).toBe(true);
});

test('the key waits for its vault', () => {
  const { depends_on } = synthesizeKey().one('azurerm_resource_group_template_deployment');
  expect(depends_on).toEqual([expect.stringMatching(/^azurerm_key_vault\./)]);
});

test('the name carries the digest of the policy, so that a new policy is a new key', () => {
  const name = (change: Partial<ReleaseKeyProps>) => templateOf(synthesizeKey(change)).resources[0].name;
  const other = ReleasePolicy.confidentialVm({
    attestation,
    environment: { vmIds: ['5b3a8f5e-0000-4000-8000-000000000001'] },
  });
  expect(name({})).toBe(`kv-test/${TRAINING_KEY}-${policyDigest(policy).slice(0, 8)}`);
  expect(name({ policy: other })).toBe(`kv-test/${TRAINING_KEY}-${policyDigest(other).slice(0, 8)}`);
  expect(name({ policy: other })).not.toBe(name({}));
});

test('the policy holds the environment to its machines', () => {
  const id = '5b3a8f5e-0000-4000-8000-000000000001';
  expect(JSON.stringify(ReleasePolicy.confidentialVm({ attestation, environment: { vmIds: [id] } }))).toContain(id);
});

test('operations that open data without attestation need the prop that says so', () => {
  const [key] = templateOf(synthesizeKey({ operationsThatBypassAttestation: ['unwrapKey'] })).resources;
  expect(key.properties.keyOps).toEqual(['wrapKey', 'unwrapKey']);
});

test('destroying the key calls no delete, which the control plane does not have', () => {
  expect(synthesizeKey().provider.azurerm).toMatchObject([
    {
      features: [
        {
          template_deployment: [{ delete_nested_items_during_deletion: false }],
          storage: [{ data_plane_available: false }],
        },
      ],
      resource_provider_registrations: 'none',
    },
  ]);
});

test('the provider and the API are versions that outlive 2027-02-27', () => {
  const result = synthesizeKey();
  expect(result.terraform).toMatchObject({ required_providers: { azurerm: { version: PROVIDER_VERSIONS } } });
  expect(PROVIDER_VERSIONS).toBe('>= 4.81.0, < 5.0.0');
  expect(templateOf(result).resources[0].apiVersion).toBe('2026-02-01');
});
