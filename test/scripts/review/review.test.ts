import { describe, expect, test } from 'vitest';
import { review } from '../../../scripts/review/review.ts';
import { ATTRIBUTES } from '../../../scripts/review/rules.ts';
import { change, type Parts, plan, type Side } from './plans.ts';

const findings = (parts: Parts, drift = false) => review(plan(parts), { drift }).findings;
const one = (rule: string, address: string, says: string | RegExp) => [
  { rule, address: `${address}.This`, says: typeof says === 'string' ? says : expect.stringMatching(says) },
];

const VAULT = {
  name: 'kv-a',
  public_network_access_enabled: false,
  network_acls: [{ default_action: 'Deny', bypass: 'None', ip_rules: [], virtual_network_subnet_ids: [] }],
  rbac_authorization_enabled: true,
  enabled_for_deployment: false,
  enabled_for_template_deployment: false,
  purge_protection_enabled: true,
  soft_delete_retention_days: 90,
  access_policy: [],
};
const STORE = {
  name: 'sta',
  public_network_access_enabled: false,
  network_rules: [
    { default_action: 'Deny', bypass: ['None'], ip_rules: [], virtual_network_subnet_ids: [], private_link_access: [] },
  ],
  allow_nested_items_to_be_public: false,
  cross_tenant_replication_enabled: false,
  shared_access_key_enabled: false,
  local_user_enabled: false,
  sftp_enabled: false,
  min_tls_version: 'TLS1_2',
  https_traffic_only_enabled: true,
  blob_properties: [
    {
      versioning_enabled: true,
      delete_retention_policy: [{ days: 30 }],
      container_delete_retention_policy: [{ days: 30 }],
    },
  ],
};
const MACHINE = {
  name: 'vm-a-0',
  os_disk: [{ security_encryption_type: 'DiskWithVMGuestState', caching: 'ReadWrite' }],
  vtpm_enabled: true,
  secure_boot_enabled: true,
  allow_extension_operations: false,
  provision_vm_agent: false,
  disable_password_authentication: true,
};
const WORKSPACE = {
  name: 'log-a',
  internet_ingestion_enabled: false,
  internet_query_enabled: false,
  local_authentication_enabled: false,
  retention_in_days: 365,
};
const NSG_RULE = {
  name: 'in',
  access: 'Allow',
  direction: 'Inbound',
  source_address_prefix: '10.0.0.0/25',
  source_address_prefixes: [],
  destination_address_prefix: '10.0.0.128/25',
  destination_address_prefixes: [],
};
const ROLE = {
  name: 'stop',
  permissions: [{ actions: ['a/read'], data_actions: [], not_actions: ['a/write'], not_data_actions: ['d/x'] }],
  assignable_scopes: ['/subscriptions/s/resourceGroups/g'],
};
const GOOD: Readonly<Record<string, NonNullable<Side>>> = {
  azurerm_key_vault: VAULT,
  azurerm_key_vault_key: { name: 'k', key_opts: ['wrapKey'], release_policy: [{ json: '{"a":1}', immutable: true }] },
  azurerm_storage_account: STORE,
  azurerm_storage_account_network_rules: { default_action: 'Deny', ip_rules: [] },
  azurerm_storage_container: { name: 'runs', container_access_type: 'private' },
  azurerm_linux_virtual_machine: MACHINE,
  azurerm_log_analytics_workspace: WORKSPACE,
  azurerm_monitor_private_link_scope: { ingestion_access_mode: 'PrivateOnly' },
  azurerm_network_interface: {
    ip_forwarding_enabled: false,
    ip_configuration: [{ name: 'a', public_ip_address_id: null }],
  },
  azurerm_subnet: { default_outbound_access_enabled: false },
  azurerm_network_security_group: { name: 'nsg', security_rule: [NSG_RULE] },
  azurerm_network_security_rule: NSG_RULE,
  azurerm_private_endpoint: { private_service_connection: [{ private_connection_resource_id: '/vaults/a' }] },
  azurerm_role_definition: ROLE,
  azurerm_monitor_diagnostic_setting: { enabled_log: [{ category: 'AuditEvent' }], log_analytics_workspace_id: '/w/a' },
  azurerm_network_watcher_flow_log: { enabled: true },
  azurerm_monitor_metric_alert: { enabled: true },
  azurerm_management_lock: { name: 'keep', lock_level: 'CanNotDelete' },
  azurerm_resource_group_template_deployment: {
    name: 'd',
    deployment_mode: 'Incremental',
    template_content: '{"resources":[]}',
  },
  azurerm_mssql_server: { minimum_tls_version: '1.2', public_network_access_enabled: false },
};

