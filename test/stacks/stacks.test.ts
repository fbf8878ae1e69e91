import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { PROVIDER_VERSIONS } from '../../constructs/index.ts';
import { CONTAINERS, type Deployment, STRICT_ENVIRONMENT, TABLES, TRAINING_KEY } from '../../runtime/catalogue.ts';
import type { Attributes, Synthesized } from '../constructs/synthesized.ts';
import { everything, example, exampleWith, type Json, STACKS, synthesizeStacks } from './example.ts';

// Sorted, as `addresses` is.
const DATA_OWNER: readonly string[] = [
  'azurerm_key_vault.Vault_23237E5B',
  'azurerm_log_analytics_workspace.Audit_3D8ADE0A',
  'azurerm_monitor_activity_log_alert.Alerts_attestation-provider-changed-attestationproviders-delete_5B56EA79',
  'azurerm_monitor_activity_log_alert.Alerts_attestation-provider-changed-attestationproviders-write_9E472E6F',
  'azurerm_monitor_activity_log_alert.Alerts_owner-role-granted-roleassignments-write_EB28F147',
  'azurerm_monitor_activity_log_alert.Alerts_vault-settings-changed-diagnosticsettings-delete_10B09139',
  'azurerm_monitor_activity_log_alert.Alerts_vault-settings-changed-diagnosticsettings-write_B44A6BA2',
  'azurerm_monitor_activity_log_alert.Alerts_vault-settings-changed-vaults-delete_79B3FD6F',
  'azurerm_monitor_activity_log_alert.Alerts_vault-settings-changed-vaults-write_AE93AE2C',
  'azurerm_monitor_diagnostic_setting.Attestation_Audit_62B6C8B1',
  'azurerm_monitor_diagnostic_setting.Audit_AF3205B6',
  'azurerm_monitor_diagnostic_setting.Vault_Audit_12D85349',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_attestation-policy-changed_AE755A4D',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_attestation-rejected_A2329F7A',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_key-changed_E1B4A978',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_key-used-directly_96B3EEB7',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_release-refused_292C5B3F',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_release-unexpected_E1E7FA60',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_vault-changed_9FC71FF7',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_vault-denied_CB803358',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_vault-throttled_F2BA3675',
  'azurerm_resource_group.Group',
  'azurerm_resource_group_template_deployment.Attestation_B0C656D5',
  'azurerm_resource_group_template_deployment.Key_961B73FD',
];
const PLATFORM: readonly string[] = [
  'azurerm_log_analytics_workspace.Audit_3D8ADE0A',
  'azurerm_log_analytics_workspace_table_custom_log.Logs_TrainingMetrics_B51892CE',
  'azurerm_log_analytics_workspace_table_custom_log.Logs_TrainingSecurity_E07FDDD0',
  'azurerm_monitor_activity_log_alert.Alerts_network-changed-networksecuritygroups-securityrules-write_E2525E7E',
  'azurerm_monitor_activity_log_alert.Alerts_network-changed-networksecuritygroups-write_B76EA7F8',
  'azurerm_monitor_activity_log_alert.Alerts_network-changed-virtualnetworks-subnets-write_FD991E03',
  'azurerm_monitor_activity_log_alert.Alerts_network-changed-virtualnetworks-write_CF7513A9',
  'azurerm_monitor_activity_log_alert.Alerts_platform-role-granted-roleassignments-write_EAD14FE1',
  'azurerm_monitor_activity_log_alert.Alerts_storage-settings-changed-storageaccounts-delete_240FA743',
  'azurerm_monitor_activity_log_alert.Alerts_storage-settings-changed-storageaccounts-listkeys-action_9B16CF50',
  'azurerm_monitor_activity_log_alert.Alerts_storage-settings-changed-storageaccounts-listservicesas-action_D630C585',
  'azurerm_monitor_activity_log_alert.Alerts_storage-settings-changed-storageaccounts-write_97CA2812',
  'azurerm_monitor_data_collection_endpoint.Logs_Endpoint_9655188C',
  'azurerm_monitor_data_collection_rule.Logs_6819BB44',
  'azurerm_monitor_diagnostic_setting.Audit_AF3205B6',
  'azurerm_monitor_diagnostic_setting.Logs_Audit_08E3B60C',
  'azurerm_monitor_diagnostic_setting.Network_Audit_63002079',
  'azurerm_monitor_diagnostic_setting.Network_EndpointsRulesLog_Audit_5CB7ACE1',
  'azurerm_monitor_diagnostic_setting.Network_TrainersRulesLog_Audit_D8185F1A',
  'azurerm_monitor_diagnostic_setting.Store_Audit_59A8EE60',
  'azurerm_monitor_private_link_scope.Logs_Scope_746043E1',
  'azurerm_monitor_private_link_scoped_service.Logs_ScopedEndpoint_C3460FF5',
  'azurerm_monitor_private_link_scoped_service.Logs_ScopedWorkspace_757275E0',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_data-refused_05D706BD',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_machine-rejected_3155F1F2',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_machine-unhygienic_2480C516',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_run-refused_B7583D8F',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_run-silent_4CF2BBC8',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_storage-denied_B9933569',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_storage-throttled_11203AA5',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_storage-without-identity_5AA859E9',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_trainer-not-attested_2F0B3CB1',
  'azurerm_monitor_scheduled_query_rules_alert_v2.Alerts_trainer-without-key_E7AA4EDF',
  'azurerm_network_security_group.Network_EndpointsRules_F95E704D',
  'azurerm_network_security_group.Network_TrainersRules_91E2FFB6',
  'azurerm_private_dns_zone.Zones_privatelinkagentsvcazure-automationnet_C3CDAF0B',
  'azurerm_private_dns_zone.Zones_privatelinkattestazurenet_926E5961',
  'azurerm_private_dns_zone.Zones_privatelinkblobcorewindowsnet_37F5C6A3',
  'azurerm_private_dns_zone.Zones_privatelinkmonitorazurecom_69310888',
  'azurerm_private_dns_zone.Zones_privatelinkodsopinsightsazurecom_AC6F8E03',
  'azurerm_private_dns_zone.Zones_privatelinkomsopinsightsazurecom_29068DB5',
  'azurerm_private_dns_zone.Zones_privatelinkvaultcoreazurenet_CEDE978E',
  'azurerm_private_dns_zone_virtual_network_link.Zones_privatelinkagentsvcazure-automationnet-link_1C3E64EF',
  'azurerm_private_dns_zone_virtual_network_link.Zones_privatelinkattestazurenet-link_7E48C03A',
  'azurerm_private_dns_zone_virtual_network_link.Zones_privatelinkblobcorewindowsnet-link_C40B5A12',
  'azurerm_private_dns_zone_virtual_network_link.Zones_privatelinkmonitorazurecom-link_93D8BF7F',
  'azurerm_private_dns_zone_virtual_network_link.Zones_privatelinkodsopinsightsazurecom-link_EE875158',
  'azurerm_private_dns_zone_virtual_network_link.Zones_privatelinkomsopinsightsazurecom-link_FFD9FB7B',
  'azurerm_private_dns_zone_virtual_network_link.Zones_privatelinkvaultcoreazurenet-link_A8FDBBDF',
  'azurerm_private_endpoint.Logs_Access_9BBCBB86',
  'azurerm_private_endpoint.OwnerAttestation_1E2FF610',
  'azurerm_private_endpoint.OwnerVault_4AF7BE38',
  'azurerm_private_endpoint.Store_Access_B3AB8ECD',
  'azurerm_resource_group.Group',
  'azurerm_storage_account.Store_1D2A845B',
  'azurerm_storage_container.Store_datasets_F9FB264B',
  'azurerm_storage_container.Store_runs_9659EB1F',
  'azurerm_storage_container.Store_trainer_8C3C6078',
  'azurerm_subnet.Network_Endpoints_88F47C84',
  'azurerm_subnet.Network_Trainers_2C497C44',
  'azurerm_subnet_network_security_group_association.Network_EndpointsAssociation_700F7B4F',
  'azurerm_subnet_network_security_group_association.Network_TrainersAssociation_BD0B30AD',
  'azurerm_virtual_network.Network_1C6012B5',
];
const TRAINING: readonly string[] = [
  'azurerm_dev_test_global_vm_shutdown_schedule.Trainer_Stop_Schedule0_7EF40522',
  'azurerm_linux_virtual_machine.Trainer_56ACB6DF',
  'azurerm_network_interface.Trainer_Nic0_8B992B79',
  'azurerm_resource_group.Group',
  'azurerm_role_assignment.Trainer_Logs-Send_584B2952',
  'azurerm_role_assignment.Trainer_Stop_Deallocate0_06CEB445',
  'azurerm_role_assignment.Trainer_Store-ReadBundles_DAC3F325',
  'azurerm_role_assignment.Trainer_Store-ReadDatasets_4F556293',
  'azurerm_role_assignment.Trainer_Store-WorkRuns_20E12675',
  'azurerm_role_definition.Trainer_Stop_Role_50D0ACD5',
  'azurerm_user_assigned_identity.Trainer_Identity_8E1CE429',
];

