import { BlobLeaseClient, type ContainerClient } from '@azure/storage-blob';
import type { BlobStore } from '../data/blob-store.ts';
import type { StoreCall } from './blob-store.ts';
import { httpFailure } from './http-failure.ts';

/** Statuses of a lease that is somebody else's or over: 409 conflict, 412 lost, 404 the blob is gone. */
const NOT_OURS: ReadonlySet<number | undefined> = new Set([404, 409, 412]);

/** Leases of the blobs of one container (REST reference "Lease Blob", table "Outcomes of use attempts on blobs by lease state"). */
export function blobLeases(
  client: ContainerClient,
  container: string,
  call: StoreCall,
): Pick<BlobStore, 'acquireLease' | 'renewLease' | 'releaseLease'> {
  const attempt = async (
    what: string,
    name: string,
    leaseId: string,
    act: (lease: BlobLeaseClient, signal: AbortSignal) => Promise<unknown>,
  ) =>
    call(`${what} of ${container}/${name}`, async (signal) => {
      try {
        await act(new BlobLeaseClient(client.getBlobClient(name), leaseId), signal);
        return true;
      } catch (error) {
        if (NOT_OURS.has(httpFailure(error)?.status)) return false;
        throw error;
      }
    });
  return {
    // Acquiring again with the id that holds the lease succeeds: that is how a restarted machine gets its own back.
    acquireLease: (name, leaseId, seconds) =>
      attempt('lease', name, leaseId, (lease, abortSignal) => lease.acquireLease(seconds, { abortSignal })),
    renewLease: (name, leaseId) =>
      attempt('lease', name, leaseId, (lease, abortSignal) => lease.renewLease({ abortSignal })),
    releaseLease: async (name, leaseId) => {
      await attempt('lease', name, leaseId, (lease, abortSignal) => lease.releaseLease({ abortSignal }));
    },
  };
}