/** Type, the change to the good one, rule, path. One row a guarded attribute. */
const ROWS: readonly (readonly [string, Readonly<Record<string, unknown>>, string, string])[] = [
  ['azurerm_mssql_server', { public_network_access_enabled: true }, 'public-path', 'public_network_access_enabled'],
  ['azurerm_key_vault', { public_network_access_enabled: true }, 'public-path', 'public_network_access_enabled'],
  ['azurerm_key_vault', { network_acls: [] }, 'public-path', 'network_acls.default_action'],
  [
    'azurerm_key_vault',
    { network_acls: [{ default_action: 'Allow', bypass: 'None' }] },
    'public-path',
    'network_acls.default_action',
  ],
  [
    'azurerm_key_vault',
    { network_acls: [{ default_action: 'Deny', bypass: 'AzureServices' }] },
    'public-path',
    'network_acls.bypass',
  ],
  [
    'azurerm_key_vault',
    { network_acls: [{ default_action: 'Deny', bypass: 'None', ip_rules: ['1.2.3.4/32'] }] },
    'public-path',
    'network_acls.ip_rules',
  ],
  [
    'azurerm_key_vault',
    { network_acls: [{ default_action: 'Deny', bypass: 'None', virtual_network_subnet_ids: ['/s'] }] },
    'public-path',
    'network_acls.virtual_network_subnet_ids',
  ],
  ['azurerm_key_vault', { rbac_authorization_enabled: false }, 'role-widened', 'rbac_authorization_enabled'],
  ['azurerm_key_vault', { access_policy: [{ object_id: 'x' }] }, 'role-widened', 'access_policy'],
  ['azurerm_key_vault', { enabled_for_deployment: true }, 'role-widened', 'enabled_for_deployment'],
  ['azurerm_key_vault', { enabled_for_template_deployment: true }, 'role-widened', 'enabled_for_template_deployment'],
  ['azurerm_key_vault', { purge_protection_enabled: false }, 'recovery-lowered', 'purge_protection_enabled'],
  ['azurerm_key_vault', { soft_delete_retention_days: 7 }, 'recovery-lowered', 'soft_delete_retention_days'],
  [
    'azurerm_key_vault_key',
    { release_policy: [{ json: '{"a":2}', immutable: true }] },
    'release-key',
    'release_policy',
  ],
  ['azurerm_key_vault_key', { key_opts: ['wrapKey', 'unwrapKey'] }, 'release-key', 'key_opts'],
  ['azurerm_storage_account', { public_network_access_enabled: null }, 'public-path', 'public_network_access_enabled'],
  [
    'azurerm_storage_account',
    { network_rules: [{ default_action: 'Allow', bypass: ['None'] }] },
    'public-path',
    'network_rules.default_action',
  ],
  [
    'azurerm_storage_account',
    { network_rules: [{ default_action: 'Deny', bypass: ['None'], ip_rules: ['1.2.3.4'] }] },
    'public-path',
    'network_rules.ip_rules',
  ],
  [
    'azurerm_storage_account',
    { network_rules: [{ default_action: 'Deny', bypass: ['None'], virtual_network_subnet_ids: ['/s'] }] },
    'public-path',
    'network_rules.virtual_network_subnet_ids',
  ],
  [
    'azurerm_storage_account',
    { network_rules: [{ default_action: 'Deny', bypass: ['AzureServices'] }] },
    'public-path',
    'network_rules.bypass',
  ],
  [
    'azurerm_storage_account',
    {
      network_rules: [
        { default_action: 'Deny', bypass: ['None'], private_link_access: [{ endpoint_resource_id: '/x' }] },
      ],
    },
    'public-path',
    'network_rules.private_link_access',
  ],
  ['azurerm_storage_account_network_rules', { default_action: 'Allow' }, 'public-path', 'default_action'],
  ['azurerm_storage_account_network_rules', { ip_rules: ['1.2.3.4'] }, 'public-path', 'ip_rules'],
  [
    'azurerm_storage_account',
    { allow_nested_items_to_be_public: true },
    'public-path',
    'allow_nested_items_to_be_public',
  ],
  [
    'azurerm_storage_account',
    { cross_tenant_replication_enabled: true },
    'public-path',
    'cross_tenant_replication_enabled',
  ],
  ['azurerm_storage_container', { container_access_type: 'blob' }, 'public-path', 'container_access_type'],
  [
    'azurerm_log_analytics_workspace',
    { internet_ingestion_enabled: true },
    'public-path',
    'internet_ingestion_enabled',
  ],
  ['azurerm_log_analytics_workspace', { internet_query_enabled: true }, 'public-path', 'internet_query_enabled'],
  ['azurerm_monitor_private_link_scope', { ingestion_access_mode: 'Open' }, 'public-path', 'ingestion_access_mode'],
  [
    'azurerm_network_interface',
    { ip_configuration: [{ name: 'a', public_ip_address_id: '/ip' }] },
    'public-path',
    'ip_configuration.public_ip_address_id',
  ],
  ['azurerm_network_interface', { ip_forwarding_enabled: true }, 'public-path', 'ip_forwarding_enabled'],
  ['azurerm_subnet', { default_outbound_access_enabled: true }, 'public-path', 'default_outbound_access_enabled'],
  [
    'azurerm_network_security_group',
    { security_rule: [NSG_RULE, { ...NSG_RULE, source_address_prefix: 'Internet' }] },
    'public-path',
    'security_rule',
  ],
  [
    'azurerm_network_security_group',
    { security_rule: [{ ...NSG_RULE, source_address_prefix: null, source_address_prefixes: ['0.0.0.0/0'] }] },
    'public-path',
    'security_rule',
  ],
  [
    'azurerm_network_security_group',
    { security_rule: [{ ...NSG_RULE, direction: 'Outbound', destination_address_prefix: '*' }] },
    'public-path',
    'security_rule',
  ],
  ['azurerm_network_security_rule', { source_address_prefix: '*' }, 'public-path', 'rule'],
  [
    'azurerm_private_endpoint',
    { private_service_connection: [{ private_connection_resource_id: '/vaults/b' }] },
    'public-path',
    'private_service_connection.private_connection_resource_id',
  ],
  ['azurerm_storage_account', { shared_access_key_enabled: true }, 'shared-keys', 'shared_access_key_enabled'],
  ['azurerm_storage_account', { local_user_enabled: true }, 'shared-keys', 'local_user_enabled'],
  ['azurerm_storage_account', { sftp_enabled: true }, 'shared-keys', 'sftp_enabled'],
  [
    'azurerm_log_analytics_workspace',
    { local_authentication_enabled: true },
    'shared-keys',
    'local_authentication_enabled',
  ],
  [
    'azurerm_linux_virtual_machine',
    { disable_password_authentication: false },
    'shared-keys',
    'disable_password_authentication',
  ],
  [
    'azurerm_role_definition',
    { permissions: [{ ...ROLE.permissions[0], actions: ['a/read', '*'] }] },
    'role-widened',
    'permissions.actions',
  ],
  [
    'azurerm_role_definition',
    { permissions: [{ ...ROLE.permissions[0], data_actions: ['d/read'] }] },
    'role-widened',
    'permissions.data_actions',
  ],
  [
    'azurerm_role_definition',
    { permissions: [{ ...ROLE.permissions[0], not_actions: [] }] },
    'role-widened',
    'permissions.not_actions',
  ],
  [
    'azurerm_role_definition',
    { permissions: [{ ...ROLE.permissions[0], not_data_actions: [] }] },
    'role-widened',
    'permissions.not_data_actions',
  ],
  ['azurerm_role_definition', { assignable_scopes: ['/subscriptions/s'] }, 'role-widened', 'assignable_scopes'],
  [
    'azurerm_linux_virtual_machine',
    { os_disk: [{ caching: 'ReadWrite', security_encryption_type: null }] },
    'machine-unprotected',
    'os_disk.security_encryption_type',
  ],
  [
    'azurerm_linux_virtual_machine',
    { os_disk: [{ security_encryption_type: 'VMGuestStateOnly' }] },
    'machine-unprotected',
    'os_disk.security_encryption_type',
  ],
  ['azurerm_linux_virtual_machine', { vtpm_enabled: false }, 'machine-unprotected', 'vtpm_enabled'],
  ['azurerm_linux_virtual_machine', { secure_boot_enabled: null }, 'machine-unprotected', 'secure_boot_enabled'],
  [
    'azurerm_linux_virtual_machine',
    { allow_extension_operations: true },
    'machine-unprotected',
    'allow_extension_operations',
  ],
  ['azurerm_linux_virtual_machine', { provision_vm_agent: true }, 'machine-unprotected', 'provision_vm_agent'],
  ['azurerm_monitor_diagnostic_setting', { enabled_log: [] }, 'unrecorded', 'enabled_log'],
  [
    'azurerm_monitor_diagnostic_setting',
    { log_analytics_workspace_id: '/w/b' },
    'unrecorded',
    'log_analytics_workspace_id',
  ],
  ['azurerm_network_watcher_flow_log', { enabled: false }, 'unrecorded', 'enabled'],
  ['azurerm_log_analytics_workspace', { retention_in_days: 30 }, 'unrecorded', 'retention_in_days'],
  ['azurerm_monitor_metric_alert', { enabled: false }, 'unrecorded', 'enabled'],
  ['azurerm_storage_account', { min_tls_version: 'TLS1_0' }, 'tls-lowered', 'min_tls_version'],
  ['azurerm_mssql_server', { minimum_tls_version: '1.0' }, 'tls-lowered', 'minimum_tls_version'],
  ['azurerm_storage_account', { https_traffic_only_enabled: false }, 'tls-lowered', 'https_traffic_only_enabled'],
  [
    'azurerm_storage_account',
    { blob_properties: [{ ...STORE.blob_properties[0], versioning_enabled: false }] },
    'recovery-lowered',
    'blob_properties.versioning_enabled',
  ],
  [
    'azurerm_storage_account',
    { blob_properties: [{ ...STORE.blob_properties[0], delete_retention_policy: [{ days: 1 }] }] },
    'recovery-lowered',
    'blob_properties.delete_retention_policy.days',
  ],
  [
    'azurerm_storage_account',
    { blob_properties: [{ ...STORE.blob_properties[0], container_delete_retention_policy: [] }] },
    'recovery-lowered',
    'blob_properties.container_delete_retention_policy.days',
  ],
  ['azurerm_management_lock', { lock_level: 'ReadOnly' }, 'recovery-lowered', 'lock_level'],
  ['azurerm_resource_group_template_deployment', { deployment_mode: 'Complete' }, 'lost', 'deployment_mode'],
];

