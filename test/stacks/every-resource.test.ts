import { expect, test } from 'vitest';
import type { Attributes, Synthesized } from '../constructs/synthesized.ts';
import { everything, example, type Json, STACKS, type StackName, synthesizeStacks } from './example.ts';

interface Rule {
  /** What keeps the resource private; nothing for what has no network, key or password. */
  readonly has: Attributes;
  /** Whether Azure keeps a log of it, which then has to be taken: by the resource's own address, or what follows it. */
  readonly logged?: true;
}
const SILENT: Rule = { has: {} };

/** One rule for each type. A type without one fails by its name: decide when you add it. */
const RULES: Readonly<Record<string, Rule>> = {
  azurerm_key_vault: {
    has: {
      public_network_access_enabled: false,
      network_acls: { default_action: 'Deny' },
      rbac_authorization_enabled: true,
      purge_protection_enabled: true,
      enabled_for_disk_encryption: false,
    },
    logged: true,
  },
  azurerm_storage_account: {
    has: {
      public_network_access_enabled: false,
      network_rules: { default_action: 'Deny' },
      shared_access_key_enabled: false,
      local_user_enabled: false,
      min_tls_version: 'TLS1_2',
      https_traffic_only_enabled: true,
      allow_nested_items_to_be_public: false,
      cross_tenant_replication_enabled: false,
    },
    logged: true,
  },
  azurerm_log_analytics_workspace: {
    has: {
      internet_ingestion_enabled: false,
      internet_query_enabled: false,
      local_authentication_enabled: false,
    },
    logged: true,
  },
  azurerm_monitor_data_collection_endpoint: { has: { public_network_access_enabled: false } },
  azurerm_monitor_data_collection_rule: { has: {}, logged: true },
  azurerm_monitor_private_link_scope: { has: { ingestion_access_mode: 'PrivateOnly' } },
  azurerm_linux_virtual_machine: {
    has: {
      disable_password_authentication: true,
      secure_boot_enabled: true,
      vtpm_enabled: true,
      os_disk: { security_encryption_type: 'DiskWithVMGuestState' },
      boot_diagnostics: {},
    },
  },
  azurerm_network_interface: { has: { ip_forwarding_enabled: false } },
  azurerm_subnet: { has: { default_outbound_access_enabled: false } },
  azurerm_network_security_group: { has: {}, logged: true },
  azurerm_virtual_network: { has: {}, logged: true },
  azurerm_resource_group_template_deployment: { has: { deployment_mode: 'Incremental' } },
  azurerm_disk_encryption_set: {
    has: { encryption_type: 'ConfidentialVmEncryptedWithCustomerKey', auto_key_rotation_enabled: false },
  },
  azurerm_public_ip: { has: { sku: 'Standard' }, logged: true },
  azurerm_virtual_machine_extension: { has: { type: 'AADSSHLoginForLinux' } },
  azurerm_consumption_budget_resource_group: SILENT,
  azurerm_dev_test_global_vm_shutdown_schedule: SILENT,
  azurerm_log_analytics_workspace_table_custom_log: SILENT,
  azurerm_management_lock: SILENT,
  azurerm_monitor_action_group: SILENT,
  azurerm_monitor_activity_log_alert: SILENT,
  azurerm_monitor_diagnostic_setting: SILENT,
  azurerm_monitor_private_link_scoped_service: SILENT,
  azurerm_monitor_scheduled_query_rules_alert_v2: SILENT,
  azurerm_nat_gateway: SILENT,
  azurerm_nat_gateway_public_ip_association: SILENT,
  azurerm_private_dns_zone: SILENT,
  azurerm_private_dns_zone_virtual_network_link: SILENT,
  azurerm_private_endpoint: SILENT,
  azurerm_resource_group: SILENT,
  azurerm_resource_group_policy_assignment: SILENT,
  azurerm_role_assignment: SILENT,
  azurerm_role_definition: SILENT,
  azurerm_storage_container: SILENT,
  azurerm_subnet_nat_gateway_association: SILENT,
  azurerm_subnet_network_security_group_association: SILENT,
  azurerm_user_assigned_identity: SILENT,
};

