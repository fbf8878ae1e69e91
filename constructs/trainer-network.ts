import { NetworkSecurityGroup } from '@cdktf/provider-azurerm/lib/network-security-group/index.js';
import { Subnet } from '@cdktf/provider-azurerm/lib/subnet/index.js';
import { SubnetNetworkSecurityGroupAssociation } from '@cdktf/provider-azurerm/lib/subnet-network-security-group-association/index.js';
import { VirtualNetwork } from '@cdktf/provider-azurerm/lib/virtual-network/index.js';
import { Construct } from 'constructs';
import {
  type AddressSpace,
  addressAt,
  formatAddressSpace,
  halves,
  isPrivate,
  overlaps,
  parseAddressSpace,
} from './address-space.ts';
import type { AuditTarget } from './audit-log.ts';
import { misuse } from './misuse.ts';
import { nameOf } from './names.ts';
import { NatOutbound } from './nat-outbound.ts';
import type { PlacementProps } from './placement.ts';
import { endpointRules, type SecurityRule, trainerRules } from './security-rules.ts';

/** Counted from the end of a subnet: Azure keeps the last address, and gives dynamic ones from the beginning. */
const LAST_FREE = 2;

export interface TrainerNetworkProps extends PlacementProps {
  /** Where the security groups' decisions are recorded. */
  readonly audit: AuditTarget;
  /**
   * Private IPv4 network, /16 to /26; trainers get the lower half and endpoints the upper one.
   * @default '10.60.0.0/24'
   */
  readonly addressSpace?: string;
  /**
   * Peered networks from which operators and data owners reach the endpoints.
   * @default [] - only trainers do
   */
  readonly operatorAddressSpaces?: readonly string[];
  /**
   * `nat`: trainers get an address to leave by, and the rules let them use it for Azure's resource manager alone, so that
   * a finished machine can have itself switched off.
   * @default 'none' - nothing leaves but through private endpoints; the resource manager needs one as well
   */
  readonly outbound?: 'none' | 'nat';
}

/** A network by what others need of it: one made here, or one of the landing zone. */
export interface TrainerNetworkReference {
  readonly virtualNetworkId: string;
  readonly trainerSubnetId: string;
  readonly endpointSubnetId: string;
  /** The n-th fixed address for an endpoint, from 0; undefined where Azure chooses. */
  endpointAddress(n: number): string | undefined;
}

/**
 * A network for machines that nobody enters: two subnets, security groups that deny by default both ways, no outbound
 * address, no platform DNS for trainers. Free but for the logs it is recorded in, and a NAT gateway where asked for.
 * @example
 * const network = new TrainerNetwork(this, 'Network', { ...place, audit });
 */
export class TrainerNetwork extends Construct implements TrainerNetworkReference {
  readonly virtualNetworkId: string;
  readonly trainerSubnetId: string;
  readonly endpointSubnetId: string;
  readonly #endpoints: AddressSpace;