const stacks = synthesizeStacks(example());
const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

// Addresses are a contract: one that changes makes Terraform replace what it names. Add lines; think before changing one.
test('resource addresses of data-owner', () => {
  expect(stacks['data-owner'].addresses).toEqual(DATA_OWNER);
});
test('resource addresses of platform', () => {
  expect(stacks.platform.addresses).toEqual(PLATFORM);
});
test('resource addresses of training', () => {
  expect(stacks.training.addresses).toEqual(TRAINING);
});

test('containers, tables and the key have the names of the catalogue', () => {
  const names = (type: string) => Object.values(stacks.platform.all(type)).map(({ name }) => name);
  expect(names('azurerm_storage_container').sort()).toEqual([...CONTAINERS].sort());
  expect(names('azurerm_log_analytics_workspace_table_custom_log').sort()).toEqual(
    Object.keys(TABLES)
      .map((name) => `${name}_CL`)
      .sort(),
  );
  expect(deployment().owner.keyNames).toEqual([expect.stringMatching(new RegExp(`^${TRAINING_KEY}-[0-9a-f]{8}$`))]);
});

test('the output has the members of a Deployment, and what is known at synth is right', () => {
  const { owner, storage, trainer, environment, ...rest } = deployment();
  expect(Object.keys(stacks.training.output)).toEqual(['deployment']);
  expect(Object.keys(rest).sort()).toEqual(['kind', 'logs', 'resourceGroup', 'subscriptionId', 'tenantId', 'version']);
  expect(rest).toMatchObject({ version: 1, kind: 'azure', tenantId: example().tenantId });
  expect(owner).toEqual({
    vaultHost: expect.stringMatching(/^kv-example-[0-9a-f]{6}\.vault\.azure\.net$/),
    vaultId: expect.stringMatching(/^\/subscriptions\/22222222-.*\/vaults\/kv-example-[0-9a-f]{6}$/),
    keyNames: [expect.any(String)],
    attestationAuthority: expect.stringMatching(/^https:\/\/attestexample[0-9a-f]{6}\.weu\.attest\.azure\.net$/),
  });
  expect(storage).toEqual({
    account: expect.stringMatching(/^stexample/),
    blobEndpoint: `https://${storage.account}.blob.core.windows.net`,
  });
  expect(Object.keys(trainer).sort()).toEqual(['bundleSha256', 'identityClientId', 'identityPrincipalId', 'vmIds']);
  expect(environment).toEqual(STRICT_ENVIRONMENT);
});

