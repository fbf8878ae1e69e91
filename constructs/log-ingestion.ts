import { LogAnalyticsWorkspaceTableCustomLog } from '@cdktf/provider-azurerm/lib/log-analytics-workspace-table-custom-log/index.js';
import { MonitorDataCollectionEndpoint } from '@cdktf/provider-azurerm/lib/monitor-data-collection-endpoint/index.js';
import { MonitorDataCollectionRule } from '@cdktf/provider-azurerm/lib/monitor-data-collection-rule/index.js';
import { MonitorPrivateLinkScope } from '@cdktf/provider-azurerm/lib/monitor-private-link-scope/index.js';
import { MonitorPrivateLinkScopedService } from '@cdktf/provider-azurerm/lib/monitor-private-link-scoped-service/index.js';
import { Construct } from 'constructs';
import { TABLES, type TableColumn, type TableName } from '../runtime/catalogue.ts';
import type { AuditTarget } from './audit-log.ts';
import { type Grantee, grantRole } from './grantee.ts';
import { requireWithin } from './misuse.ts';
import { nameOf } from './names.ts';
import type { PlacementProps } from './placement.ts';
import { PrivateAccess, type PrivateAccessOptions } from './private-access.ts';

export interface LogIngestionProps extends PlacementProps {
  readonly audit: AuditTarget;
  /**
   * The way in. A private link scope changes where all of Azure Monitor resolves in its network: one a network.
   * @default - no private link scope here: the network's own one has to name endpoint and workspace
   */
  readonly privateAccess?: Omit<PrivateAccessOptions, 'address'>;
  /**
   * Days that the trainers' own logs stay searchable, 30 to 730.
   * @default 90
   */
  readonly retentionDays?: number;
}

/**
 * What the trainers write their own metrics and security events to: a table for each entry of the catalogue, an endpoint,
 * and the rule that joins them. There is no agent in a trainer: it calls the Logs Ingestion API itself.
 * Free but for what the workspace takes in, and the endpoint of the private link scope: about 7 USD a month.
 * @example
 * const logs = new LogIngestion(this, 'Logs', { ...place, audit });
 * logs.grantSend(trainer);
 */
export class LogIngestion extends Construct {
  /** `https://…ingest.monitor.azure.com`, known after apply. */
  readonly endpoint: string;
  /** Immutable id of the rule, known after apply. */
  readonly ruleId: string;
  readonly #ruleResourceId: string;

  constructor(scope: Construct, id: string, props: LogIngestionProps) {
    super(scope, id);
    const retentionInDays = requireWithin(this, 'retentionDays', props.retentionDays ?? 90, 30, 730);
    const place = {
      resourceGroupName: props.resourceGroupName,
      location: props.location,
      ...(props.tags === undefined ? {} : { tags: props.tags }),
    };
    const names = Object.keys(TABLES) as TableName[];
    const workspaceId = props.audit.workspaceId;
    const tables = names.map(
      (name) =>
        new LogAnalyticsWorkspaceTableCustomLog(this, name, {
          name: `${name}_CL`,
          workspaceId,
          retentionInDays,
          totalRetentionInDays: retentionInDays,
          // Tables spell it dateTime, streams datetime; everything else alike.
          column: columnsOf(name).map(({ name, type }) => ({ name, type: type === 'datetime' ? 'dateTime' : type })),
        }),
    );
    const endpoint = new MonitorDataCollectionEndpoint(this, 'Endpoint', {
      ...place,
      name: nameOf(this, 'dataCollectionEndpoint', props.name),
      publicNetworkAccessEnabled: false,
    });
    const rule = new MonitorDataCollectionRule(this, 'Resource', {
      ...place,
      name: nameOf(this, 'dataCollectionRule', props.name),
      dataCollectionEndpointId: endpoint.id,
      streamDeclaration: names.map((name) => ({
        streamName: `Custom-${name}`,
        column: columnsOf(name).map(({ name, type }) => ({ name, type })),
      })),
      destinations: { logAnalytics: [{ name: 'workspace', workspaceResourceId: workspaceId }] },
      dataFlow: names.map((name) => ({
        streams: [`Custom-${name}`],
        destinations: ['workspace'],
        outputStream: `Custom-${name}_CL`,
        transformKql: 'source',
      })),
      dependsOn: tables,
    });
    if (props.privateAccess !== undefined) {
      const linkScope = new MonitorPrivateLinkScope(this, 'Scope', {
        name: nameOf(this, 'privateLinkScope', props.name),
        resourceGroupName: props.resourceGroupName,
        ingestionAccessMode: 'PrivateOnly',
        // Open, because closing queries here would close them for every workspace that this network asks.
        queryAccessMode: 'Open',
        ...(props.tags === undefined ? {} : { tags: props.tags }),
      });
      const link = (id: string, linkedResourceId: string) =>
        new MonitorPrivateLinkScopedService(this, id, {
          name: id.toLowerCase(),
          resourceGroupName: props.resourceGroupName,
          scopeName: linkScope.name,
          linkedResourceId,
        });
      link('ScopedEndpoint', endpoint.id);
      link('ScopedWorkspace', workspaceId);
      new PrivateAccess(this, 'Access', {
        ...place,
        ...props.privateAccess,
        service: 'monitor',
        targetId: linkScope.id,
      });
    }
    this.endpoint = endpoint.logsIngestionEndpoint;
    this.ruleId = rule.immutableId;
    this.#ruleResourceId = rule.id;
  }

  /** Lets an identity send rows, and nothing else: it cannot read what was written. */
  grantSend(to: Grantee): void {
    grantRole(this, 'Send', to, {
      scope: this.#ruleResourceId,
      role: 'Monitoring Metrics Publisher',
      reason: 'sends the metrics and security events of a training run',
    });
  }
}

function columnsOf(table: TableName): readonly TableColumn[] {
  return TABLES[table];
}