  constructor(scope: Construct, id: string, props: TrainerNetworkProps) {
    super(scope, id);
    const space = this.#parse('addressSpace', props.addressSpace ?? '10.60.0.0/24');
    if (space.prefixLength < 16 || space.prefixLength > 26)
      throw misuse(this, 'addressSpace', 'a network from /16 to /26', props.addressSpace);
    const operators = (props.operatorAddressSpaces ?? []).map((text) => this.#operators(text, space));
    const [trainers, endpoints] = halves(space);
    const place = { resourceGroupName: props.resourceGroupName, location: props.location };
    const tags = props.tags === undefined ? {} : { tags: props.tags };
    const name = nameOf(this, 'virtualNetwork', props.name);
    const network = new VirtualNetwork(this, 'Resource', {
      ...place,
      ...tags,
      name,
      addressSpace: [formatAddressSpace(space)],
    });
    props.audit.record(this, 'virtualNetwork', network.id);
    const subnet = (id: string, range: AddressSpace, rules: readonly SecurityRule[]): string => {
      const part = id.toLowerCase();
      const group = new NetworkSecurityGroup(this, `${id}Rules`, {
        ...place,
        ...tags,
        name: nameOf(this, 'networkSecurityGroup', `nsg-${name}-${part}`),
        securityRule: rules.map((rule) => ({
          name: rule.name,
          description: rule.description,
          priority: rule.priority,
          direction: rule.direction,
          access: rule.access,
          protocol: rule.protocol,
          sourceAddressPrefix: rule.source,
          sourcePortRange: '*',
          destinationAddressPrefix: rule.destination,
          destinationPortRange: rule.port,
        })),
      });
      props.audit.record(new Construct(this, `${id}RulesLog`), 'networkSecurityGroup', group.id);
      const made = new Subnet(this, id, {
        name: part,
        resourceGroupName: props.resourceGroupName,
        virtualNetworkName: network.name,
        addressPrefixes: [formatAddressSpace(range)],
        defaultOutboundAccessEnabled: false,
        privateEndpointNetworkPolicies: 'NetworkSecurityGroupEnabled',
      });
      const joined = new SubnetNetworkSecurityGroupAssociation(this, `${id}Association`, {
        subnetId: made.id,
        networkSecurityGroupId: group.id,
      });
      // The association's id is the subnet's: whoever uses it waits until the rules hold.
      return joined.id;
    };
    const [lower, upper] = [formatAddressSpace(trainers), formatAddressSpace(endpoints)];
    this.virtualNetworkId = network.id;
    this.trainerSubnetId = subnet('Trainers', trainers, trainerRules(lower, upper));
    this.endpointSubnetId = subnet('Endpoints', endpoints, endpointRules(lower, upper, operators));
    this.#endpoints = endpoints;
    if (props.outbound === 'nat') {
      const { audit } = props;
      new NatOutbound(this, 'Nat', { ...place, ...tags, name: `nat-${name}`, subnetId: this.trainerSubnetId, audit });
    }
  }

  /**
   * Subnets of the landing zone. Their rules are its own: it should deny as trainerRules and endpointRules do.
   * @param subnets both in one virtual network; endpoints need `privateEndpointNetworkPolicies` for rules to hold for them
   */
  static fromSubnetIds(
    scope: Construct,
    id: string,
    subnets: { readonly trainerSubnetId: string; readonly endpointSubnetId: string },
  ): TrainerNetworkReference {
    const place = new Construct(scope, id);
    const networkOf = (field: keyof typeof subnets) => {
      const pattern = /^(.+\/Microsoft\.Network\/virtualNetworks\/[^/]+)\/subnets\/[^/]+$/i;
      const [, networkId] = pattern.exec(subnets[field]) ?? [];
      if (networkId === undefined) throw misuse(place, field, 'the resource id of a subnet', subnets[field]);
      return networkId;
    };
    const virtualNetworkId = networkOf('trainerSubnetId');
    if (networkOf('endpointSubnetId').toLowerCase() !== virtualNetworkId.toLowerCase()) {
      throw misuse(place, 'endpointSubnetId', `in ${virtualNetworkId}`, subnets.endpointSubnetId);
    }
    return { virtualNetworkId, ...subnets, endpointAddress: () => undefined };
  }

  /** The n-th fixed address for an endpoint, from 0; none that Azure would give to another endpoint by itself. */
  endpointAddress(n: number): string {
    return addressAt(this.#endpoints, 2 ** (32 - this.#endpoints.prefixLength) - LAST_FREE - n);
  }

  #operators(text: string, own: AddressSpace): string {
    const space = this.#parse('operatorAddressSpaces', text);
    if (overlaps(space, own))
      throw misuse(this, 'operatorAddressSpaces', `apart from ${formatAddressSpace(own)}`, text);
    return formatAddressSpace(space);
  }

  #parse(field: string, text: string): AddressSpace {
    const space = parseAddressSpace(text);
    if (space === undefined || !isPrivate(space))
      throw misuse(this, field, 'a private IPv4 network such as 10.60.0.0/24', text);
    return space;
  }
}