test('no output of any stack is or carries a secret', () => {
  for (const name of STACKS) {
    expect(JSON.stringify(stacks[name].output)).not.toMatch(
      /password|access_key|connection_string|shared_key|sas_token|client_secret/,
    );
  }
});

test('trainers find by host file the addresses that the endpoints have', () => {
  const fixed = Object.values(stacks.platform.all('azurerm_private_endpoint')).flatMap(
    ({ ip_configuration }) => (ip_configuration ?? []) as Attributes[],
  );
  const boot = JSON.stringify(stacks.training.locals);
  expect(fixed.map(({ subresource_name }) => subresource_name).sort()).toEqual(['Standard', 'blob', 'vault']);
  for (const { private_ip_address } of fixed) expect(boot).toContain(`'${private_ip_address} `);
});

test('a new policy is a new key with everything else in its place', () => {
  const vmIds = ['5b3a8f5e-0000-4000-8000-000000000001'];
  const changed = synthesizeStacks(exampleWith('environment', { vmIds }));
  expect(deployment(changed.training).owner.keyNames).not.toEqual(deployment().owner.keyNames);
  expect(deployment(changed.training).environment.vmIds).toEqual(vmIds);
  expect(changed['data-owner'].addresses).toEqual(stacks['data-owner'].addresses);
});

