import { NatGateway } from '@cdktf/provider-azurerm/lib/nat-gateway/index.js';
import { NatGatewayPublicIpAssociation } from '@cdktf/provider-azurerm/lib/nat-gateway-public-ip-association/index.js';
import { PublicIp } from '@cdktf/provider-azurerm/lib/public-ip/index.js';
import { SubnetNatGatewayAssociation } from '@cdktf/provider-azurerm/lib/subnet-nat-gateway-association/index.js';
import { Construct } from 'constructs';
import type { AuditTarget } from './audit-log.ts';
import { nameOf } from './names.ts';
import type { PlacementProps } from './placement.ts';

export interface NatOutboundProps extends PlacementProps {
  readonly subnetId: string;
  /** Where attacks on the address are recorded. */
  readonly audit: AuditTarget;
}

/**
 * An address that a subnet leaves by and that nothing comes in through. What may leave is still the security group's to
 * say. What is billed is the gateway and its address by the hour, and each GB that goes through.
 * @example
 * new NatOutbound(this, 'Nat', { ...place, subnetId, audit });
 */
export class NatOutbound extends Construct {
  constructor(scope: Construct, id: string, props: NatOutboundProps) {
    super(scope, id);
    const place = {
      resourceGroupName: props.resourceGroupName,
      location: props.location,
      ...(props.tags === undefined ? {} : { tags: props.tags }),
    };
    const name = nameOf(this, 'natGateway', props.name);
    const address = new PublicIp(this, 'Address', {
      ...place,
      name: nameOf(this, 'publicAddress', `pip-${name}`),
      sku: 'Standard',
      allocationMethod: 'Static',
    });
    props.audit.record(this, 'publicAddress', address.id);
    const gateway = new NatGateway(this, 'Resource', { ...place, name, skuName: 'Standard' });
    new NatGatewayPublicIpAssociation(this, 'AddressAssociation', {
      natGatewayId: gateway.id,
      publicIpAddressId: address.id,
    });
    new SubnetNatGatewayAssociation(this, 'SubnetAssociation', { subnetId: props.subnetId, natGatewayId: gateway.id });
  }
}
