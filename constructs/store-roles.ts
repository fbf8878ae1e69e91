import type { Construct } from 'constructs';
import type { Container } from '../runtime/catalogue.ts';
import { connect, type Grantee, grantRole } from './grantee.ts';
import type { ServiceEndpoint } from './private-access.ts';

const READ = 'Storage Blob Data Reader';
const WRITE = 'Storage Blob Data Contributor';

/** The roles there are on a store, by what somebody does with it. */
export interface StoreRoles {
  /** What a trainer does: read datasets and bundles, work on runs. Tells it where the store is. */
  grantTraining(to: Grantee): void;
  /** What data owners and model owners do: upload datasets, queue and follow runs. */
  grantUpload(to: Grantee): void;
  /** What a release pipeline does: publish trainer bundles. */
  grantPublish(to: Grantee): void;
}

/** Grants on containers and never on the account. */
export function storeRoles(
  giver: Construct,
  containerId: (container: Container) => string,
  endpoint: ServiceEndpoint,
): StoreRoles {
  const grant = (id: string, to: Grantee, container: Container, role: string, reason: string) =>
    grantRole(giver, id, to, { scope: containerId(container), role, reason });
  return {
    grantTraining(to) {
      grant('ReadDatasets', to, 'datasets', READ, 'reads sealed objects and manifests');
      grant('ReadBundles', to, 'trainer', READ, 'fetches the bundle that its digest names, at boot');
      grant('WorkRuns', to, 'runs', WRITE, 'takes queued runs, writes checkpoints, models and receipts');
      connect(to, endpoint);
    },
    grantUpload(to) {
      grant('WriteDatasets', to, 'datasets', WRITE, 'uploads sealed objects and manifests');
      grant('QueueRuns', to, 'runs', WRITE, 'proposes, approves and queues runs, fetches models and receipts');
    },
    grantPublish(to) {
      grant('WriteBundles', to, 'trainer', WRITE, 'publishes trainer bundles under their digest');
    },
  };
}
