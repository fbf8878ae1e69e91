import { expect, test } from 'vitest';
import { ConfidentialTrainer } from '../../constructs/confidential-trainer.ts';
import { CustomerKey } from '../../constructs/customer-key.ts';
import { CustomerKeyVault } from '../../constructs/customer-key-vault.ts';
import { DataStore } from '../../constructs/data-store.ts';
import { DiskKey } from '../../constructs/disk-key.ts';
import { diskReleasePolicy } from '../../constructs/disk-key-policy.ts';
import { decodeReleasePolicy, parseReleasePolicy } from '../../runtime/keys/release-policy.ts';
import { ACCESS, type Attributes, auditOf, PLACE, SUBSCRIPTION, synthesize, TENANT } from './synthesized.ts';

const ORCHESTRATOR = '44444444-4444-4444-8444-444444444444';
const result = synthesize((stack) => {
  const audit = auditOf(stack);
  const vault = new CustomerKeyVault(stack, 'KeyVault', { ...PLACE, name: 'kv-test', tenantId: TENANT, audit });
  const customerKey = new CustomerKey(stack, 'StoreKey', { ...PLACE, name: 'store-key', vault });
  new DataStore(stack, 'Store', { ...PLACE, privateAccess: ACCESS, audit, customerKey });
  const diskKey = new DiskKey(stack, 'DiskKey', {
    ...PLACE,
    name: 'des-test',
    vault,
    orchestratorPrincipalId: ORCHESTRATOR,
  });
  new ConfidentialTrainer(stack, 'Trainer', {
    ...PLACE,
    subnetId: '/subscriptions/s/subnets/trainers',
    bundle: { sha256: 'a'.repeat(64) },
    logs: { endpoint: 'https://dce', ruleId: 'dcr' },
    subscriptionId: SUBSCRIPTION,
    diskKey,
  }).connect({ service: 'blob', hostName: 'st.blob.core.windows.net' });
});

interface KeyTemplate {
  readonly name: string;
  readonly properties: Readonly<Record<string, unknown>> & {
    readonly release_policy?: { readonly data: string };
  };
}

function keyOf(name: string): KeyTemplate {
  const deployments = Object.entries(result.all('azurerm_resource_group_template_deployment'));
  const [, found] = deployments.find(([id]) => id.startsWith(name)) ?? [];
  const { resources } = JSON.parse(String(found?.template_content)) as { readonly resources: readonly KeyTemplate[] };
  const [key] = resources;
  if (key === undefined) throw new Error(`no ${name}`);
  return key;
}

function grants(): Attributes[] {
  return Object.values(result.all('azurerm_role_assignment')).filter(({ role_definition_name }) =>
    String(role_definition_name).startsWith('Key Vault'),
  );
}

test('the vault lets in trusted services of Azure, and nobody else', () => {
  expect(result.one('azurerm_key_vault')).toMatchObject({
    sku_name: 'premium',
    public_network_access_enabled: false,
    network_acls: { bypass: 'AzureServices', default_action: 'Deny' },
    purge_protection_enabled: true,
  });
});

test('the key of storage never leaves, and the account follows its newest version', () => {
  expect(keyOf('StoreKey')).toMatchObject({
    name: 'kv-test/store-key',
    properties: { kty: 'RSA-HSM', keyOps: ['wrapKey', 'unwrapKey'], attributes: { exportable: false } },
  });
  expect(keyOf('StoreKey').properties).not.toHaveProperty('release_policy');
  const account = result.one('azurerm_storage_account');
  expect(account).toMatchObject({
    customer_managed_key: { key_vault_key_id: 'https://kv-test.vault.azure.net/keys/store-key' },
    identity: { type: 'UserAssigned' },
  });
  // Neither the id nor the identity tells Terraform that key and grant come first.
  expect((account.depends_on as string[]).map((address) => address.split('.')[0]).sort()).toEqual([
    'azurerm_resource_group_template_deployment',
    'azurerm_role_assignment',
  ]);
});