describe('guarded attributes', () => {
  test('good values pass: made, kept, changed elsewhere', () => {
    const made = Object.entries(GOOD).map(([type, good]) => change(type, null, good));
    const kept = Object.entries(GOOD).map(([type, good]) => change(type, good, { ...good, tags: { a: 'b' } }));
    expect(findings({ changes: kept })).toEqual([]);
    // A role is new actions for whoever gets it.
    const { rule, address } = { rule: 'role-widened', address: 'azurerm_role_definition.This' };
    expect(findings({ changes: made })).toEqual([
      { rule, address, says: 'permissions.actions: a/read' },
      { rule, address, says: 'assignable_scopes: /subscriptions/s/resourceGroups/g' },
    ]);
  });

  test.each(ROWS)('%s with %j is %s', (type, worse, rule, path) => {
    const good = GOOD[type] ?? {};
    const was = change(type, good, { ...good, ...worse });
    expect(findings({ changes: [was] })).toEqual(one(rule, type, new RegExp(`^${path.replaceAll('.', '\\.')}: `)));
    // What was so already is no news, and neither is putting it right.
    const kept = change(type, { ...good, ...worse }, { ...good, ...worse, tags: {} });
    expect(findings({ changes: [kept] })).toEqual([]);
  });

  test('every guarded attribute has its row', () => {
    const rows = ROWS.map(([, , rule, path]) => `${rule} ${path}`);
    const missing = ATTRIBUTES.filter(({ rule, path }) => !rows.includes(`${rule} ${path.join('.') || 'rule'}`));
    expect(missing).toEqual([]);
  });

  test('says which rule of a network opens what', () => {
    const after = {
      ...GOOD.azurerm_network_security_group,
      security_rule: [{ ...NSG_RULE, source_address_prefix: 'Internet' }],
    };
    const opened = change('azurerm_network_security_group', GOOD.azurerm_network_security_group ?? {}, after);
    expect(findings({ changes: [opened] })).toEqual(
      one('public-path', 'azurerm_network_security_group', 'security_rule: in lets Internet in, ports every port'),
    );
  });

  test('says what was and what comes, and nothing that Terraform would hide', () => {
    const after = { ...VAULT, public_network_access_enabled: true };
    expect(findings({ changes: [change('azurerm_key_vault', VAULT, after)] })).toEqual(
      one('public-path', 'azurerm_key_vault', 'public_network_access_enabled: false -> true'),
    );
    const hidden = { ...VAULT, access_policy: [{ object_id: 'secret' }] };
    const afterSensitive = { access_policy: true };
    expect(findings({ changes: [change('azurerm_key_vault', VAULT, hidden, { afterSensitive })] })).toEqual(
      one('role-widened', 'azurerm_key_vault', 'access_policy: (sensitive)'),
    );
  });
});

