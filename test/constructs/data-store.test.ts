import { expect, test } from 'vitest';
import { DataStore } from '../../constructs/data-store.ts';
import { CONTAINERS } from '../../runtime/catalogue.ts';
import { ACCESS, auditOf, PLACE, synthesize } from './synthesized.ts';

const USER = '44444444-4444-4444-8444-444444444444';
const result = synthesize((stack) => {
  const store = new DataStore(stack, 'Store', {
    ...PLACE,
    name: 'sttest',
    privateAccess: ACCESS,
    audit: auditOf(stack),
  });
  store.grantUpload(USER);
});

test('has a container for each name of the catalogue, made by the control plane', () => {
  const containers = Object.values(result.all('azurerm_storage_container'));
  expect(containers.map(({ name }) => name).sort()).toEqual([...CONTAINERS].sort());
  for (const container of containers) {
    expect(container.storage_account_id).toMatch(/^\$\{azurerm_storage_account\..+\.id\}$/);
    expect(container).not.toHaveProperty('storage_account_name');
  }
});

test('can be reached by its endpoint with an Entra token, and by nothing else', () => {
  expect(result.one('azurerm_storage_account')).toMatchObject({
    public_network_access_enabled: false,
    network_rules: { default_action: 'Deny', bypass: ['None'] },
    shared_access_key_enabled: false,
    default_to_oauth_authentication: true,
    local_user_enabled: false,
    allow_nested_items_to_be_public: false,
    cross_tenant_replication_enabled: false,
    min_tls_version: 'TLS1_2',
    https_traffic_only_enabled: true,
  });
  expect(result.one('azurerm_private_endpoint')).toMatchObject({
    private_service_connection: { subresource_names: ['blob'], is_manual_connection: false },
    lifecycle: { ignore_changes: ['private_dns_zone_group'] },
  });
});

test('keeps what was overwritten or deleted, and itself', () => {
  expect(result.one('azurerm_storage_account')).toMatchObject({
    blob_properties: {
      versioning_enabled: true,
      delete_retention_policy: { days: 30 },
      container_delete_retention_policy: { days: 30 },
    },
    lifecycle: { prevent_destroy: true },
  });
});

test('records reads, writes and deletes', () => {
  const { enabled_log, target_resource_id } = result.one('azurerm_monitor_diagnostic_setting');
  expect(enabled_log).toEqual([
    { category: 'StorageRead' },
    { category: 'StorageWrite' },
    { category: 'StorageDelete' },
  ]);
  expect(target_resource_id).toMatch(/\/blobServices\/default$/);
});

test('grants on containers, not on the account, and says why', () => {
  const grants = Object.values(result.all('azurerm_role_assignment'));
  expect(grants).toHaveLength(2);
  for (const grant of grants) {
    expect(grant).toMatchObject({ principal_id: USER, role_definition_name: 'Storage Blob Data Contributor' });
    expect(grant.scope).toMatch(/^\$\{azurerm_storage_container\./);
    expect(grant.description).toMatch(/\w+ \w+/);
  }
});

test('an account can be brought, and grants the same', () => {
  const account = '/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/sthub';
  const brought = synthesize((stack) => {
    const store = DataStore.fromAccountId(stack, 'Store', account);
    store.grantUpload(USER);
    store.grantPublish(USER);
    expect(store.blobEndpoint).toBe('https://sthub.blob.core.windows.net');
  });
  const scopes = Object.values(brought.all('azurerm_role_assignment')).map(({ scope }) => String(scope));
  expect(scopes.sort()).toEqual(
    ['datasets', 'runs', 'trainer'].map((name) => `${account}/blobServices/default/containers/${name}`),
  );
  expect(brought.addresses.filter((address) => !address.startsWith('azurerm_role_assignment.'))).toEqual([]);
});
