import { lookup } from 'node:dns/promises';
import { BlockList, connect, isIPv6 } from 'node:net';
import type { Deployment } from '../../runtime/catalogue.ts';

/** A step that Terraform does not do, because it speaks to the service itself and not to the resource manager. */
export interface DataPlaneStep {
  readonly step: string;
  readonly host: string;
  readonly role: string;
}

/** Where a host was found, and whether it answers. */
export interface Reach {
  readonly host: string;
  readonly addresses: readonly string[];
  readonly state: 'reachable' | 'private, no answer' | 'public address' | 'no such name';
}

export interface ReachOptions {
  /** @default - DNS of this machine */
  readonly resolve?: (host: string) => Promise<readonly string[]>;
  /** @default 443 */
  readonly port?: number;
  /** @default 3000 */
  readonly timeoutInMs?: number;
}

export function dataPlaneSteps({ owner, storage }: Pick<Deployment, 'owner' | 'storage'>): readonly DataPlaneStep[] {
  const authority = new URL(owner.attestationAuthority).hostname;
  const store = new URL(storage.blobEndpoint).hostname;
  return [
    { step: 'set the policy of the attestation provider', host: authority, role: 'Attestation Contributor' },
    { step: 'ctrain lock-key', host: owner.vaultHost, role: 'Key Vault Crypto Officer' },
    { step: 'ctrain encrypt-data, approve', host: owner.vaultHost, role: 'Key Vault Reader' },
    { step: 'ctrain publish-trainer', host: store, role: 'Storage Blob Data Contributor' },
    { step: 'ctrain upload, train, runs, open-model', host: store, role: 'Storage Blob Data Contributor' },
  ];
}

/**
 * Looks a host up and opens a connection, without saying anything over it. A public address is not even called: a service
 * without public network access has one, and refuses.
 */
export async function reach(host: string, options: ReachOptions = {}): Promise<Reach> {
  const { resolve = resolveByDns, port = 443, timeoutInMs = 3000 } = options;
  const addresses = await resolve(host).catch(() => []);
  const [address] = addresses;
  if (address === undefined) return { host, addresses, state: 'no such name' };
  if (!addresses.every(isPrivate)) return { host, addresses, state: 'public address' };
  const answers = await connects(address, port, timeoutInMs);
  return { host, addresses, state: answers ? 'reachable' : 'private, no answer' };
}

async function resolveByDns(host: string): Promise<readonly string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address);
}

function connects(host: string, port: number, timeout: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect({ host, port, timeout });
    const end = (answers: boolean) => {
      socket.destroy();
      done(answers);
    };
    socket.once('connect', () => end(true));
    socket.once('timeout', () => end(false));
    socket.once('error', () => end(false));
  });
}

/** RFC 1918, shared address space (RFC 6598), loopback, unique local addresses (RFC 4193). */
const PRIVATE = new BlockList();
for (const [network, bits] of [
  ['10.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
] as const) {
  PRIVATE.addSubnet(network, bits, 'ipv4');
}
PRIVATE.addSubnet('fc00::', 7, 'ipv6');
PRIVATE.addAddress('::1', 'ipv6');

function isPrivate(address: string): boolean {
  return PRIVATE.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}
