import { values } from './plan.ts';

/** What a finding is about: one word to count, search and explain by. */
export type RuleName =
  | 'public-path'
  | 'shared-keys'
  | 'lost'
  | 'role-widened'
  | 'machine-unprotected'
  | 'unrecorded'
  | 'tls-lowered'
  | 'recovery-lowered'
  | 'release-key'
  | 'partial-plan';

/** A guarded attribute: where it is, and which of the values it may get a reviewer has to see. */
export interface AttributeRule {
  readonly rule: RuleName;
  readonly type: RegExp;
  readonly path: readonly string[];
  /**
   * What is worse than it was. `before` is empty for something new; an attribute that is not set is `undefined`.
   */
  readonly worse: (before: readonly unknown[], after: readonly unknown[]) => readonly unknown[];
  /** Whether it has nothing to say of something new. */
  readonly aboutChange: boolean;
}

/** Resources whose loss is a loss of keys, data or evidence: replaced is destroyed. */
export const KEPT =
  /^azurerm_(?:key_vault(?:_key|_managed_hardware_security_module(?:_key)?)?|storage_account|storage_container|disk_encryption_set|attestation_provider|log_analytics_workspace(?:_table_custom_log)?|management_lock)$/;

/** Resources that may be replaced, but not go. */
export const NEEDED: readonly { readonly rule: RuleName; readonly type: RegExp; readonly says: string }[] = [
  { rule: 'public-path', type: /^azurerm_private_endpoint$/, says: 'the private way in is removed' },
  {
    rule: 'public-path',
    type: /^azurerm_(?:network_security_group|subnet_network_security_group_association)$/,
    says: 'the rules of a network are removed',
  },
  {
    rule: 'unrecorded',
    type: /^azurerm_(?:monitor_diagnostic_setting|network_watcher_flow_log|monitor_data_collection_(?:rule|endpoint))$/,
    says: 'what is recorded is not any more',
  },
  {
    rule: 'unrecorded',
    type: /^azurerm_monitor_(?:metric_alert|activity_log_alert|action_group|scheduled_query_rules_alert_v2)$/,
    says: 'somebody is not told any more',
  },
];

/** Resources whose mere making a reviewer has to see. */
export const NOTEWORTHY: readonly { readonly rule: RuleName; readonly type: RegExp; readonly says: string }[] = [
  { rule: 'public-path', type: /^azurerm_public_ip(?:_prefix)?$/, says: 'a public address' },
  { rule: 'public-path', type: /^azurerm_nat_gateway$/, says: 'a way out to the internet' },
  { rule: 'public-path', type: /^azurerm_virtual_network_peering$/, says: 'a way into another network' },
  {
    rule: 'machine-unprotected',
    type: /^azurerm_virtual_machine_extension$/,
    says: 'code that Azure puts into a machine',
  },
  {
    rule: 'machine-unprotected',
    type: /^azurerm_virtual_machine_run_command$/,
    says: 'code that Azure puts into a machine',
  },
  {
    rule: 'role-widened',
    type: /^azurerm_federated_identity_credential$/,
    says: 'somebody outside may speak as this identity',
  },
];

const VAULT = /^azurerm_key_vault$/;
const ACCOUNT = /^azurerm_storage_account$/;
const MACHINE = /^azurerm_(?:linux|windows)_virtual_machine(?:_scale_set)?$/;
const ANY = /^azurerm_/;