test('the stacks of one environment share a subscription only where the configuration says so', () => {
  const connection = (config: Json) =>
    Object.entries(synthesizeStacks(config).platform.all('azurerm_private_endpoint'))
      .filter(([name]) => name.startsWith('OwnerVault'))
      .map(([, endpoint]) => (endpoint.private_service_connection as Attributes).is_manual_connection);
  expect(connection(example())).toEqual([true]);
  expect(connection(exampleWith('owner.subscriptionId', '33333333-3333-4333-8333-333333333333'))).toEqual([false]);
});

test('production keeps what hurts to lose, and keeps no other secret than sandbox', () => {
  const production = synthesizeStacks(exampleWith('profile', 'production'));
  expect(production['data-owner'].one('azurerm_key_vault').lifecycle).toEqual({ prevent_destroy: true });
  expect(production.platform.one('azurerm_storage_account').lifecycle).toEqual({ prevent_destroy: true });
  const added = (name: 'data-owner' | 'platform', known: readonly string[]) =>
    production[name].addresses.filter((address) => !known.includes(address)).map((address) => address.slice(0, -9));
  expect(added('data-owner', DATA_OWNER)).toEqual([
    'azurerm_management_lock.Attestation_Lock',
    'azurerm_management_lock.Audit_Lock',
  ]);
  expect(added('platform', PLATFORM)).toEqual(['azurerm_management_lock.Audit_Lock']);
});

test('state has an explicit place, one key for each environment and stack', () => {
  for (const name of STACKS) {
    expect(stacks[name].terraform).toMatchObject({
      backend: { local: { path: `../../../.ctrain/state/example/${name}.tfstate` } },
      required_providers: { azurerm: { version: PROVIDER_VERSIONS } },
    });
  }
  const backend = {
    kind: 'azurerm',
    subscriptionId: '44444444-4444-4444-8444-444444444444',
    resourceGroup: 'rg-state',
    storageAccount: 'ststate',
    container: 'tfstate',
  };
  expect(synthesizeStacks(exampleWith('backend', backend)).platform.terraform.backend).toEqual({
    azurerm: {
      subscription_id: backend.subscriptionId,
      resource_group_name: 'rg-state',
      storage_account_name: 'ststate',
      container_name: 'tfstate',
      key: 'example/platform.tfstate',
      use_oidc: true,
      use_azuread_auth: true,
    },
  });
});

test.each(['azure-policy', { vault: [], blob: [], attestation: [], monitor: [] }])(
  'zones are not made with dns %j',
  (dns) => {
    expect(
      Object.keys(synthesizeStacks(exampleWith('platform.dns', dns)).platform.all('azurerm_private_dns_zone')),
    ).toEqual([]);
  },
);

test('a workspace can be brought', () => {
  const workspaceId = '/subscriptions/s/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/log-hub';
  const { platform } = synthesizeStacks(exampleWith('platform.workspaceId', workspaceId));
  expect(Object.keys(platform.all('azurerm_log_analytics_workspace'))).toEqual([]);
  expect(JSON.stringify(platform.one('azurerm_monitor_data_collection_rule'))).toContain(workspaceId);
});

test('a network can be brought: nothing of one is made, and trainers learn what addresses its endpoints got', () => {
  const network = '/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v';
  const subnets = { trainerSubnetId: `${network}/subnets/t`, endpointSubnetId: `${network}/subnets/e` };
  const { platform, training } = synthesizeStacks(exampleWith('platform.network', subnets));
  expect(platform.addresses.filter((address) => /virtual_network\.|_subnet|security_group/.test(address))).toEqual([]);
  const [link] = Object.values(platform.all('azurerm_private_dns_zone_virtual_network_link'));
  expect(link?.virtual_network_id).toBe(network);
  expect(JSON.stringify(training.one('azurerm_network_interface'))).toContain(subnets.trainerSubnetId);
  const addresses = /private_service_connection/g;
  expect(JSON.stringify(training.locals).match(addresses)?.length).toBe(3);
});

