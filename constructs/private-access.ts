import { PrivateEndpoint } from '@cdktf/provider-azurerm/lib/private-endpoint/index.js';
import { type ITerraformDependable, TerraformLocal } from 'cdktf';
import { Construct } from 'constructs';
import { waitFor } from './dependencies.ts';
import { misuse, requireAddress } from './misuse.ts';
import { nameOf } from './names.ts';
import type { PlacementProps } from './placement.ts';
import { PrivateDnsZones } from './private-dns-zones.ts';

interface Service {
  readonly group: string;
  readonly member: string;
  readonly zones: readonly string[];
}

/**
 * Group, member and zones of each service that has a private endpoint here.
 * Source: learn.microsoft.com, "Azure private endpoint private DNS zone values".
 */
const SERVICES = {
  vault: { group: 'vault', member: 'default', zones: ['privatelink.vaultcore.azure.net'] },
  blob: { group: 'blob', member: 'blob', zones: ['privatelink.blob.core.windows.net'] },
  attestation: { group: 'Standard', member: 'Standard', zones: ['privatelink.attest.azure.net'] },
  monitor: {
    group: 'azuremonitor',
    member: '', // an address for each of a dozen members, which Azure names: none can be fixed here
    zones: [
      'privatelink.monitor.azure.com',
      'privatelink.oms.opinsights.azure.com',
      'privatelink.ods.opinsights.azure.com',
      'privatelink.agentsvc.azure-automation.net',
      'privatelink.blob.core.windows.net',
    ],
  },
} as const satisfies Readonly<Record<string, Service>>;
export type PrivateService = keyof typeof SERVICES;

/** How names of endpoints resolve: zones made here, zones that exist (ids), or an Azure Policy that fills in the zone group afterwards. */
export type PrivateDns = PrivateDnsZones | { readonly zoneIds: readonly string[] } | 'azure-policy';

/** Where a service is: what a machine without DNS writes into its host file. */
export interface ServiceEndpoint {
  readonly service: PrivateService;
  /** `NAME.vault.azure.net`; for logs known after apply. */
  readonly hostName: string;
  /**
   * Address of its private endpoint, perhaps known after apply.
   * @default - the network's own DNS knows it
   */
  readonly address?: string | undefined;
}

/** What a construct with a data plane needs to be reached privately. */
export interface PrivateAccessOptions {
  readonly subnetId: string;
  readonly dns: PrivateDns;
  /**
   * Fixed address in the subnet. The trainer has no DNS and finds its endpoints by such addresses.
   * @default - the next free one
   */
  readonly address?: string;
}

export interface PrivateAccessProps extends PlacementProps, PrivateAccessOptions {
  readonly service: PrivateService;
  /** Resource that the endpoint leads to; it may belong to another subscription. */
  readonly targetId: string;
  /**
   * Text for the target's owner, who then has to approve the connection. For a target that whoever applies may not approve.
   * @default - the connection is approved by the apply itself
   */
  readonly approvalRequest?: string;
  /**
   * What has to exist before the endpoint asks its target for names.
   * @default - the target
   */
  readonly dependencies?: readonly ITerraformDependable[];
}

/**
 * One private endpoint with its DNS: the only way to a service that has no public network. What is billed
 * is its time by the hour, and what goes through it by the GB.
 * @example
 * new PrivateAccess(this, 'Access', { ...place, subnetId, dns: 'azure-policy', service: 'vault', targetId: vaultId });
 */
export class PrivateAccess extends Construct {
  readonly endpointId: string;
  /** The fixed address, or the one that Azure gave, known after apply. */
  readonly address: string;
  readonly #endpoint: PrivateEndpoint;

  constructor(scope: Construct, id: string, props: PrivateAccessProps) {
    super(scope, id);
    const service: Service = SERVICES[props.service];
    if (props.address !== undefined) {
      if (service.member === '') throw misuse(this, 'address', `left out for ${props.service}`, props.address);
      requireAddress(this, 'address', props.address);
    }
    const name = nameOf(this, 'privateEndpoint', props.name);
    const zoneIds = zonesOf(props.dns, service);
    const endpoint = new PrivateEndpoint(this, 'Resource', {
      name,
      customNetworkInterfaceName: `nic-${name}`,
      resourceGroupName: props.resourceGroupName,
      location: props.location,
      subnetId: props.subnetId,
      privateServiceConnection: {
        name,
        privateConnectionResourceId: props.targetId,
        subresourceNames: [service.group],
        isManualConnection: props.approvalRequest !== undefined,
        ...(props.approvalRequest === undefined ? {} : { requestMessage: props.approvalRequest }),
      },
      ...(props.address === undefined
        ? {}
        : {
            ipConfiguration: [
              {
                name: 'fixed',
                privateIpAddress: props.address,
                subresourceName: service.group,
                memberName: service.member,
              },
            ],
          }),
      ...(zoneIds.length === 0 ? {} : { privateDnsZoneGroup: { name: 'default', privateDnsZoneIds: zoneIds } }),
      ...(props.tags === undefined ? {} : { tags: props.tags }),
      ...waitFor(this, props.dependencies),
      // With 'azure-policy' the group appears later, and taking it away again would cut the endpoint's names.
      ...(props.dns === 'azure-policy' ? { lifecycle: { ignoreChanges: ['private_dns_zone_group'] } } : {}),
    });
    this.endpointId = endpoint.id;
    this.address = props.address ?? endpoint.privateServiceConnection.privateIpAddress;
    this.#endpoint = endpoint;
  }

  /** Address of one of many names behind an endpoint, known after apply; empty where Azure lists no such name. */
  addressOf(hostName: string): string {
    const { fqn } = this.#endpoint;
    // Azure lists names in one place without a zone group, in the other with one.
    const listed = [`${fqn}.custom_dns_configs`, `flatten(${fqn}.private_dns_zone_configs[*].record_sets)`].map(
      (list) => `[for r in ${list} : r.ip_addresses if replace(trimsuffix(r.fqdn, "."), ".privatelink", "") == HOST]`,
    );
    const host = new TerraformLocal(this, 'Host', hostName);
    const found = `try(flatten([${listed.join(', ')}])[0], "")`.replaceAll('HOST', `${host.fqn}`);
    return new TerraformLocal(this, 'HostAddress', `\${${found}}`).asString;
  }
}

/** The endpoint of a construct's own service, where its caller asks for one; called `Access` everywhere. */
export function addPrivateAccess(
  scope: Construct,
  service: PrivateService,
  targetId: string,
  props: Omit<PlacementProps, 'name'> & { readonly privateAccess?: PrivateAccessOptions | undefined },
): PrivateAccess | undefined {
  if (props.privateAccess === undefined) return undefined;
  return new PrivateAccess(scope, 'Access', {
    resourceGroupName: props.resourceGroupName,
    location: props.location,
    ...(props.tags === undefined ? {} : { tags: props.tags }),
    ...props.privateAccess,
    service,
    targetId,
  });
}

function zonesOf(dns: PrivateDns, service: Service): string[] {
  if (dns === 'azure-policy') return [];
  if (dns instanceof PrivateDnsZones) return service.zones.map((zone) => dns.zoneId(zone));
  return [...dns.zoneIds];
}
