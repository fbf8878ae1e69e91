import type { TableName } from '../catalogue.ts';
import type { BlobStore } from '../data/blob-store.ts';
import type { AttestationServices } from '../environment.ts';
import type { MachineConfig } from '../machine-config.ts';
import { readRevocationList } from '../read-revocation-list.ts';
import { attestAzureGuest, fetchCertificates } from './attestation-client.ts';
import { blobStore } from './blob-store.ts';
import { managedIdentity } from './identity.ts';
import { sendLogs } from './log-ingestion.ts';
import { readThimCertificates, readVmId } from './metadata.ts';
import type { Network } from './network.ts';
import { deallocateMachine } from './resource-manager.ts';
import { vaultClient } from './vault.ts';

/** Everything outside the machine that a trainer speaks to, in the machine's own name. */
export interface AzureServices extends AttestationServices {
  readonly runs: BlobStore;
  readonly datasets: BlobStore;
  /** Sends rows in the background; logs that cannot be delivered are dropped, since training never waits for them. */
  log(table: TableName, rows: readonly Readonly<Record<string, unknown>>[]): void;
  /** Waits for the rows on their way. */
  flushLogs(): Promise<void>;
  /** Gives this machine back to Azure: an operating system that only shuts down goes on being billed. */
  deallocate(): Promise<void>;
}

export function azureServices(network: Network, machine: MachineConfig): AzureServices {
  const credential = managedIdentity(network, machine.identityClientId);
  const trainer = blobStore(network, credential, machine.blobEndpoint, 'trainer');
  let onTheWay: Promise<unknown> = Promise.resolve();
  const waiting = new Map<TableName, Readonly<Record<string, unknown>>[]>();
  return {
    runs: blobStore(network, credential, machine.blobEndpoint, 'runs'),
    datasets: blobStore(network, credential, machine.blobEndpoint, 'datasets'),
    readVmId: () => readVmId(network),
    readCertificates: () => readThimCertificates(network),
    readRevocationList: (generation) => readRevocationList(trainer, generation),
    attestGuest: (authority, body) => attestAzureGuest(network, authority, body),
    fetchCertificates: (authority) => fetchCertificates(network, authority),
    releaser: (vaultHost) => vaultClient(network, credential, vaultHost),
    log: (table, rows) => {
      const queue = waiting.get(table) ?? [];
      queue.push(...rows);
      waiting.set(table, queue);
      // What gathers while one call is under way goes with the next.
      onTheWay = onTheWay
        .then(() => sendLogs(network, credential, machine.logs, table, queue.splice(0)))
        .catch(() => undefined);
    },
    flushLogs: async () => {
      await onTheWay;
    },
    deallocate: () => deallocateMachine(network, credential, machine.vmResourceId),
  };
}
