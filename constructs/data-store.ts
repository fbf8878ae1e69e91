import { StorageAccount } from '@cdktf/provider-azurerm/lib/storage-account/index.js';
import { StorageContainer } from '@cdktf/provider-azurerm/lib/storage-container/index.js';
import { Construct } from 'constructs';
import { CONTAINERS, type Container } from '../runtime/catalogue.ts';
import type { AuditTarget } from './audit-log.ts';
import type { CustomerKeyReference } from './customer-key.ts';
import { waitFor } from './dependencies.ts';
import type { Grantee } from './grantee.ts';
import { misuse, requireWithin } from './misuse.ts';
import { nameOf } from './names.ts';
import type { PlacementProps } from './placement.ts';
import { addPrivateAccess, type PrivateAccessOptions } from './private-access.ts';
import { PRIVATE_ACCOUNT } from './private-account.ts';
import { type StoreRoles, storeRoles } from './store-roles.ts';

/** A store by what others need of it: one made here, or one that exists. */
export interface DataStoreReference extends StoreRoles {
  readonly accountId: string;
  readonly accountName: string;
  /** `https://ACCOUNT.blob.core.windows.net`, without a slash at the end. */
  readonly blobEndpoint: string;
  /** Address of its private endpoint, where it is known. */
  readonly address: string | undefined;
}

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
   * Key that the account encrypts with at rest, beneath the encryption that data owners seal with.
   * @default - a key that Azure keeps
   */
  readonly customerKey?: CustomerKeyReference;
  /**
   * Refuse a plan that would destroy the account.
   * @default true
   */
  readonly preventDestroy?: boolean;
}

/**
 * Storage that only ever sees ciphertext: no public network, no shared keys, old versions kept, a container for each
 * name of the catalogue. What is billed is each GB kept, old versions and copies included, operations, and the endpoint.
 * @example
 * const store = new DataStore(this, 'Store', { ...place, privateAccess, audit, retentionDays: 90 });
 * store.grantTraining(trainer);
 */
export class DataStore extends Construct implements DataStoreReference {
  readonly accountId: string;
  readonly accountName: string;
  /** `https://ACCOUNT.blob.core.windows.net`, without a slash at the end. */
  readonly blobEndpoint: string;
  /** Address of its private endpoint. */
  readonly address: string | undefined;
  readonly #roles: StoreRoles;

  constructor(scope: Construct, id: string, props: DataStoreProps) {
    super(scope, id);
    const days = requireWithin(this, 'retentionDays', props.retentionDays ?? 30, 1, 365);
    const name = nameOf(this, 'storageAccount', props.name);
    // 'Resource' is part of the Terraform address: renaming it replaces the account.
    const account = new StorageAccount(this, 'Resource', {
      ...PRIVATE_ACCOUNT,
      name,
      resourceGroupName: props.resourceGroupName,
      location: props.location,
      accountReplicationType: props.replication ?? 'ZRS',
      networkRules: { defaultAction: 'Deny', bypass: ['None'] },
      blobProperties: {
        versioningEnabled: true,
        deleteRetentionPolicy: { days },
        containerDeleteRetentionPolicy: { days },
      },
      ...customerKeyOf(props.customerKey),
      ...waitFor(this, props.customerKey?.dependencies),
      lifecycle: { preventDestroy: props.preventDestroy ?? true },
      ...(props.tags === undefined ? {} : { tags: props.tags }),
    });
    // By account id and not by name: that way the provider stays on the control plane.
    const containers = new Map<Container, string>(
      CONTAINERS.map((name) => [name, new StorageContainer(this, name, { name, storageAccountId: account.id }).id]),
    );
    props.audit.record(this, 'blob', `${account.id}/blobServices/default`);
    this.address = addPrivateAccess(this, 'blob', account.id, props)?.address;
    this.accountId = account.id;
    this.accountName = name;
    this.blobEndpoint = `https://${hostOf(name)}`;
    this.#roles = storeRoles(this, (container) => containers.get(container) ?? account.id, {
      service: 'blob',
      hostName: hostOf(name),
      address: this.address,
    });
  }

  /** An account that exists, with the containers of the catalogue in it. */
  static fromAccountId(scope: Construct, id: string, accountId: string, address?: string): DataStoreReference {
    const place = new Construct(scope, id);
    const [, name] = /\/providers\/Microsoft\.Storage\/storageAccounts\/([a-z0-9]{3,24})$/.exec(accountId) ?? [];
    if (name === undefined) throw misuse(place, 'accountId', 'the resource id of a storage account', accountId);
    const containerId = (container: Container) => `${accountId}/blobServices/default/containers/${container}`;
    return {
      accountId,
      accountName: name,
      blobEndpoint: `https://${hostOf(name)}`,
      address,
      ...storeRoles(place, containerId, { service: 'blob', hostName: hostOf(name), address }),
    };
  }

  grantTraining(to: Grantee): void {
    this.#roles.grantTraining(to);
  }

  grantUpload(to: Grantee): void {
    this.#roles.grantUpload(to);
  }

  grantPublish(to: Grantee): void {
    this.#roles.grantPublish(to);
  }
}

function hostOf(accountName: string): string {
  return `${accountName}.blob.core.windows.net`;
}

function customerKeyOf(key: CustomerKeyReference | undefined) {
  if (key === undefined) return {};
  return {
    identity: { type: 'UserAssigned', identityIds: [key.identityId] },
    customerManagedKey: { keyVaultKeyId: key.keyUri, userAssignedIdentityId: key.identityId },
  };
}
