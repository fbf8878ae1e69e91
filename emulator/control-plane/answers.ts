import { HttpFailure } from '../json-http.ts';
import { guidOf, TENANT } from './computed.ts';
import { isCollection, isJson, type Json, lastSegment, typeOf } from './resource-id.ts';
import { IMPLIED, type ResourceStore } from './store.ts';
import { deploy } from './template.ts';

export interface ArmRequest {
  readonly method: string;
  /** Without its query and without a slash at its end. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: Json;
}

export interface ArmAnswer {
  readonly status: number;
  readonly body?: object;
}

/** Types of which azurerm accepts nothing but 201 for a new one; of the others many accept nothing but 200. */
const CREATED = [
  'microsoft.authorization/policyassignments',
  'microsoft.authorization/roleassignments',
  'microsoft.authorization/roledefinitions',
];

/** Answers as Azure Resource Manager does, at once and without its delays; throws an {@link HttpFailure} for what it refuses. */
export function answerArm(store: ResourceStore, request: ArmRequest): ArmAnswer {
  const { method, path, query, body } = request;
  if (!query.has('api-version')) throw new HttpFailure(400, 'MissingApiVersionParameter', `${path} has no api-version`);
  const type = typeOf(path).toLowerCase();
  const found = store.get(path);
  switch (method) {
    case 'GET':
      return { status: 200, body: found ?? listed(store, path, query) ?? implied(store, path) ?? missing(path) };
    case 'PUT': {
      const resource = type === 'microsoft.resources/deployments' ? deploy(store, path, body) : store.put(path, body);
      return { status: found === undefined && CREATED.includes(type) ? 201 : 200, body: resource };
    }
    case 'PATCH':
      return { status: 200, body: store.put(path, merge(found ?? missing(path), body)) };
    case 'DELETE':
      if (found === undefined) return { status: 204 };
      store.delete(path);
      return { status: 200 };
    case 'POST':
      return { status: 200, body: act(store, path, body) };
    default:
      throw new HttpFailure(405, 'MethodNotAllowed', `${method} ${path}`);
  }
}

function missing(path: string): never {
  const kind = typeOf(path) === 'Microsoft.Resources/resourceGroups' ? 'ResourceGroup' : 'Resource';
  throw new HttpFailure(404, `${kind}NotFound`, `${path} is not there`);
}

function listed(store: ResourceStore, path: string, query: URLSearchParams): object | undefined {
  if (/\/providers\/Microsoft\.Authorization\/roleDefinitions$/i.test(path)) {
    const [, name = ''] = /^roleName eq '(.+)'$/.exec(query.get('$filter') ?? '') ?? [];
    const custom = store
      .all('Microsoft.Authorization/roleDefinitions')
      .filter(({ properties }) => isJson(properties) && properties.roleName === name);
    return { value: custom.length > 0 ? custom : [builtInRole(name)] };
  }
  if (!isCollection(path)) return undefined;
  if (/\/resourceGroups\/[^/]+\/resources$/i.test(path)) {
    // A group lists what stands by itself: no parts of others, no extensions of them.
    const group = path.slice(0, path.lastIndexOf('/'));
    return {
      value: store.beneath(group).filter(({ id }) => /^[^/]+\/providers\/[^/]+\/[^/]+\/[^/]+$/.test(below(group, id))),
    };
  }
  return { value: store.beneath(path).filter(({ id }) => !below(path, id).includes('/')) };
}

function below(path: string, id: unknown): string {
  return String(id)
    .slice(path.length + 1)
    .replace(/^providers/, 'group/providers');
}

/** What is there without anybody having made it. */
function implied(store: ResourceStore, path: string): object | undefined {
  if (/^\/subscriptions\/[^/]+$/i.test(path)) {
    return { id: path, subscriptionId: lastSegment(path), tenantId: TENANT, displayName: 'stand-in', state: 'Enabled' };
  }
  const [, role] = /\/providers\/Microsoft\.Authorization\/roleDefinitions\/([0-9a-f-]{36})$/i.exec(path) ?? [];
  if (role !== undefined) {
    const custom = store.all('Microsoft.Authorization/roleDefinitions').find(({ name }) => name === role);
    return custom ?? BUILT_IN_ROLES.map(builtInRole).find(({ name }) => name === role);
  }
  const [, zone] = /\/privateDnsZones\/([^/]+)\/SOA\/@$/i.exec(path) ?? [];
  if (zone !== undefined) return startOfAuthority(path, zone);
  if (IMPLIED.test(path)) return { id: path, name: 'default', type: typeOf(path), properties: {} };
  if (/\/virtualMachines\/[^/]+\/instanceView$/i.test(path)) return { statuses: [{ code: 'PowerState/running' }] };
  return undefined;
}

function act(store: ResourceStore, path: string, body: Json): object {
  const action = lastSegment(path);
  const target = store.get(path.slice(0, path.lastIndexOf('/')));
  switch (action.toLowerCase()) {
    case 'validate':
      return { properties: body.properties };
    case 'exporttemplate':
      return { template: target?.template };
    case 'listkeys':
      return { keys: [] };
    case 'sharedkeys':
      return { primarySharedKey: 'none', secondarySharedKey: 'none' };
    default:
      throw new HttpFailure(404, 'InvalidResourceType', `no action ${action} here: ${path}`);
  }
}

/** Roles that constructs grant. Azure's own ids are others; azurerm looks them up by name. */
const BUILT_IN_ROLES = [
  'Key Vault Crypto Officer',
  'Key Vault Crypto Service Encryption User',
  'Key Vault Crypto Service Release User',
  'Key Vault Reader',
  'Monitoring Metrics Publisher',
  'Storage Blob Data Contributor',
  'Storage Blob Data Reader',
  'Virtual Machine User Login',
];

function builtInRole(roleName: string): Json {
  const name = guidOf(roleName);
  const properties = { roleName, type: 'BuiltInRole', description: '', assignableScopes: ['/'], permissions: [] };
  return { id: `/providers/Microsoft.Authorization/roleDefinitions/${name}`, name, properties };
}

/** Every private zone has this record (https://learn.microsoft.com/azure/dns/private-dns-privatednszone). */
function startOfAuthority(id: string, zone: string): object {
  const soaRecord = {
    host: 'azureprivatedns.net',
    email: 'azureprivatedns-host.microsoft.com',
    serialNumber: 1,
    refreshTime: 3600,
    retryTime: 300,
    expireTime: 2419200,
    minimumTtl: 10,
  };
  return {
    id,
    name: '@',
    type: 'Microsoft.Network/privateDnsZones/SOA',
    properties: { ttl: 3600, fqdn: `${zone}.`, soaRecord },
  };
}

/** JSON merge patch without its deletions, which azurerm does not send. */
function merge(resource: Json, patch: Json): Json {
  const changed = Object.entries(patch).map(([name, value]) => {
    const before = resource[name];
    return [name, isJson(before) && isJson(value) ? merge(before, value) : value];
  });
  return { ...resource, ...Object.fromEntries(changed) };
}
