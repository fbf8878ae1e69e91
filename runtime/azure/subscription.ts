import type { TokenCredential } from '@azure/core-auth';
import type { Network } from './network.ts';
import { parseJson, request } from './request.ts';

const MANAGEMENT = 'https://management.azure.com';
const GRAPH = 'https://graph.microsoft.com';
/** A list longer than this is not one that we asked for. */
const MAXIMUM_PAGES = 50;

/** What the resource manager and the directory say of a subscription, as far as a deployment depends on it. Reads only. */
export interface SubscriptionReader {
  /** Registration state of every resource provider, by lower-case namespace. */
  registrations(subscriptionId: string): Promise<ReadonlyMap<string, string>>;
  /** A VM size in a region; `undefined` where there is none. */
  machineSize(subscriptionId: string, location: string, size: string): Promise<MachineSize | undefined>;
  /** Cores in use and allowed, by lower-case name of the family. */
  coreUsage(subscriptionId: string, location: string): Promise<ReadonlyMap<string, CoreUsage>>;
  /** Whether the tenant has a service principal of this application. */
  hasServicePrincipal(appId: string): Promise<boolean>;
  /** Resource ids of its vaults; empty where it shows the caller none. */
  vaults(subscriptionId: string): Promise<readonly string[]>;
  /** A key as the control plane shows it, which is without the lock of its policy; `undefined` where there is none. */
  vaultKey(vaultId: string, name: string): Promise<ControlPlaneKey | undefined>;
}

interface MachineSize {
  /** For example `standardDCASv5Family`, as quotas call it. */
  readonly family: string;
  readonly cores: number;
  /** Why the subscription may not use it there; empty where it may. */
  readonly restrictions: readonly string[];
}

interface CoreUsage {
  readonly used: number;
  readonly limit: number;
}

interface ControlPlaneKey {
  readonly keyOps: readonly string[];
  readonly exportable: boolean;
  readonly enabled: boolean;
  /** Base64 or base64url of the release policy. */
  readonly policyData?: string;
}

type Json = Readonly<Record<string, unknown>>;

/** API versions: Microsoft.Resources 2021-04-01, Microsoft.Compute 2021-07-01 (skus) and 2024-07-01, Microsoft.KeyVault 2026-02-01. */
export function subscriptionReader(network: Network, credential: TokenCredential): SubscriptionReader {
  async function get(what: string, url: string): Promise<Json | undefined> {
    const scope = `${new URL(url).origin}/.default`;
    const as = { credential, scope };
    const response = await request(network, {
      what,
      denied: 'CONFIG_INVALID',
      as,
      method: 'GET',
      url,
      accepted: [404],
    });
    return response.status === 404 ? undefined : (parseJson(what, response, 'UNAVAILABLE') as Json);
  }
  async function list(what: string, first: string): Promise<readonly Json[]> {
    const items: Json[] = [];
    let url: string | undefined = first;
    for (let page = 0; url !== undefined && page < MAXIMUM_PAGES; page++) {
      const { value, nextLink }: Json = (await get(what, url)) ?? {};
      items.push(...(Array.isArray(value) ? (value as Json[]) : []));
      // The token goes where we first asked, never where a reply points.
      const next: string | undefined = typeof nextLink === 'string' ? nextLink : undefined;
      url = next?.startsWith(`${new URL(first).origin}/`) === true ? next : undefined;
    }
    return items;
  }
  const subscription = (id: string) => `${MANAGEMENT}/subscriptions/${id}`;
  return {
    async registrations(id) {
      const items = await list(`resource providers of ${id}`, `${subscription(id)}/providers?api-version=2021-04-01`);
      return new Map(items.map((item) => [String(item.namespace).toLowerCase(), String(item.registrationState)]));
    },
    async machineSize(id, location, size) {
      const filter = encodeURIComponent(`location eq '${location}'`);
      const url = `${subscription(id)}/providers/Microsoft.Compute/skus?api-version=2021-07-01&$filter=${filter}`;
      const items = await list(`VM sizes in ${location}`, url);
      const found = items.find((item) => item.resourceType === 'virtualMachines' && item.name === size);
      if (found === undefined) return undefined;
      return {
        family: String(found.family),
        cores: Number(objects(found.capabilities).find(({ name }) => name === 'vCPUs')?.value),
        restrictions: objects(found.restrictions)
          .filter(({ type }) => type === 'Location')
          .map(({ reasonCode }) => String(reasonCode)),
      };
    },
    async coreUsage(id, location) {
      const url = `${subscription(id)}/providers/Microsoft.Compute/locations/${location}/usages?api-version=2024-07-01`;
      const items = await list(`cores in use in ${location}`, url);
      return new Map(
        items.map(({ name, currentValue, limit }) => [
          String((name as Json | undefined)?.value).toLowerCase(),
          { used: Number(currentValue), limit: Number(limit) },
        ]),
      );
    },
    async hasServicePrincipal(appId) {
      const filter = encodeURIComponent(`appId eq '${appId}'`);
      const url = `${GRAPH}/v1.0/servicePrincipals?$filter=${filter}&$select=id`;
      return (await list(`service principal of ${appId}`, url)).length > 0;
    },
    async vaults(id) {
      const filter = encodeURIComponent("resourceType eq 'Microsoft.KeyVault/vaults'");
      const url = `${subscription(id)}/resources?api-version=2021-04-01&$filter=${filter}`;
      return (await list(`vaults of ${id}`, url)).map((item) => String(item.id));
    },
    async vaultKey(vaultId, name) {
      const found = await get(`key ${name}`, `${MANAGEMENT}${vaultId}/keys/${name}?api-version=2026-02-01`);
      if (found === undefined) return undefined;
      const properties = (found.properties ?? {}) as Json;
      const attributes = (properties.attributes ?? {}) as Json;
      const data = (properties.release_policy as Json | undefined)?.data;
      return {
        keyOps: Array.isArray(properties.keyOps) ? properties.keyOps.map(String) : [],
        exportable: attributes.exportable === true,
        enabled: attributes.enabled === true,
        ...(typeof data === 'string' ? { policyData: data } : {}),
      };
    },
  };
}

function objects(value: unknown): readonly Json[] {
  return Array.isArray(value) ? (value as Json[]) : [];
}
