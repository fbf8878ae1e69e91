import { createHash } from 'node:crypto';
import { groupOf, idIn, isJson, type Json } from './resource-id.ts';
import type { ResourceStore } from './store.ts';

/** The tenant of every identity here. */
export const TENANT = '11111111-1111-4111-8111-111111111111';

type Resource = Json & { readonly id: string; readonly name: string };
type Computed = (properties: Json, resource: Resource, store: ResourceStore) => Json;

/** A GUID that follows from a text: the same in every run. */
export function guidOf(text: string): string {
  const hex = createHash('sha256').update(text.toLowerCase()).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** What Azure adds to the properties of a resource, as far as azurerm reads it; by type in lower case. */
const COMPUTED: Readonly<Record<string, Computed>> = {
  'microsoft.managedidentity/userassignedidentities': (_, { id }) => ({
    principalId: guidOf(id),
    clientId: guidOf(`client of ${id}`),
    tenantId: TENANT,
  }),
  'microsoft.keyvault/vaults': (_, { name }) => ({ vaultUri: `https://${name}.vault.azure.net/` }),
  'microsoft.keyvault/vaults/keys': (_, { id, name }) => {
    const [, vault] = /\/vaults\/([^/]+)\//i.exec(id) ?? [];
    const keyUri = `https://${vault}.vault.azure.net/keys/${name}`;
    return { keyUri, keyUriWithVersion: `${keyUri}/${guidOf(id).replaceAll('-', '')}` };
  },
  'microsoft.attestation/attestationproviders': (_, { name }) => ({
    attestUri: `https://${name}.weu.attest.azure.net`,
    status: 'Ready',
  }),
  'microsoft.insights/datacollectionendpoints': (_, { id, name }) => ({
    immutableId: `dce-${guidOf(id).replaceAll('-', '')}`,
    configurationAccess: { endpoint: `https://${name}.westeurope-1.handler.control.monitor.azure.com` },
    logsIngestion: { endpoint: `https://${name}.westeurope-1.ingest.monitor.azure.com` },
    metricsIngestion: { endpoint: `https://${name}.westeurope-1.metrics.ingest.monitor.azure.com` },
  }),
  'microsoft.insights/datacollectionrules': (_, { id }) => ({ immutableId: `dcr-${guidOf(id).replaceAll('-', '')}` }),
  'microsoft.operationalinsights/workspaces': (_, { id }) => ({ customerId: guidOf(id) }),
  // Minus one asks for the default (Tables REST reference), and azurerm sends that for what is left out.
  'microsoft.operationalinsights/workspaces/tables': ({ retentionInDays = -1, totalRetentionInDays = -1 }) => ({
    retentionInDaysAsDefault: retentionInDays === -1,
    totalRetentionInDaysAsDefault: totalRetentionInDays === -1,
  }),
  'microsoft.storage/storageaccounts': (_, { name }) => ({
    primaryEndpoints: Object.fromEntries(
      ['blob', 'dfs', 'file', 'queue', 'table', 'web'].map((service) => [
        service,
        `https://${name}.${service}.core.windows.net/`,
      ]),
    ),
  }),
  'microsoft.compute/virtualmachines': (_, { id }) => ({ vmId: guidOf(id) }),
  'microsoft.network/publicipaddresses': () => ({ ipAddress: '203.0.113.9' }),
  'microsoft.network/networkinterfaces': ({ ipConfigurations }) => ({
    ipConfigurations: list(ipConfigurations).map((configuration) =>
      withProperties(configuration, { privateIPAddress: '10.60.0.4' }),
    ),
  }),
  'microsoft.network/networksecuritygroups': ({ securityRules }, { id }) => ({
    securityRules: list(securityRules).map((rule) => ({ ...rule, id: `${id}/securityRules/${String(rule.name)}` })),
  }),
  'microsoft.network/privatednszones/virtualnetworklinks': () => ({ virtualNetworkLinkState: 'Completed' }),
  'microsoft.network/privateendpoints': endpoint,
  'microsoft.authorization/roleassignments': (_, { id }) => ({
    scope: id.replace(/\/providers\/Microsoft\.Authorization\/.*$/i, ''),
  }),
};

/** The resource with what Azure adds to it; what was sent for the same member is kept unless Azure answers it anew. */
export function addComputed(store: ResourceStore, body: Json, id: string): Json {
  const computed = COMPUTED[String(body.type).toLowerCase()];
  const properties = isJson(body.properties) ? body.properties : {};
  if (computed === undefined) return { ...body, properties };
  const resource = { ...body, id, name: String(body.name) };
  return { ...body, properties: { ...properties, ...computed(properties, resource, store) } };
}

/** Its network card, its address and its connection, approved unless somebody has to. */
function endpoint(properties: Json, { id, name, location }: Resource, store: ResourceStore): Json {
  const [fixed] = list(properties.ipConfigurations);
  const privateIPAddress = (isJson(fixed?.properties) ? fixed.properties.privateIPAddress : undefined) ?? '10.60.0.140';
  const cardName = String(properties.customNetworkInterfaceName ?? `${name}.nic`);
  const cardId = idIn(groupOf(id) ?? '', 'Microsoft.Network/networkInterfaces', cardName);
  const configuration = { name: 'card', properties: { privateIPAddress, subnet: properties.subnet, primary: true } };
  store.add({ location, properties: { ipConfigurations: [configuration] } }, cardId);
  const connected = (connections: unknown, status: string) =>
    list(connections).map((connection) =>
      withProperties(connection, { privateLinkServiceConnectionState: { status, description: '' } }),
    );
  return {
    networkInterfaces: [{ id: cardId }],
    customDnsConfigs: [{ fqdn: `${name}.example.net`, ipAddresses: [privateIPAddress] }],
    privateLinkServiceConnections: connected(properties.privateLinkServiceConnections, 'Approved'),
    manualPrivateLinkServiceConnections: connected(properties.manualPrivateLinkServiceConnections, 'Pending'),
  };
}

function list(value: unknown): Json[] {
  return Array.isArray(value) ? value.filter(isJson) : [];
}

/** With defaults for properties: what it has, it keeps. */
function withProperties(part: Json, defaults: Json): Json {
  return { ...part, properties: { ...defaults, ...(isJson(part.properties) ? part.properties : {}) } };
}
