import { expect, test } from 'vitest';
import { FlowLogs, type FlowLogsProps } from '../../constructs/flow-logs.ts';
import { auditOf, PLACE, synthesize } from './synthesized.ts';

const virtualNetworkId = '/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v';

function make(change: Partial<FlowLogsProps> = {}) {
  const result = synthesize((stack) => {
    new FlowLogs(stack, 'Flows', { ...PLACE, name: 'flowtest', virtualNetworkId, audit: auditOf(stack), ...change });
  });
  const deployment = result.one('azurerm_resource_group_template_deployment');
  const { resources } = JSON.parse(String(deployment.template_content)) as { readonly resources: readonly unknown[] };
  return { result, deployment, flowLog: resources[0] };
}

test('the watcher writes every flow with an identity, since the account has no key', () => {
  const { result, deployment, flowLog } = make();
  expect(result.one('azurerm_storage_account')).toMatchObject({
    shared_access_key_enabled: false,
    public_network_access_enabled: false,
    network_rules: { default_action: 'Deny', bypass: ['AzureServices'] },
  });
  expect(result.one('azurerm_role_assignment')).toMatchObject({
    role_definition_name: 'Storage Blob Data Contributor',
    principal_id: expect.stringMatching(/Flows_Identity/),
  });
  expect(deployment.resource_group_name).toBe('NetworkWatcherRG');
  expect(deployment.depends_on).toEqual([expect.stringMatching(/^azurerm_role_assignment\./)]);
  expect(flowLog).toMatchObject({
    type: 'Microsoft.Network/networkWatchers/flowLogs',
    name: 'NetworkWatcher_westeurope/flow-flowtest',
    identity: { type: 'UserAssigned' },
    properties: {
      targetResourceId: virtualNetworkId,
      enabled: true,
      retentionPolicy: { enabled: true, days: 90 },
    },
  });
  expect(Object.keys(identitiesOf(flowLog))).toEqual([
    expect.stringMatching(/^\$\{azurerm_user_assigned_identity\.Flows_Identity_\w+\.id\}$/),
  ]);
});

test('whoever reads the flows is recorded', () => {
  expect(make().result.one('azurerm_monitor_diagnostic_setting').target_resource_id).toMatch(/blobServices\/default$/);
});

test('a network watcher can be brought', () => {
  const { deployment, flowLog } = make({ networkWatcher: { name: 'nw-hub', resourceGroupName: 'rg-hub' } });
  expect(deployment.resource_group_name).toBe('rg-hub');
  expect(flowLog).toMatchObject({ name: 'nw-hub/flow-flowtest' });
});

function identitiesOf(flowLog: unknown): object {
  return (flowLog as { readonly identity: { readonly userAssignedIdentities: object } }).identity
    .userAssignedIdentities;
}
