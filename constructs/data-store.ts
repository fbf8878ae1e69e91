import { StorageAccount } from '@cdktf/provider-azurerm/lib/storage-account/index.js';
import { StorageContainer } from '@cdktf/provider-azurerm/lib/storage-container/index.js';
import { Construct } from 'constructs';
import { CONTAINERS, type Container } from '../runtime/catalogue.ts';
import type { AuditTarget } from './audit-log.ts';
import { type Grantee, grantRole } from './grantee.ts';
import { requireWithin } from './misuse.ts';
import { nameOf } from './names.ts';
import type { PlacementProps } from './placement.ts';
import { PrivateAccess, type PrivateAccessOptions } from './private-access.ts';

const READ = 'Storage Blob Data Reader';
const WRITE = 'Storage Blob Data Contributor';

export interface DataStoreProps extends PlacementProps {
  /** The only way in; the account has no public network. */
  readonly privateAccess: PrivateAccessOptions;
  /** Where every read, write and delete is recorded. */
  readonly audit: AuditTarget;
  /**
   * Days a deleted or overwritten blob stays recoverable, 1 to 365. Longer costs the space of what was overwritten.
   * @default 30
   */
  readonly retentionDays?: number;
  /**
   * Copies of every blob. Across zones survives a building, across regions survives a region and leaves the region.
   * @default 'ZRS'
   */
  readonly replication?: 'LRS' | 'ZRS' | 'GZRS';
  /**
   * Refuse a plan that would destroy the account.
   * @default true
   */
  readonly preventDestroy?: boolean;
}

/**
 * Storage that only ever sees ciphertext: no public network, no shared keys, old versions kept, a container for each
 * name of the catalogue. About 0.02 USD a GB and month, and the endpoint.
 * @example
 * const store = new DataStore(this, 'Store', { ...place, privateAccess, audit, retentionDays: 90 });
 * store.grantTraining(trainer);
 */
export class DataStore extends Construct {
  readonly accountId: string;
  readonly accountName: string;
  /** `https://ACCOUNT.blob.core.windows.net`, without a slash at the end. */
  readonly blobEndpoint: string;
  readonly #containers: ReadonlyMap<Container, string>;

  constructor(scope: Construct, id: string, props: DataStoreProps) {
    super(scope, id);
    const days = requireWithin(this, 'retentionDays', props.retentionDays ?? 30, 1, 365);
    const name = nameOf(this, 'storageAccount', props.name);
    // 'Resource' is part of the Terraform address: renaming it replaces the account.
    const account = new StorageAccount(this, 'Resource', {
      name,
      resourceGroupName: props.resourceGroupName,
      location: props.location,
      accountKind: 'StorageV2',
      accountTier: 'Standard',
      accountReplicationType: props.replication ?? 'ZRS',
      minTlsVersion: 'TLS1_2',
      httpsTrafficOnlyEnabled: true,
      publicNetworkAccessEnabled: false,
      networkRules: { defaultAction: 'Deny', bypass: ['None'] },
      allowNestedItemsToBePublic: false,
      allowedCopyScope: 'PrivateLink',
      crossTenantReplicationEnabled: false,
      sharedAccessKeyEnabled: false,
      defaultToOauthAuthentication: true,
      localUserEnabled: false,
      infrastructureEncryptionEnabled: true,
      blobProperties: {
        versioningEnabled: true,
        deleteRetentionPolicy: { days },
        containerDeleteRetentionPolicy: { days },
      },
      lifecycle: { preventDestroy: props.preventDestroy ?? true },
      ...(props.tags === undefined ? {} : { tags: props.tags }),
    });
    // By account id and not by name: that way the provider stays on the control plane.
    this.#containers = new Map(
      CONTAINERS.map((name) => [name, new StorageContainer(this, name, { name, storageAccountId: account.id }).id]),
    );
    props.audit.record(this, 'blob', `${account.id}/blobServices/default`);
    new PrivateAccess(this, 'Access', {
      resourceGroupName: props.resourceGroupName,
      location: props.location,
      ...(props.tags === undefined ? {} : { tags: props.tags }),
      ...props.privateAccess,
      service: 'blob',
      targetId: account.id,
    });
    this.accountId = account.id;
    this.accountName = name;
    this.blobEndpoint = `https://${name}.blob.core.windows.net`;
  }

  /** What a trainer does: read datasets and bundles, work on runs. */
  grantTraining(to: Grantee): void {
    this.#grant('ReadDatasets', to, 'datasets', READ, 'reads sealed objects and manifests');
    this.#grant('ReadBundles', to, 'trainer', READ, 'fetches the bundle that its digest names, at boot');
    this.#grant('WorkRuns', to, 'runs', WRITE, 'takes queued runs, writes checkpoints, models and receipts');
  }

  /** What data owners and model owners do: upload datasets, queue and follow runs. */
  grantUpload(to: Grantee): void {
    this.#grant('WriteDatasets', to, 'datasets', WRITE, 'uploads sealed objects and manifests');
    this.#grant('QueueRuns', to, 'runs', WRITE, 'proposes, approves and queues runs, fetches models and receipts');
  }

  /** What a release pipeline does: publish trainer bundles. */
  grantPublish(to: Grantee): void {
    this.#grant('WriteBundles', to, 'trainer', WRITE, 'publishes trainer bundles under their digest');
  }

  #grant(id: string, to: Grantee, container: Container, role: string, reason: string): void {
    grantRole(this, id, to, { scope: this.#containers.get(container) ?? this.accountId, role, reason });
  }
}
