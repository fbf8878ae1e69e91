import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { TokenIssuer } from '../../emulator/entra.ts';
import { FaultBoard } from '../../emulator/faults.ts';
import { METADATA_HOST, metadataService } from '../../emulator/metadata-service.ts';
import { emulatorNetwork } from '../../emulator/network.ts';
import { ROLES, type RoleAssignment, RoleAssignments } from '../../emulator/roles.ts';
import { type HostedService, hostService, type LoggedRequest } from '../../emulator/service-host.ts';
import { createTlsMaterial } from '../../emulator/tls.ts';
import type { Network } from '../../runtime/azure/network.ts';

/** Retries without waiting. */
export const AT_ONCE: NonNullable<Network['retry']> = { attempts: 3, sleep: async () => undefined };

export const OPERATOR = { name: 'operator', clientId: randomUUID(), principalId: randomUUID() };
/** Has an identity and no role. */
export const STRANGER = { name: 'stranger', clientId: randomUUID(), principalId: randomUUID() };

/** Some services of the emulator on ports of their own, with the metadata service that gives tokens for them. */
export class SmallAzure {
  readonly tls;
  readonly issuer = new TokenIssuer(randomUUID(), generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey);
  readonly faults = new FaultBoard();
  readonly requests: LoggedRequest[] = [];
  readonly roles: RoleAssignments;
  readonly routes: Record<string, number> = {};
  readonly network: Network;
  readonly #stops: (() => Promise<void>)[] = [];

  constructor(hosts: readonly string[]) {
    this.tls = createTlsMaterial(hosts, new Date());
    const assignments: RoleAssignment[] = [
      ROLES.owner,
      ROLES.storageBlobDataContributor,
      ROLES.monitoringMetricsPublisher,
    ].map((roleId) => ({ name: randomUUID(), scope: '/subscriptions/s', principalId: OPERATOR.principalId, roleId }));
    this.roles = new RoleAssignments(assignments, () => undefined);
    // The routes object is shared: a service added later is routed too.
    this.network = emulatorNetwork({ ca: this.tls.ca, routes: this.routes, retry: AT_ONCE });
  }

  async add(service: Omit<HostedService, 'tls'>): Promise<void> {
    const tls = service.service === 'metadata' ? {} : { tls: this.tls };
    const host = await hostService({ ...service, ...tls }, this);
    Object.assign(this.routes, host.routes);
    this.#stops.push(() => host.stop());
  }

  async addMetadata(machine?: Parameters<typeof metadataService>[0]['machine']): Promise<void> {
    const identities = [OPERATOR, STRANGER];
    const handler = metadataService({ issuer: this.issuer, identities, ...(machine === undefined ? {} : { machine }) });
    await this.add({ service: 'metadata', hosts: [METADATA_HOST], handler });
  }

  async stop(): Promise<void> {
    await Promise.all(this.#stops.map((stop) => stop()));
  }
}
