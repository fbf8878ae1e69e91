import { type App, TerraformStack, Testing } from 'cdktf';
import { expect, test } from 'vitest';
import {
  AttestationService,
  AuditLog,
  ConfidentialTrainer,
  configureProvider,
  DataStore,
  deploymentOutput,
  ReleaseKey,
  ReleasePolicy,
  ReleaseVault,
} from '../../constructs/index.ts';
import type { Deployment } from '../../runtime/catalogue.ts';
import { read, SUBSCRIPTION, testApp } from './synthesized.ts';

/** What a landing zone hands to a team. */
interface LandingZone {
  readonly subscriptionId: string;
  readonly workspaceId: string;
  readonly endpointSubnetId: string;
  readonly trainerSubnetId: string;
  readonly bundleSha256: string;
  readonly uploadersGroupId: string;
}

/** Another team's stack: everything in one, in a landing zone that brings network, DNS and workspace, with no name given. */
class FraudTraining extends TerraformStack {
  constructor(app: App, id: string, at: LandingZone) {
    super(app, id);
    configureProvider(this, { subscriptionId: at.subscriptionId }); // version range and features that every construct needs
    const place = { resourceGroupName: 'rg-fraud-prod', location: 'westeurope', tags: { costCentre: '4711' } };
    const audit = AuditLog.fromWorkspaceId(this, 'Audit', at.workspaceId);
    const privateAccess = { subnetId: at.endpointSubnetId, dns: 'azure-policy' } as const;
    const attestation = new AttestationService(this, 'Attestation', { ...place, privateAccess, audit });
    const vault = new ReleaseVault(this, 'Vault', { ...place, privateAccess, audit });
    const key = new ReleaseKey(this, 'Key', {
      vault,
      name: 'training-key',
      policy: ReleasePolicy.confidentialVm({ attestation }),
    });
    const store = new DataStore(this, 'Store', { ...place, privateAccess, audit, retentionDays: 90 });
    const trainer = new ConfidentialTrainer(this, 'Trainer', {
      ...place,
      subnetId: at.trainerSubnetId,
      size: 'Standard_DC8as_v5',
      bundle: { sha256: at.bundleSha256 },
      attestation,
      audit,
    });
    key.grantRelease(trainer);
    store.grantTraining(trainer);
    store.grantUpload(at.uploadersGroupId);
    deploymentOutput(this, { vault, key, store, attestation, trainer }); // the file that every ctrain command takes
  }
}

const hub = '/subscriptions/s/resourceGroups/rg-hub/providers';
const stack = new FraudTraining(testApp(), 'test', {
  subscriptionId: SUBSCRIPTION,
  workspaceId: `${hub}/Microsoft.OperationalInsights/workspaces/log-hub`,
  endpointSubnetId: `${hub}/Microsoft.Network/virtualNetworks/v/subnets/endpoints`,
  trainerSubnetId: `${hub}/Microsoft.Network/virtualNetworks/v/subnets/trainers`,
  bundleSha256: 'a'.repeat(64),
  uploadersGroupId: '44444444-4444-4444-8444-444444444444',
});
const result = read(Testing.synth(stack));

test('tenant and subscription are those of whoever applies', () => {
  const { value } = result.output.deployment as { readonly value: Deployment };
  expect(value.tenantId).toContain('data.azurerm_client_config.CurrentClient.tenant_id');
  expect(value.subscriptionId).toContain('data.azurerm_client_config.CurrentClient.subscription_id');
  expect(value.resourceGroup).toBe('rg-fraud-prod');
  expect(value.logs.ruleId).toMatch(/azurerm_monitor_data_collection_rule\.Trainer_Logs_\w+\.immutable_id/);
});

test('everybody has the roles they need, each on the smallest thing there is', () => {
  const grants = Object.values(result.all('azurerm_role_assignment')).map(
    ({ role_definition_name, scope, principal_id }) => [
      role_definition_name ?? 'self-deallocation',
      String(scope).replace(/_[0-9A-F]{8}|[${}]/g, ''),
      String(principal_id).startsWith('4444') ? 'uploaders' : 'trainer',
    ],
  );
  expect(grants.sort()).toEqual([
    [
      'Key Vault Crypto Service Release User',
      'azurerm_key_vault.Vault.id/keys/azurerm_resource_group_template_deployment.Key.name',
      'trainer',
    ],
    ['Monitoring Metrics Publisher', 'azurerm_monitor_data_collection_rule.Trainer_Logs.id', 'trainer'],
    ['Storage Blob Data Contributor', 'azurerm_storage_container.Store_datasets.id', 'uploaders'],
    ['Storage Blob Data Contributor', 'azurerm_storage_container.Store_runs.id', 'trainer'],
    ['Storage Blob Data Contributor', 'azurerm_storage_container.Store_runs.id', 'uploaders'],
    ['Storage Blob Data Reader', 'azurerm_storage_container.Store_datasets.id', 'trainer'],
    ['Storage Blob Data Reader', 'azurerm_storage_container.Store_trainer.id', 'trainer'],
    ['self-deallocation', 'azurerm_linux_virtual_machine.Trainer.id', 'trainer'],
  ]);
});

test('the trainer knows the endpoints of whatever granted it a role, and where its store is', () => {
  const boot = JSON.stringify(result.locals);
  for (const name of ['Attestation', 'Vault', 'Store']) {
    expect(boot).toMatch(
      new RegExp(
        `azurerm_private_endpoint\\.${name}_Access_\\w+\\.private_service_connection\\[0\\]\\.private_ip_address`,
      ),
    );
  }
  expect(boot).toMatch(/"blobEndpoint\\+": \\+"https:\/\/st[0-9a-f]+\.blob\.core\.windows\.net/);
});

test('every resource that takes tags has those of the team', () => {
  const untagged = /role_|diagnostic_setting|_table_|container|management_lock|scoped_service/;
  const key = 'azurerm_resource_group_template_deployment.Key_';
  for (const address of result.addresses.filter((address) => !untagged.test(address) && !address.startsWith(key))) {
    const [type = '', name = ''] = address.split('.');
    expect(result.all(type)[name], address).toMatchObject({ tags: { costCentre: '4711' } });
  }
});