describe('values known only after apply', () => {
  const unknown = { network_acls: [{ default_action: true }] };
  const after = { ...VAULT, network_acls: [{ bypass: 'None' }] };
  const expressions = { 'azurerm_key_vault.This': { network_acls: [{ default_action: { references: ['var.x'] } }] } };
  const says = /^network_acls\.default_action: (Deny -> )?known only after apply$/;

  test.each<[string, Side]>([
    ['made', null],
    ['changed', VAULT],
  ])('are findings where a guarded attribute of something %s depends on them', (_, before) => {
    expect(findings({ changes: [change('azurerm_key_vault', before, after, { unknown })], expressions })).toEqual(
      one('public-path', 'azurerm_key_vault', says),
    );
  });

  test('are none where azurerm fills in what nobody wrote', () => {
    const { access_policy: _, ...rest } = VAULT;
    const made = change('azurerm_key_vault', null, rest, { unknown: { access_policy: true, id: true } });
    expect(findings({ changes: [made], expressions })).toEqual([]);
    // Without the configuration it cannot be told: then they count.
    expect(findings({ changes: [made] })).toEqual(
      one('role-widened', 'azurerm_key_vault', 'access_policy: known only after apply'),
    );
  });
});

describe('what goes', () => {
  test.each([
    ['azurerm_key_vault', 'lost'],
    ['azurerm_storage_account', 'lost'],
    ['azurerm_storage_container', 'lost'],
    ['azurerm_management_lock', 'lost'],
    ['azurerm_log_analytics_workspace', 'lost'],
    ['azurerm_disk_encryption_set', 'lost'],
    ['azurerm_attestation_provider', 'lost'],
    ['azurerm_private_endpoint', 'public-path'],
    ['azurerm_network_security_group', 'public-path'],
    ['azurerm_subnet_network_security_group_association', 'public-path'],
    ['azurerm_monitor_diagnostic_setting', 'unrecorded'],
    ['azurerm_network_watcher_flow_log', 'unrecorded'],
    ['azurerm_monitor_action_group', 'unrecorded'],
  ])('%s destroyed is %s; replaced only where that loses something', (type, rule) => {
    const good = { name: 'a', ...GOOD[type] };
    expect(findings({ changes: [change(type, good, null)] })).toMatchObject([{ rule }]);
    const replaced = findings({ changes: [change(type, good, good, { actions: ['delete', 'create'] })] });
    expect(replaced).toHaveLength(rule === 'lost' ? 1 : 0);
    if (rule === 'lost')
      expect(findings({ changes: [change(type, good, null, { actions: ['forget'] })] })).toHaveLength(1);
  });

  test('a machine may go: it is there for one run', () => {
    expect(findings({ changes: [change('azurerm_linux_virtual_machine', MACHINE, null)] })).toEqual([]);
  });
});

