import { Construct } from 'constructs';
import { expect, test } from 'vitest';
import { LogIngestion } from '../../constructs/log-ingestion.ts';
import type { ServiceEndpoint } from '../../constructs/private-access.ts';
import { TABLES } from '../../runtime/catalogue.ts';
import { ACCESS, auditOf, PLACE, synthesize } from './synthesized.ts';

const result = synthesize((stack) => {
  const logs = new LogIngestion(stack, 'Logs', { ...PLACE, audit: auditOf(stack), privateAccess: ACCESS });
  logs.grantSend('44444444-4444-4444-8444-444444444444');
});
const rule = result.one('azurerm_monitor_data_collection_rule');
const names = Object.keys(TABLES);

test('has a table for each of the catalogue, with its columns', () => {
  const tables = Object.values(result.all('azurerm_log_analytics_workspace_table_custom_log'));
  const found = Object.fromEntries(tables.map(({ name, column }) => [name, column]));
  const wanted = Object.entries(TABLES).map(([name, columns]) => [
    `${name}_CL`,
    columns.map(({ name, type }) => ({ name, type: type === 'datetime' ? 'dateTime' : type })),
  ]);
  expect(found).toEqual(Object.fromEntries(wanted));
});

test.each<[number | undefined, object]>([
  // Nothing said is the workspace's: the provider reads a number only where Azure calls it the table's own.
  [undefined, { retention_in_days: undefined, total_retention_in_days: undefined }],
  [400, { retention_in_days: 400, total_retention_in_days: 400 }],
])('with retentionDays %s tables say %j', (retentionDays, wanted) => {
  const { all } = synthesize((stack) => {
    new LogIngestion(stack, 'Logs', {
      ...PLACE,
      audit: auditOf(stack),
      ...(retentionDays === undefined ? {} : { retentionDays }),
    });
  });
  const tables = Object.values(all('azurerm_log_analytics_workspace_table_custom_log'));
  expect(tables).toHaveLength(names.length);
  for (const { retention_in_days, total_retention_in_days } of tables) {
    expect({ retention_in_days, total_retention_in_days }).toEqual(wanted);
  }
});

test('has a stream for each table and sends each to its own', () => {
  expect(rule.stream_declaration).toEqual(
    Object.entries(TABLES).map(([name, columns]) => ({
      stream_name: `Custom-${name}`,
      column: columns.map(({ name, type }) => ({ name, type })),
    })),
  );
  expect(rule.data_flow).toMatchObject(
    names.map((name) => ({ streams: [`Custom-${name}`], output_stream: `Custom-${name}_CL` })),
  );
});

test('the rule waits for the tables it names, and takes rows through the endpoint only', () => {
  expect(rule.depends_on).toHaveLength(names.length);
  expect(rule.data_collection_endpoint_id).toMatch(/^\$\{azurerm_monitor_data_collection_endpoint\./);
  expect(rule).not.toHaveProperty('kind');
  expect(result.one('azurerm_monitor_data_collection_endpoint').public_network_access_enabled).toBe(false);
});

test('the way in is private', () => {
  expect(result.one('azurerm_monitor_private_link_scope').ingestion_access_mode).toBe('PrivateOnly');
  expect(Object.keys(result.all('azurerm_monitor_private_link_scoped_service'))).toHaveLength(2);
  expect(result.one('azurerm_private_endpoint').depends_on).toHaveLength(2);
  expect(result.one('azurerm_private_endpoint')).toMatchObject({
    private_service_connection: { subresource_names: ['azuremonitor'] },
  });
});

test('a sender may send', () => {
  expect(result.one('azurerm_role_assignment')).toMatchObject({ role_definition_name: 'Monitoring Metrics Publisher' });
});

test('a trainer that may send is told where to: Azure lists the address, with a zone group or without', () => {
  const told: ServiceEndpoint[] = [];
  const { locals } = synthesize((stack) => {
    const logs = new LogIngestion(stack, 'Logs', { ...PLACE, audit: auditOf(stack), privateAccess: ACCESS });
    const sender = Object.assign(new Construct(stack, 'Sender'), {
      principalId: 'sender',
      connect: (endpoint: ServiceEndpoint) => void told.push(endpoint),
    });
    logs.grantSend(sender);
  });
  expect(told).toEqual([{ service: 'monitor', hostName: expect.any(String), address: expect.any(String) }]);
  const text = JSON.stringify(locals);
  expect(text).toContain('logs_ingestion_endpoint');
  expect(text).toMatch(/azurerm_private_endpoint\.Logs_Access_\w+\.custom_dns_configs/);
  expect(text).toMatch(/azurerm_private_endpoint\.Logs_Access_\w+\.private_dns_zone_configs\[\*\]\.record_sets/);
});
