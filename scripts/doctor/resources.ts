import type { SynthesizedStack } from '../synthesize.ts';

/** A resource as the stacks declare it. */
export interface DeclaredResource {
  readonly stack: string;
  /** Type in Terraform: `azurerm_key_vault`. */
  readonly type: string;
  /** Type in the resource manager: `Microsoft.KeyVault/vaults`; `undefined` for one that {@link AZURE_TYPES} does not know. */
  readonly azureType: string | undefined;
  /** Subscription that its stack goes into. */
  readonly subscriptionId: string;
  readonly name: string;
  readonly values: Readonly<Record<string, unknown>>;
}

/** What Terraform's types are called by the resource manager (azurerm's documentation, "API Providers" of each resource). */
const AZURE_TYPES: Readonly<Record<string, string>> = {
  azurerm_consumption_budget_resource_group: 'Microsoft.Consumption/budgets',
  azurerm_dev_test_global_vm_shutdown_schedule: 'Microsoft.DevTestLab/schedules',
  azurerm_disk_encryption_set: 'Microsoft.Compute/diskEncryptionSets',
  azurerm_federated_identity_credential:
    'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials',
  azurerm_key_vault: 'Microsoft.KeyVault/vaults',
  azurerm_linux_virtual_machine: 'Microsoft.Compute/virtualMachines',
  azurerm_log_analytics_workspace: 'Microsoft.OperationalInsights/workspaces',
  azurerm_log_analytics_workspace_table_custom_log: 'Microsoft.OperationalInsights/workspaces/tables',
  azurerm_management_lock: 'Microsoft.Authorization/locks',
  azurerm_monitor_action_group: 'Microsoft.Insights/actionGroups',
  azurerm_monitor_activity_log_alert: 'Microsoft.Insights/activityLogAlerts',
  azurerm_monitor_data_collection_endpoint: 'Microsoft.Insights/dataCollectionEndpoints',
  azurerm_monitor_data_collection_rule: 'Microsoft.Insights/dataCollectionRules',
  azurerm_monitor_diagnostic_setting: 'Microsoft.Insights/diagnosticSettings',
  azurerm_monitor_metric_alert: 'Microsoft.Insights/metricAlerts',
  azurerm_monitor_private_link_scope: 'Microsoft.Insights/privateLinkScopes',
  azurerm_monitor_private_link_scoped_service: 'Microsoft.Insights/privateLinkScopes/scopedResources',
  azurerm_monitor_scheduled_query_rules_alert_v2: 'Microsoft.Insights/scheduledQueryRules',
  azurerm_nat_gateway: 'Microsoft.Network/natGateways',
  azurerm_nat_gateway_public_ip_association: 'Microsoft.Network/natGateways',
  azurerm_network_interface: 'Microsoft.Network/networkInterfaces',
  azurerm_network_security_group: 'Microsoft.Network/networkSecurityGroups',
  azurerm_network_watcher: 'Microsoft.Network/networkWatchers',
  azurerm_network_watcher_flow_log: 'Microsoft.Network/networkWatchers/flowLogs',
  azurerm_private_dns_zone: 'Microsoft.Network/privateDnsZones',
  azurerm_private_dns_zone_virtual_network_link: 'Microsoft.Network/privateDnsZones/virtualNetworkLinks',
  azurerm_private_endpoint: 'Microsoft.Network/privateEndpoints',
  azurerm_public_ip: 'Microsoft.Network/publicIPAddresses',
  azurerm_resource_group: 'Microsoft.Resources/resourceGroups',
  azurerm_resource_group_policy_assignment: 'Microsoft.Authorization/policyAssignments',
  azurerm_resource_group_template_deployment: 'Microsoft.Resources/deployments',
  azurerm_role_assignment: 'Microsoft.Authorization/roleAssignments',
  azurerm_role_definition: 'Microsoft.Authorization/roleDefinitions',
  azurerm_storage_account: 'Microsoft.Storage/storageAccounts',
  azurerm_storage_account_customer_managed_key: 'Microsoft.Storage/storageAccounts',
  azurerm_storage_container: 'Microsoft.Storage/storageAccounts/blobServices/containers',
  azurerm_storage_management_policy: 'Microsoft.Storage/storageAccounts/managementPolicies',
  azurerm_subnet: 'Microsoft.Network/virtualNetworks/subnets',
  azurerm_subnet_nat_gateway_association: 'Microsoft.Network/virtualNetworks/subnets',
  azurerm_subnet_network_security_group_association: 'Microsoft.Network/virtualNetworks/subnets',
  azurerm_user_assigned_identity: 'Microsoft.ManagedIdentity/userAssignedIdentities',
  azurerm_virtual_machine_extension: 'Microsoft.Compute/virtualMachines/extensions',
  azurerm_virtual_network: 'Microsoft.Network/virtualNetworks',
};

/** Everything that the stacks declare, what their templates make included. */
export function declaredResources(stacks: readonly SynthesizedStack[]): readonly DeclaredResource[] {
  return stacks.flatMap(({ name: stack, configuration }) => {
    const subscriptionId = String(firstProvider(configuration).subscription_id ?? '');
    const byType = record(configuration.resource);
    const resources = Object.entries(byType).flatMap(([type, named]) =>
      Object.values(record(named)).map((values): DeclaredResource => {
        const declared = record(values);
        const name = String(declared.name ?? '');
        return { stack, type, azureType: AZURE_TYPES[type], subscriptionId, name, values: declared };
      }),
    );
    return [...resources, ...resources.flatMap(templated)];
  });
}

/** `azurerm_key_vault` resources and the like, of one or all stacks. */
export function ofType(
  resources: readonly DeclaredResource[],
  ...types: readonly string[]
): readonly DeclaredResource[] {
  return resources.filter(({ type, azureType }) => types.includes(type) || types.includes(azureType ?? ''));
}

/** Name of the resource group of a declared resource, through Terraform's reference to it. */
export function groupOf({ stack, values }: DeclaredResource, resources: readonly DeclaredResource[]): string {
  const group = String(values.resource_group_name ?? '');
  if (!group.startsWith('${')) return group;
  return resources.find((other) => other.stack === stack && other.type === 'azurerm_resource_group')?.name ?? '';
}

export function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
}

/** What a template deployment makes: keys and attestation providers (constructs/template.ts). */
function templated(deployment: DeclaredResource): DeclaredResource[] {
  if (deployment.type !== 'azurerm_resource_group_template_deployment') return [];
  const content = record(JSON.parse(String(deployment.values.template_content)));
  const resources = Array.isArray(content.resources) ? content.resources.map(record) : [];
  return resources.map((resource) => ({
    ...deployment,
    type: 'template',
    azureType: String(resource.type),
    name: String(resource.name),
    values: { ...record(resource.properties), resource_group_name: deployment.values.resource_group_name },
  }));
}

function firstProvider(configuration: SynthesizedStack['configuration']): Readonly<Record<string, unknown>> {
  const { azurerm } = record(configuration.provider);
  return record(Array.isArray(azurerm) ? azurerm[0] : azurerm);
}