test('whoever is told can be brought', () => {
  const id = '/subscriptions/s/resourceGroups/g/providers/Microsoft.Insights/actionGroups/ag-hub';
  const config = exampleWith('platform.actionGroup', { id });
  const training = { ...(config.training as Json), budget: { monthlyAmount: 9, startMonth: '2027-01' } };
  const made = synthesizeStacks({ ...config, training });
  expect(Object.keys(made.platform.all('azurerm_monitor_action_group'))).toEqual([]);
  expect(JSON.stringify(made.training.one('azurerm_consumption_budget_resource_group'))).toContain(id);
});

test('disks and storage are encrypted with keys of the platform where asked for, in one vault of its own', () => {
  const { platform, training, 'data-owner': owner } = synthesizeStacks(everything());
  expect(platform.one('azurerm_key_vault').name).not.toBe(owner.one('azurerm_key_vault').name);
  expect(platform.one('azurerm_key_vault').lifecycle).toEqual({ prevent_destroy: true });
  expect(JSON.stringify(platform.all('azurerm_storage_account'))).toContain('customer_managed_key');
  for (const machine of Object.values(training.all('azurerm_linux_virtual_machine'))) {
    expect(machine.os_disk).toMatchObject({
      secure_vm_disk_encryption_set_id: expect.stringMatching(/azurerm_disk_encryption_set/),
    });
    // In another stack there is nothing to wait for, and Terraform would not know the address.
    expect(machine).not.toHaveProperty('depends_on');
  }
});

test('a set for disks can be brought', () => {
  const diskEncryptionSetId =
    '/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/diskEncryptionSets/des-hub';
  const { platform, training } = synthesizeStacks(exampleWith('platform.diskKey', { diskEncryptionSetId }));
  expect(platform.addresses).toEqual(PLATFORM);
  expect(training.one('azurerm_linux_virtual_machine').os_disk).toMatchObject({
    secure_vm_disk_encryption_set_id: diskEncryptionSetId,
  });
});

test('no stack depends on what another one makes by its address', () => {
  for (const stack of Object.values(synthesizeStacks(everything()))) {
    for (const [address, attributes] of stack.addresses.map((address) => {
      const [type = '', name = ''] = address.split('.');
      return [address, stack.all(type)[name] ?? {}] as const;
    })) {
      const waits = (attributes.depends_on ?? []) as readonly string[];
      expect(
        waits.filter((other) => !stack.addresses.includes(other)),
        address,
      ).toEqual([]);
    }
  }
});

test('a hundred trainers', () => {
  const { training } = synthesizeStacks(exampleWith('training.count', 100));
  expect(Object.keys(training.all('azurerm_linux_virtual_machine'))).toHaveLength(100);
});

test('synth writes the same bytes in any folder, and no path of this machine', () => {
  const [first, second] = ['one', 'another place'].map((name) => {
    const folder = mkdtempSync(join(tmpdir(), `ctrain-synth-${name}-`));
    folders.push(folder);
    const root = join(folder, 'work');
    const source = join(import.meta.dirname, '../..');
    // A copy of the sources, so that not only the working directory differs.
    for (const part of ['stacks', 'constructs', 'runtime', 'environments', 'package.json'])
      cpSync(join(source, part), join(root, part), { recursive: true });
    execFileSync('ln', ['-s', join(source, 'node_modules'), join(root, 'node_modules')]);
    execFileSync(process.execPath, ['--disable-warning=DEP0044', join(root, 'stacks/app.ts')], { cwd: root });
    const out = join(root, 'cdktf.out');
    const files = readdirSync(out, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const read = files
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [path.slice(root.length), readFileSync(path, 'utf8')]);
    const text = JSON.stringify(read);
    expect(text.includes(folder) || text.includes(source)).toBe(false);
    return Object.fromEntries(read) as Readonly<Record<string, string>>;
  });
  expect(Object.keys(first ?? {}).filter((path) => path.endsWith('cdk.tf.json'))).toHaveLength(3);
  expect(second).toEqual(first);
});

function deployment(training: Synthesized = stacks.training): Deployment {
  return (training.output.deployment as { readonly value: Deployment }).value;
}
