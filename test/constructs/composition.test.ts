import { expect, test } from 'vitest';
import {
  AttestationService,
  AuditLog,
  ConfidentialTrainer,
  configureProvider,
  DataStore,
  deploymentOutput,
  LogIngestion,
  ReleaseKey,
  ReleasePolicy,
  ReleaseVault,
} from '../../constructs/index.ts';
import type { Deployment } from '../../runtime/catalogue.ts';
import { PLACE, SUBSCRIPTION, synthesize } from './synthesized.ts';

const endpoints =
  '/subscriptions/s/resourceGroups/rg-hub/providers/Microsoft.Network/virtualNetworks/v/subnets/endpoints';
const workspace = '/subscriptions/s/resourceGroups/rg-hub/providers/Microsoft.OperationalInsights/workspaces/log-hub';

/** Another team's stack: everything in one, in a landing zone that brings network, DNS and workspace, with no name given. */
const result = synthesize((stack) => {
  configureProvider(stack, { subscriptionId: SUBSCRIPTION });
  const audit = AuditLog.fromWorkspaceId(stack, 'Audit', workspace);
  const access = (address: string) => ({ subnetId: endpoints, dns: 'azure-policy', address }) as const;
  const attestation = new AttestationService(stack, 'Attestation', {
    ...PLACE,
    privateAccess: access('10.1.0.4'),
    audit,
  });
  const vault = new ReleaseVault(stack, 'Vault', { ...PLACE, privateAccess: access('10.1.0.5'), audit });
  const key = new ReleaseKey(stack, 'Key', {
    vault,
    policy: ReleasePolicy.confidentialVm({ attestation }),
    tags: PLACE.tags,
  });
  const store = new DataStore(stack, 'Store', {
    ...PLACE,
    privateAccess: access('10.1.0.6'),
    audit,
    retentionDays: 90,
  });
  const logs = new LogIngestion(stack, 'Logs', { ...PLACE, audit });
  const trainer = new ConfidentialTrainer(stack, 'Trainer', {
    ...PLACE,
    subnetId: '/subscriptions/s/subnets/trainers',
    size: 'Standard_DC8as_v6',
    bundle: { sha256: 'a'.repeat(64), nodeSha256: 'b'.repeat(64) },
    imageVersion: '24.04.202511010',
    store,
    logs,
    hosts: { [new URL(store.blobEndpoint).hostname]: '10.1.0.6', [vault.vaultHost]: '10.1.0.5' },
  });
  key.grantRelease(trainer);
  store.grantTraining(trainer);
  logs.grantSend(trainer);
  deploymentOutput(stack, {
    vault,
    key,
    store,
    attestation,
    trainer,
    logs,
    resourceGroupName: PLACE.resourceGroupName,
  });
});

test('tenant and subscription are those of whoever applies', () => {
  const { value } = result.output.deployment as { readonly value: Deployment };
  expect(value.tenantId).toContain('data.azurerm_client_config.CurrentClient.tenant_id');
  expect(value.subscriptionId).toContain('data.azurerm_client_config.CurrentClient.subscription_id');
});

test('the trainer has the roles it needs, each on the smallest thing there is', () => {
  const grants = Object.values(result.all('azurerm_role_assignment')).map(({ role_definition_name, scope }) => [
    role_definition_name ?? 'self-deallocation',
    String(scope).replace(/_[0-9A-F]{8}|[${}]/g, ''),
  ]);
  expect(grants.sort()).toEqual([
    [
      'Key Vault Crypto Service Release User',
      'azurerm_key_vault.Vault.id/keys/azurerm_resource_group_template_deployment.Key.name',
    ],
    ['Monitoring Metrics Publisher', 'azurerm_monitor_data_collection_rule.Logs.id'],
    ['Storage Blob Data Contributor', 'azurerm_storage_container.Store_runs.id'],
    ['Storage Blob Data Reader', 'azurerm_storage_container.Store_datasets.id'],
    ['Storage Blob Data Reader', 'azurerm_storage_container.Store_trainer.id'],
    ['self-deallocation', 'azurerm_linux_virtual_machine.Trainer.id'],
  ]);
});

test('every resource that takes tags has those of the team', () => {
  const untagged = /role_|diagnostic_setting|_table_|container|management_lock|scoped_service/;
  for (const address of result.addresses.filter((address) => !untagged.test(address))) {
    const [type = '', name = ''] = address.split('.');
    expect(result.all(type)[name], address).toMatchObject({ tags: PLACE.tags });
  }
});