test.each([
  ['azurerm_public_ip', 'public-path'],
  ['azurerm_nat_gateway', 'public-path'],
  ['azurerm_virtual_network_peering', 'public-path'],
  ['azurerm_virtual_machine_extension', 'machine-unprotected'],
  ['azurerm_virtual_machine_run_command', 'machine-unprotected'],
  ['azurerm_federated_identity_credential', 'role-widened'],
])('%s made is %s', (type, rule) => {
  expect(findings({ changes: [change(type, null, { name: 'a' })] })).toMatchObject([{ rule }]);
});

describe('role assignments', () => {
  const type = 'azurerm_role_assignment';
  const grant = {
    role_definition_name: 'Reader',
    scope: '/subscriptions/s/vaults/a',
    principal_id: 'p',
    description: 'a',
  };

  test('a new one is told whole', () => {
    expect(findings({ changes: [change(type, null, grant)] })).toEqual(
      one('role-widened', type, 'grants Reader on /subscriptions/s/vaults/a to p'),
    );
    const { scope: _, ...unscoped } = grant;
    expect(findings({ changes: [change(type, null, unscoped, { unknown: { scope: true } })] })).toEqual(
      one('role-widened', type, 'grants Reader on (known after apply) to p'),
    );
  });

  test.each([[{ scope: '/subscriptions/s' }], [{ role_definition_name: 'Owner' }], [{ principal_id: 'q' }]])(
    'a wider or another one is told with what was: %j',
    (wider) => {
      const replaced = change(type, grant, { ...grant, ...wider }, { actions: ['delete', 'create'] });
      expect(findings({ changes: [replaced] })).toEqual(one('role-widened', type, /, was grants? ?|, was Reader on/));
    },
  );

  test('the same one in new words, and one that ends, are none', () => {
    const reworded = change(type, grant, { ...grant, description: 'b' }, { actions: ['delete', 'create'] });
    expect(findings({ changes: [reworded, change(type, grant, null)] })).toEqual([]);
  });
});

test('what changed outside of Terraform counts where it is asked for', () => {
  const drift = [change('azurerm_key_vault', VAULT, { ...VAULT, public_network_access_enabled: true })];
  expect(findings({ drift })).toEqual([]);
  expect(findings({ drift }, true)).toEqual(
    one(
      'public-path',
      'azurerm_key_vault',
      'changed outside of Terraform: public_network_access_enabled: false -> true',
    ),
  );
});

test('a plan that does not show everything says so', () => {
  expect(findings({ more: { complete: false } })).toMatchObject([{ rule: 'partial-plan' }]);
});
