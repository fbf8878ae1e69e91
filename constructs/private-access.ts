import { PrivateEndpoint } from '@cdktf/provider-azurerm/lib/private-endpoint/index.js';
import { Construct } from 'constructs';
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
}

/** One private endpoint with its DNS: the only way to a service that has no public network. About 7 USD a month. */
export class PrivateAccess extends Construct {
  readonly endpointId: string;
  /** The fixed address, where there is one. */
  readonly address: string | undefined;

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
      // With 'azure-policy' the group appears later, and taking it away again would cut the endpoint's names.
      ...(props.dns === 'azure-policy' ? { lifecycle: { ignoreChanges: ['private_dns_zone_group'] } } : {}),
    });
    this.endpointId = endpoint.id;
    this.address = props.address;
  }
}

function zonesOf(dns: PrivateDns, service: Service): string[] {
  if (dns === 'azure-policy') return [];
  if (dns instanceof PrivateDnsZones) return service.zones.map((zone) => dns.zoneId(zone));
  return [...dns.zoneIds];
}
