import { setTimeout as delay } from 'node:timers/promises';
import type { TableName } from '../catalogue.ts';
import type { BlobStore } from '../data/blob-store.ts';
import type { AttestationServices } from '../environment.ts';
import { LogDelivery, type LogRow } from '../log-delivery.ts';
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

/** After a call to the log service whose own attempts all failed. */
const LOG_PAUSE_MS = 15_000;
/** Metrics go together for so long; events take along what waits. */
const LOG_GATHER_MS = 2_000;

/** Everything outside the machine that a trainer speaks to, in the machine's own name. */
export interface AzureServices extends AttestationServices {
  readonly runs: BlobStore;
  readonly datasets: BlobStore;
  /** Sends rows in the background, again and again where it has to: training never waits for them. */
  log(table: TableName, rows: readonly LogRow[]): void;
  /** Waits for the rows on their way, not for ever. @returns how many did not get through, since the start */
  flushLogs(): Promise<number>;
  /** Gives this machine back to Azure: an operating system that only shuts down goes on being billed. */
  deallocate(): Promise<void>;
}

export function azureServices(network: Network, machine: MachineConfig): AzureServices {
  const credential = managedIdentity(network, machine.identityClientId);
  const trainer = blobStore(network, credential, machine.blobEndpoint, 'trainer');
  const delivery = new LogDelivery({
    send: (table, rows) => sendLogs(network, credential, machine.logs, table, rows),
    // At a run's end nothing else may keep the process alive.
    pause: () => delay(network.retry?.maxDelayInMs ?? LOG_PAUSE_MS),
    gather: () => delay(LOG_GATHER_MS, undefined, { ref: false }),
  });
  return {
    runs: blobStore(network, credential, machine.blobEndpoint, 'runs'),
    datasets: blobStore(network, credential, machine.blobEndpoint, 'datasets'),
    readVmId: () => readVmId(network),
    readCertificates: () => readThimCertificates(network),
    readRevocationList: (generation) => readRevocationList(trainer, generation),
    attestGuest: (authority, body) => attestAzureGuest(network, authority, body),
    fetchCertificates: (authority) => fetchCertificates(network, authority),
    releaser: (vaultHost) => vaultClient(network, credential, vaultHost),
    log: (table, rows) => delivery.add(table, rows),
    flushLogs: async () => (await delivery.flush()) + delivery.dropped,
    deallocate: () => deallocateMachine(network, credential, machine.vmResourceId),
  };
}
