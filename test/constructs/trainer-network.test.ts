import fc from 'fast-check';
import { expect, test } from 'vitest';
import { addressAt, formatAddressSpace, halves, overlaps, parseAddressSpace } from '../../constructs/address-space.ts';
import { TrainerNetwork } from '../../constructs/trainer-network.ts';
import { type Attributes, auditOf, PLACE, synthesize } from './synthesized.ts';

let address = '';
const result = synthesize((stack) => {
  const network = new TrainerNetwork(stack, 'Network', {
    ...PLACE,
    name: 'vnet-test',
    audit: auditOf(stack),
    addressSpace: '10.9.0.0/24',
    operatorAddressSpaces: ['10.1.0.0/16'],
  });
  address = network.endpointAddress(0);
});

/** Rules of a group in the order Azure tries them: "access destination port" (outbound) or "access source port" (inbound). */
function rules(group: 'Trainers' | 'Endpoints', direction: 'Inbound' | 'Outbound'): string[] {
  const groups = Object.entries(result.all('azurerm_network_security_group'));
  const [, found] = groups.find(([name]) => name.includes(`${group}Rules`)) ?? [];
  return ((found?.security_rule ?? []) as Attributes[])
    .filter((rule) => rule.direction === direction)
    .sort((a, b) => Number(a.priority) - Number(b.priority))
    .map((rule) => {
      const far = direction === 'Outbound' ? rule.destination_address_prefix : rule.source_address_prefix;
      return `${rule.access} ${far} ${rule.destination_port_range}`;
    });
}

test('trainers reach endpoints and the resource manager, no platform DNS, nothing else', () => {
  expect(rules('Trainers', 'Outbound')).toEqual([
    'Deny AzurePlatformDNS *',
    'Allow 10.9.0.128/25 443',
    'Allow AzureResourceManager 443',
    'Deny * *',
  ]);
});

test('nobody reaches trainers', () => expect(rules('Trainers', 'Inbound')).toEqual(['Deny * *']));

test('endpoints are reached by trainers and operators, and start nothing', () => {
  expect(rules('Endpoints', 'Inbound')).toEqual(['Allow 10.9.0.0/25 443', 'Allow 10.1.0.0/16 443', 'Deny * *']);
  expect(rules('Endpoints', 'Outbound')).toEqual(['Deny * *']);
});

test('both subnets have their group and no outbound address', () => {
  expect(Object.keys(result.all('azurerm_subnet_network_security_group_association'))).toHaveLength(2);
  for (const subnet of Object.values(result.all('azurerm_subnet'))) {
    expect(subnet).toMatchObject({
      default_outbound_access_enabled: false,
      private_endpoint_network_policies: 'NetworkSecurityGroupEnabled',
    });
  }
  expect(result.addresses.filter((address) => /nat_gateway|public_ip/.test(address))).toEqual([]);
});

test('NAT gives an address to leave by and opens no rule', () => {
  const nat = synthesize((stack) => {
    new TrainerNetwork(stack, 'Network', { ...PLACE, name: 'vnet-test', audit: auditOf(stack), outbound: 'nat' });
  });
  const groups = ({ all }: typeof nat) => JSON.stringify(Object.values(all('azurerm_network_security_group')));
  const plain = synthesize((stack) => {
    new TrainerNetwork(stack, 'Network', { ...PLACE, name: 'vnet-test', audit: auditOf(stack) });
  });
  expect(groups(nat)).toBe(groups(plain));
  expect(nat.one('azurerm_subnet_nat_gateway_association').subnet_id).toMatch(/Network_TrainersAssociation/);
  expect(nat.one('azurerm_public_ip')).toMatchObject({ sku: 'Standard', allocation_method: 'Static' });
  // The endpoints start nothing, so they get none.
  expect(Object.keys(nat.all('azurerm_nat_gateway'))).toHaveLength(1);
});

test('subnets of a landing zone are taken as they are', () => {
  const network = '/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v';
  const brought = synthesize((stack) => {
    const reference = TrainerNetwork.fromSubnetIds(stack, 'Network', {
      trainerSubnetId: `${network}/subnets/trainers`,
      endpointSubnetId: `${network}/subnets/endpoints`,
    });
    expect(reference.virtualNetworkId).toBe(network);
    expect(reference.endpointAddress(0)).toBeUndefined();
  });
  expect(brought.addresses).toEqual([]);
});

test('fixed addresses come from the end of the subnet, where Azure gives none by itself', () => {
  expect(address).toBe('10.9.0.254');
});

test('address spaces: format is the inverse of parse, halves fill and do not overlap', () => {
  const space = fc
    .tuple(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.integer({ min: 1, max: 31 }))
    .map(([n, prefixLength]) => {
      const size = 2 ** (32 - prefixLength);
      return { network: n - (n % size), prefixLength };
    });
  fc.assert(
    fc.property(space, (space) => {
      expect(parseAddressSpace(formatAddressSpace(space))).toEqual(space);
      const [lower, upper] = halves(space);
      expect(overlaps(lower, upper)).toBe(false);
      expect(overlaps(space, lower) && overlaps(upper, space)).toBe(true);
      expect(addressAt(upper, 0)).toBe(addressAt(space, 2 ** (31 - space.prefixLength)));
    }),
  );
});

test.each(['10.0.0.0', '10.0.0.1/24', '10.0.0.0/33', '256.0.0.0/8', 'a.b.c.d/8', ''])(
  '"%s" is no address space',
  (text) => {
    expect(parseAddressSpace(text)).toBeUndefined();
  },
);