const CONFIGURATIONS: readonly (readonly [string, Json])[] = [
  ['default', example()],
  ['production', { ...example(), profile: 'production' }],
  ['everything', everything()],
];
const synthesized = new Map(CONFIGURATIONS.map(([name, config]) => [name, synthesizeStacks(config)]));
const cases = CONFIGURATIONS.flatMap(([name]) => STACKS.map((stack) => [name, stack] as const));

test.each(cases)('%s, %s: no resource has a public path, a shared key or a password', (name, stack) => {
  for (const [address, type, attributes] of resourcesOf(name, stack)) {
    const rule = RULES[type];
    expect(rule, `${address} has no rule`).toBeDefined();
    expect(attributes, address).toMatchObject(rule?.has ?? {});
    const text = JSON.stringify(attributes);
    if (type === 'azurerm_nat_gateway_public_ip_association') continue; // judged below
    expect(text, address).not.toMatch(
      /"(public_ip_address_id|admin_password|protected_settings)":"|publicNetworkAccess\\":\\"Enabled/,
    );
    expect(text, address).not.toMatch(/TLS1_[01]\b|TLS1\.[01]\b/);
  }
});

test.each(cases)('%s, %s: whatever keeps a log has it taken', (name, stack) => {
  const targets = Object.values(stackOf(name, stack).all('azurerm_monitor_diagnostic_setting')).map(
    ({ target_resource_id }) => String(target_resource_id),
  );
  for (const [address, type, attributes] of resourcesOf(name, stack)) {
    // The provider is made by a template, so its type does not tell.
    const isProvider = JSON.stringify(attributes).includes('Microsoft.Attestation/attestationProviders');
    const logs = targets.filter((target) => target.includes(`{${address}.`));
    const wanted = RULES[type]?.logged === true || (isProvider && type.endsWith('template_deployment'));
    expect(logs, address).toHaveLength(wanted ? 1 : 0);
  }
});

test.each(['default', 'production'])('%s: no extension, no public address, no bypass, no agent', (name) => {
  for (const stack of STACKS) {
    const { addresses } = stackOf(name, stack);
    expect(addresses.filter((address) => /extension|public_ip|nat_gateway|run_command|bastion/.test(address))).toEqual(
      [],
    );
    for (const [address, type, attributes] of resourcesOf(name, stack)) {
      if (type === 'azurerm_linux_virtual_machine') {
        expect(attributes, address).toMatchObject({ allow_extension_operations: false, provision_vm_agent: false });
      }
      expect(JSON.stringify(attributes), address).not.toContain('AzureServices');
    }
  }
});

test('everything: a public address belongs to a NAT gateway, an extension to the host of operators', () => {
  const platform = stackOf('everything', 'platform');
  expect(Object.keys(platform.all('azurerm_public_ip'))).toHaveLength(1);
  expect(platform.one('azurerm_nat_gateway_public_ip_association').public_ip_address_id).toMatch(/Network_Nat_Address/);
  expect(platform.one('azurerm_virtual_machine_extension').virtual_machine_id).toMatch(/OperatorHost/);
  expect(stackOf('everything', 'training').addresses.filter((address) => /extension/.test(address))).toEqual([]);
});

test('everything: every rule is there because a resource is', () => {
  const used = new Set(cases.flatMap(([name, stack]) => resourcesOf(name, stack).map(([, type]) => type)));
  expect(Object.keys(RULES).filter((type) => !used.has(type))).toEqual([]);
});

function stackOf(configuration: string, stack: StackName): Synthesized {
  const found = synthesized.get(configuration)?.[stack];
  if (found === undefined) throw new Error(`no ${stack} of ${configuration}`);
  return found;
}

function resourcesOf(configuration: string, name: StackName): [address: string, type: string, Attributes][] {
  const stack = stackOf(configuration, name);
  return stack.addresses.map((address) => {
    const [type = '', id = ''] = address.split('.');
    return [address, type, stack.all(type)[id] ?? {}];
  });
}
