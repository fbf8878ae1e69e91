/** One rule of a network security group, in the words of Azure. */
export interface SecurityRule {
  readonly name: string;
  readonly priority: number;
  readonly direction: 'Inbound' | 'Outbound';
  readonly access: 'Allow' | 'Deny';
  readonly protocol: 'Tcp' | '*';
  readonly source: string;
  readonly destination: string;
  readonly port: string;
  readonly description: string;
}

/** Azure evaluates its own defaults (65000 and up) after every rule; the last one of ours leaves them nothing. */
const LAST = 4096;

const denyRest = (direction: SecurityRule['direction']): SecurityRule => ({
  name: `Deny${direction}`,
  priority: LAST,
  direction,
  access: 'Deny',
  protocol: '*',
  source: '*',
  destination: '*',
  port: '*',
  description: 'whatever no rule above allows',
});

/** Trainers: nobody reaches them, and they reach their endpoints and the resource manager, which they ask to be switched off. */
export function trainerRules(trainers: string, endpoints: string): readonly SecurityRule[] {
  return [
    {
      name: 'DenyPlatformDns',
      priority: 100,
      direction: 'Outbound',
      access: 'Deny',
      protocol: '*',
      source: '*',
      destination: 'AzurePlatformDNS',
      port: '*',
      description: 'names are a tunnel that no other rule sees: addresses come from the host file',
    },
    {
      name: 'AllowEndpoints',
      priority: 200,
      direction: 'Outbound',
      access: 'Allow',
      protocol: 'Tcp',
      source: trainers,
      destination: endpoints,
      port: '443',
      description: 'vault, attestation, storage and logs by private endpoint',
    },
    {
      name: 'AllowResourceManager',
      priority: 210,
      direction: 'Outbound',
      access: 'Allow',
      protocol: 'Tcp',
      source: trainers,
      destination: 'AzureResourceManager',
      port: '443',
      description: 'a machine that has finished asks for its own deallocation',
    },
    denyRest('Outbound'),
    denyRest('Inbound'),
  ];
}

/** Endpoints: reached by trainers and by the operators' networks on 443, and start nothing themselves. */
export function endpointRules(
  trainers: string,
  endpoints: string,
  operators: readonly string[],
): readonly SecurityRule[] {
  const allow = (name: string, priority: number, source: string, description: string): SecurityRule => ({
    name,
    priority,
    direction: 'Inbound',
    access: 'Allow',
    protocol: 'Tcp',
    source,
    destination: endpoints,
    port: '443',
    description,
  });
  return [
    allow('AllowTrainers', 200, trainers, 'trainers ask for keys, tokens and blobs'),
    ...operators.map((prefix, i) =>
      allow(`AllowOperators${i}`, 300 + i, prefix, 'data owners and operators from a peered network'),
    ),
    denyRest('Inbound'),
    denyRest('Outbound'),
  ];
}
