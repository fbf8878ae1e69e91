import { StorageAccount } from '@cdktf/provider-azurerm/lib/storage-account/index.js';
import { UserAssignedIdentity } from '@cdktf/provider-azurerm/lib/user-assigned-identity/index.js';
import { Construct } from 'constructs';
import type { AuditTarget } from './audit-log.ts';
import { grantRole } from './grantee.ts';
import { requireWithin } from './misuse.ts';
import { checkName, nameOf } from './names.ts';
import type { PlacementProps } from './placement.ts';
import { addPrivateAccess, type PrivateAccessOptions } from './private-access.ts';
import { PRIVATE_ACCOUNT } from './private-account.ts';
import { deployTemplate } from './template.ts';

export interface FlowLogsProps extends PlacementProps {
  readonly virtualNetworkId: string;
  /** Where every look at the flow logs is recorded. */
  readonly audit: AuditTarget;
  /**
   * Days that flows are kept, 90 to 365.
   * @default 90
   */
  readonly retentionDays?: number;
  /**
   * The region's network watcher.
   * @default - the one Azure makes by itself: NetworkWatcher_REGION in NetworkWatcherRG
   */
  readonly networkWatcher?: { readonly name: string; readonly resourceGroupName: string };
  /**
   * The way to read them.
   * @default - none here
   */
  readonly privateAccess?: PrivateAccessOptions;
}

/**
 * Records every flow of a network, in an account of its own that nobody has a key to: the watcher writes with an identity.
 * Through a template, because azurerm's own resource knows no identity and would need the account's key. Destroying it
 * leaves the flow log with its watcher: `az network watcher flow-log delete`.
 * What is billed is each GB of flows collected and kept.
 * @example
 * new FlowLogs(this, 'Flows', { ...place, virtualNetworkId: network.virtualNetworkId, audit });
 */
export class FlowLogs extends Construct {
  readonly accountId: string;

  constructor(scope: Construct, id: string, props: FlowLogsProps) {
    super(scope, id);
    const days = requireWithin(this, 'retentionDays', props.retentionDays ?? 90, 90, 365);
    const tags = props.tags === undefined ? {} : { tags: props.tags };
    const place = { resourceGroupName: props.resourceGroupName, location: props.location, ...tags };
    const name = nameOf(this, 'storageAccount', props.name);
    const account = new StorageAccount(this, 'Resource', {
      ...PRIVATE_ACCOUNT,
      ...place,
      name,
      accountReplicationType: 'ZRS',
      // The watcher comes from no network of ours; it is let in as a trusted service, and by its role.
      networkRules: { defaultAction: 'Deny', bypass: ['AzureServices'] },
      blobProperties: { deleteRetentionPolicy: { days: 30 }, containerDeleteRetentionPolicy: { days: 30 } },
    });
    props.audit.record(this, 'blob', `${account.id}/blobServices/default`);
    addPrivateAccess(this, 'blob', account.id, props);
    const flowLog = checkName(this, 'flowLog', `flow-${name}`);
    const identity = new UserAssignedIdentity(this, 'Identity', {
      ...place,
      name: checkName(this, 'identity', `id-${flowLog}`),
    });
    const write = grantRole(this, 'Write', identity, {
      scope: account.id,
      role: 'Storage Blob Data Contributor',
      reason: 'the network watcher writes flow logs, in a container that it makes',
    });
    const watcher = props.networkWatcher ?? {
      name: `NetworkWatcher_${props.location}`,
      resourceGroupName: 'NetworkWatcherRG',
    };
    deployTemplate(this, 'FlowLog', {
      name: flowLog,
      resourceGroupName: watcher.resourceGroupName,
      resource: {
        type: 'Microsoft.Network/networkWatchers/flowLogs',
        apiVersion: '2024-05-01',
        name: `${watcher.name}/${flowLog}`,
        location: props.location,
        ...tags,
        identity: { type: 'UserAssigned', userAssignedIdentities: { [identity.id]: {} } },
        properties: {
          targetResourceId: props.virtualNetworkId,
          storageId: account.id,
          enabled: true,
          format: { type: 'JSON', version: 2 },
          retentionPolicy: { enabled: true, days },
        },
      },
      outputs: {},
      dependsOn: [write],
      ...tags,
    });
    this.accountId = account.id;
  }
}