test('the key of disks is released to SEV-SNP machines that Azure attested, by the policy its name is made of', () => {
  const { name, properties } = keyOf('DiskKey');
  expect(name).toMatch(/^kv-test\/disk-des-test-[0-9a-f]{8}$/);
  expect(properties.attributes).toEqual({ enabled: true, exportable: true });
  const policy = decodeReleasePolicy(Buffer.from(properties.release_policy?.data ?? '', 'base64'));
  expect(policy).toEqual(parseReleasePolicy(diskReleasePolicy()));
  expect(policy.anyOf.length).toBeGreaterThan(50);
  for (const authority of policy.anyOf) {
    expect(authority).toEqual({
      authority: expect.stringMatching(/^https:\/\/shared([a-z0-9]+)\.\1\.attest\.azure\.net$/),
      allOf: [
        { claim: 'x-ms-attestation-type', equals: 'sevsnpvm' },
        { claim: 'x-ms-compliance-status', equals: 'azure-compliant-cvm' },
      ],
    });
  }
});

test('the set wraps, the orchestrator releases, each on one key', () => {
  const found = grants().map(({ role_definition_name, principal_id, scope }) => [
    String(role_definition_name).replace('Key Vault Crypto Service ', ''),
    String(principal_id).replace(/_[0-9A-F]{8}/, ''),
    String(scope).replace(/_[0-9A-F]{8}/g, ''),
  ]);
  const key = (id: string) =>
    `\${azurerm_key_vault.KeyVault.id}/keys/\${azurerm_resource_group_template_deployment.${id}.name}`;
  expect(found.sort()).toEqual([
    ['Encryption User', `\${azurerm_user_assigned_identity.DiskKey_Identity.principal_id}`, key('DiskKey')],
    ['Encryption User', `\${azurerm_user_assigned_identity.StoreKey_Identity.principal_id}`, key('StoreKey')],
    ['Release User', ORCHESTRATOR, key('DiskKey')],
  ]);
});

test('machines are encrypted by the set, and wait for it and for the orchestrator', () => {
  const machine = result.one('azurerm_linux_virtual_machine');
  expect(result.one('azurerm_disk_encryption_set')).toMatchObject({
    encryption_type: 'ConfidentialVmEncryptedWithCustomerKey',
    auto_key_rotation_enabled: false,
    identity: { type: 'UserAssigned' },
  });
  expect(machine.os_disk).toMatchObject({
    security_encryption_type: 'DiskWithVMGuestState',
    secure_vm_disk_encryption_set_id: expect.stringMatching(/^\$\{azurerm_disk_encryption_set\./),
  });
  expect(machine.depends_on).toEqual([
    expect.stringMatching(/^azurerm_disk_encryption_set\./),
    expect.stringMatching(/^azurerm_role_assignment\.DiskKey_Orchestrator/),
  ]);
});

test('a set, a key and a vault can be brought', () => {
  const brought = synthesize((stack) => {
    const audit = auditOf(stack);
    const set = '/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/diskEncryptionSets/des-hub';
    const diskKey = DiskKey.fromDiskEncryptionSetId(stack, 'DiskKey', set);
    const customerKey = CustomerKey.fromKeyUri(stack, 'Key', 'https://kv.vault.azure.net/keys/k', '/identity');
    new DataStore(stack, 'Store', { ...PLACE, privateAccess: ACCESS, audit, customerKey });
    expect(diskKey).toEqual({ diskEncryptionSetId: set, dependencies: [] });
    const vaultId = '/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/kv-hub';
    expect(CustomerKeyVault.fromVaultId(stack, 'Vault', vaultId).vaultHost).toBe('kv-hub.vault.azure.net');
  });
  expect(brought.one('azurerm_storage_account')).toMatchObject({
    customer_managed_key: { user_assigned_identity_id: '/identity' },
  });
});