/** Guarded attributes. Where `unless` is used, leaving the attribute out counts too: azurerm's defaults are the open ones. */
export const ATTRIBUTES: readonly AttributeRule[] = [
  on('public-path', ANY, 'public_network_access_enabled', becomes(true)),
  on('public-path', /^azurerm_(?:key_vault|storage_account)$/, 'public_network_access_enabled', unless(false)),
  on('public-path', VAULT, 'network_acls.default_action', unless('Deny')),
  on('public-path', VAULT, 'network_acls.bypass', becomes('AzureServices')),
  on('public-path', VAULT, 'network_acls.ip_rules', grows),
  on('public-path', VAULT, 'network_acls.virtual_network_subnet_ids', grows),
  on('public-path', ACCOUNT, 'network_rules.default_action', unless('Deny')),
  on('public-path', ACCOUNT, 'network_rules.ip_rules', grows),
  on('public-path', ACCOUNT, 'network_rules.virtual_network_subnet_ids', grows),
  on('public-path', ACCOUNT, 'network_rules.bypass', growsBeyond('None')),
  on('public-path', ACCOUNT, 'network_rules.private_link_access', grows),
  on('public-path', /^azurerm_storage_account_network_rules$/, 'default_action', unless('Deny')),
  on('public-path', /^azurerm_storage_account_network_rules$/, 'ip_rules', grows),
  on('public-path', ACCOUNT, 'allow_nested_items_to_be_public', unless(false)),
  on('public-path', ACCOUNT, 'cross_tenant_replication_enabled', becomes(true)),
  on('public-path', /^azurerm_storage_container$/, 'container_access_type', becomes('blob', 'container')),
  on('public-path', /^azurerm_log_analytics_workspace$/, 'internet_ingestion_enabled', unless(false)),
  on('public-path', /^azurerm_log_analytics_workspace$/, 'internet_query_enabled', unless(false)),
  on('public-path', /^azurerm_monitor_private_link_scope$/, 'ingestion_access_mode', becomes('Open')),
  on('public-path', /^azurerm_network_interface$/, 'ip_configuration.public_ip_address_id', grows),
  on('public-path', /^azurerm_network_interface$/, 'ip_forwarding_enabled', becomes(true)),
  on('public-path', /^azurerm_subnet$/, 'default_outbound_access_enabled', unless(false)),
  on('public-path', /^azurerm_network_security_group$/, 'security_rule', ruleThatOpens),
  on('public-path', /^azurerm_network_security_rule$/, '', ruleThatOpens),
  on('public-path', /^azurerm_private_endpoint$/, 'private_service_connection.private_connection_resource_id', changes),
  on('shared-keys', ACCOUNT, 'shared_access_key_enabled', unless(false)),
  on('shared-keys', ACCOUNT, 'local_user_enabled', unless(false)),
  on('shared-keys', ACCOUNT, 'sftp_enabled', becomes(true)),
  on('shared-keys', /^azurerm_log_analytics_workspace$/, 'local_authentication_enabled', unless(false)),
  on('shared-keys', MACHINE, 'disable_password_authentication', becomes(false)),
  on('role-widened', VAULT, 'rbac_authorization_enabled', unless(true)),
  on('role-widened', VAULT, 'access_policy', grows),
  on('role-widened', VAULT, 'enabled_for_deployment', becomes(true)),
  on('role-widened', VAULT, 'enabled_for_template_deployment', becomes(true)),
  on('role-widened', /^azurerm_role_definition$/, 'permissions.actions', grows),
  on('role-widened', /^azurerm_role_definition$/, 'permissions.data_actions', grows),
  on('role-widened', /^azurerm_role_definition$/, 'permissions.not_actions', shrinks),
  on('role-widened', /^azurerm_role_definition$/, 'permissions.not_data_actions', shrinks),
  on('role-widened', /^azurerm_role_definition$/, 'assignable_scopes', grows),
  on('machine-unprotected', MACHINE, 'os_disk.security_encryption_type', weakerEncryption),
  on('machine-unprotected', MACHINE, 'vtpm_enabled', unless(true)),
  on('machine-unprotected', MACHINE, 'secure_boot_enabled', unless(true)),
  on('machine-unprotected', MACHINE, 'allow_extension_operations', unless(false)),
  on('machine-unprotected', MACHINE, 'provision_vm_agent', unless(false)),
  on('unrecorded', /^azurerm_monitor_diagnostic_setting$/, 'enabled_log', shrinks),
  on('unrecorded', /^azurerm_monitor_diagnostic_setting$/, 'log_analytics_workspace_id', changes),
  on('unrecorded', /^azurerm_network_watcher_flow_log$/, 'enabled', unless(true)),
  on('unrecorded', /^azurerm_log_analytics_workspace/, 'retention_in_days', lowers),
  on('unrecorded', /^azurerm_monitor_(?:metric|activity_log|scheduled_query_rules)_alert/, 'enabled', becomes(false)),
  on('tls-lowered', ANY, 'min_tls_version', becomes('TLS1_0', 'TLS1_1', '1.0', '1.1')),
  on('tls-lowered', ANY, 'minimum_tls_version', becomes('TLS1_0', 'TLS1_1', '1.0', '1.1')),
  on('tls-lowered', ACCOUNT, 'https_traffic_only_enabled', becomes(false)),
  on(
    'recovery-lowered',
    /^azurerm_key_vault(?:_managed_hardware_security_module)?$/,
    'purge_protection_enabled',
    unless(true),
  ),
  on(
    'recovery-lowered',
    /^azurerm_key_vault(?:_managed_hardware_security_module)?$/,
    'soft_delete_retention_days',
    lowers,
  ),
  on('recovery-lowered', ACCOUNT, 'blob_properties.versioning_enabled', unless(true)),
  on('recovery-lowered', ACCOUNT, 'blob_properties.delete_retention_policy.days', lowers),
  on('recovery-lowered', ACCOUNT, 'blob_properties.container_delete_retention_policy.days', lowers),
  on('release-key', /^azurerm_key_vault_key$/, 'release_policy', changes),
  on('release-key', /^azurerm_key_vault_key$/, 'key_opts', growsBeyond('wrapKey')),
  on('lost', /^azurerm_resource_group_template_deployment$/, 'deployment_mode', becomes('Complete')),
  on('recovery-lowered', /^azurerm_management_lock$/, 'lock_level', changes),
];

