import { PrivateDnsZone } from '@cdktf/provider-azurerm/lib/private-dns-zone/index.js';
import { PrivateDnsZoneVirtualNetworkLink } from '@cdktf/provider-azurerm/lib/private-dns-zone-virtual-network-link/index.js';
import { Construct } from 'constructs';

export interface PrivateDnsZonesProps {
  readonly resourceGroupName: string;
  /** The network whose machines shall resolve private endpoints. */
  readonly virtualNetworkId: string;
  /**
   * Azure tags of zones and links.
   * @default - no tags
   */
  readonly tags?: Readonly<Record<string, string>>;
}

/**
 * The private zones of one network. A zone belongs to a network and not to an endpoint: two vaults share one, so it is
 * made when the first endpoint asks for it. What is billed is each zone by the month, and its queries.
 * @example
 * const dns = new PrivateDnsZones(this, 'Zones', { resourceGroupName, virtualNetworkId: network.virtualNetworkId });
 */
export class PrivateDnsZones extends Construct {
  readonly #props: PrivateDnsZonesProps;
  readonly #ids = new Map<string, string>();

  constructor(scope: Construct, id: string, props: PrivateDnsZonesProps) {
    super(scope, id);
    this.#props = props;
  }

  /** Id of a zone such as `privatelink.vaultcore.azure.net`, made and linked on first use. */
  zoneId(name: string): string {
    const known = this.#ids.get(name);
    if (known !== undefined) return known;
    const { resourceGroupName, virtualNetworkId, tags } = this.#props;
    const shared = tags === undefined ? {} : { tags };
    const zone = new PrivateDnsZone(this, name, { name, resourceGroupName, ...shared });
    new PrivateDnsZoneVirtualNetworkLink(this, `${name}-link`, {
      name: 'link',
      resourceGroupName,
      privateDnsZoneName: zone.name,
      virtualNetworkId,
      registrationEnabled: false,
      ...shared,
    });
    this.#ids.set(name, zone.id);
    return zone.id;
  }
}