function on(rule: RuleName, type: RegExp, path: string, worse: AttributeRule['worse']): AttributeRule {
  const aboutChange = [changes, shrinks, lowers].includes(worse);
  return { rule, type, path: path === '' ? [] : path.split('.'), worse, aboutChange };
}

/** One of these values where none was. */
function becomes(...weak: readonly unknown[]): AttributeRule['worse'] {
  return (before, after) => minus(after, before).filter((value) => weak.includes(value));
}

/** Any value but this one, and none at all, where this one was or nothing was. */
function unless(wanted: unknown): AttributeRule['worse'] {
  const isWeak = (value: unknown) => value !== wanted;
  return (before, after) => (before.some(isWeak) ? [] : after.filter(isWeak));
}

function grows(before: readonly unknown[], after: readonly unknown[]): readonly unknown[] {
  return minus(members(after), members(before));
}

function growsBeyond(fine: unknown): AttributeRule['worse'] {
  return (before, after) => grows(before, after).filter((value) => value !== fine);
}

/** What is not there any more. */
function shrinks(before: readonly unknown[], after: readonly unknown[]): readonly unknown[] {
  return minus(members(before), members(after));
}

function changes(before: readonly unknown[], after: readonly unknown[]): readonly unknown[] {
  return before.length === 0 ? [] : minus(after, before);
}

function lowers(before: readonly unknown[], after: readonly unknown[]): readonly unknown[] {
  const days = (found: readonly unknown[]) => Math.min(...found.map((value) => Number(value ?? 0)));
  return before.length > 0 && !(days(after) >= days(before)) ? after : [];
}

/** Whether the disk is encrypted with the machine's own key, only its state is, or nothing is: each step down counts. */
function weakerEncryption(before: readonly unknown[], after: readonly unknown[]): readonly unknown[] {
  const grade = (value: unknown) => ['VMGuestStateOnly', 'DiskWithVMGuestState'].indexOf(String(value)) + 1;
  const least = before.length === 0 ? 1 : Math.min(...before.map(grade));
  return after.filter((value) => grade(value) < least);
}

/** NSG rules that let anybody in, or something out to everywhere. */
function ruleThatOpens(before: readonly unknown[], after: readonly unknown[]): readonly unknown[] {
  return minus(after.flatMap(opening), before.flatMap(opening));
}

function opening(value: unknown): readonly string[] {
  const rule = values(value);
  if (rule === undefined || !same(rule.access, 'allow')) return [];
  const isInbound = same(rule.direction, 'inbound');
  const listed = (name: string) => members([rule[name], rule[`${name}es`], rule[`${name}s`]]).map(String);
  const addresses = listed(isInbound ? 'source_address_prefix' : 'destination_address_prefix');
  if (!addresses.some((address) => ANYWHERE.test(address))) return [];
  const ports = listed('destination_port_range').join(', ') || 'every port';
  const way = isInbound ? `lets ${addresses.join(', ')} in` : `lets out to ${addresses.join(', ')}`;
  return [`${String(rule.name)} ${way}, ports ${ports}`];
}

/** Service tags and networks that mean everybody (`0.0.0.0/1` is half of everybody). */
const ANYWHERE = /^(?:\*|internet|any|::\/0|\d+(?:\.\d+){3}\/[0-7]|0\.0\.0\.0(?:\/\d+)?)$/i;

function same(value: unknown, word: string): boolean {
  return typeof value === 'string' && value.toLowerCase() === word;
}

/** Lists among the values opened; what is not there left out. */
function members(found: readonly unknown[]): readonly unknown[] {
  return found.flat().filter((value) => value !== undefined && value !== null && value !== '');
}

/** The values of one list that are not in another, each counted once for each time it is there. */
function minus(found: readonly unknown[], others: readonly unknown[]): readonly unknown[] {
  const left = others.map((value) => JSON.stringify(value));
  return found.filter((value) => {
    const at = left.indexOf(JSON.stringify(value));
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
}
