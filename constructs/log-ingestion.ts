import { LogAnalyticsWorkspaceTableCustomLog } from '@cdktf/provider-azurerm/lib/log-analytics-workspace-table-custom-log/index.js';
import { MonitorDataCollectionEndpoint } from '@cdktf/provider-azurerm/lib/monitor-data-collection-endpoint/index.js';
import { MonitorDataCollectionRule } from '@cdktf/provider-azurerm/lib/monitor-data-collection-rule/index.js';
import { MonitorPrivateLinkScope } from '@cdktf/provider-azurerm/lib/monitor-private-link-scope/index.js';
import { MonitorPrivateLinkScopedService } from '@cdktf/provider-azurerm/lib/monitor-private-link-scoped-service/index.js';
import { Fn } from 'cdktf';
import { Construct } from 'constructs';
import { TABLES, type TableColumn, type TableName } from '../runtime/catalogue.ts';
import type { AuditTarget } from './audit-log.ts';
import { connect, type Grantee, grantRole } from './grantee.ts';
import { requireMatch, requireWithin } from './misuse.ts';
import { nameOf } from './names.ts';
import type { PlacementProps } from './placement.ts';
import { PrivateAccess, type PrivateAccessOptions, type ServiceEndpoint } from './private-access.ts';

export interface LogIngestionProps extends PlacementProps {
  readonly audit: AuditTarget;
  /**
   * The way in. A private link scope changes where all of Azure Monitor resolves in its network: one a network.
   * @default - no private link scope here: the network's own one has to name endpoint and workspace
   */
  readonly privateAccess?: Omit<PrivateAccessOptions, 'address'>;
  /**
   * Days that the trainers' own logs stay searchable, 30 to 730.
   * @default - as long as the workspace keeps what it has no other rule for
   */
  readonly retentionDays?: number;
}

/** Where trainers send to: made here, or there already. */
export interface LogIngestionReference {
  readonly endpoint: string;
  readonly ruleId: string;
  /** Lets an identity send rows, and nothing else: it cannot read what was written. */
  grantSend(to: Grantee): void;
}

/**
 * What the trainers write their own metrics and security events to: a table for each entry of the catalogue, an endpoint,
 * and the rule that joins them. There is no agent in a trainer: it calls the Logs Ingestion API itself.
 * Free but for what the workspace takes in, and the endpoint of the private link scope.
 * @example
 * const logs = new LogIngestion(this, 'Logs', { ...place, audit });
 * logs.grantSend(trainer);
 */
export class LogIngestion extends Construct implements LogIngestionReference {
  /** `https://…ingest.monitor.azure.com`, known after apply. */
  readonly endpoint: string;
  /** Immutable id of the rule, known after apply. */
  readonly ruleId: string;
  readonly #ruleResourceId: string;
  readonly #host: ServiceEndpoint;

  constructor(scope: Construct, id: string, props: LogIngestionProps) {
    super(scope, id);
    const days = props.retentionDays;
    if (days !== undefined) requireWithin(this, 'retentionDays', days, 30, 730);
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
          ...(days === undefined ? {} : { retentionInDays: days, totalRetentionInDays: days }),
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
    const hostName = Fn.trimprefix(endpoint.logsIngestionEndpoint, 'https://');
    let address: string | undefined;
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
      // The names behind the endpoint are those of what is linked when it is made.
      const dependencies = [link('ScopedEndpoint', endpoint.id), link('ScopedWorkspace', workspaceId)];
      const access = new PrivateAccess(this, 'Access', {
        ...place,
        ...props.privateAccess,
        service: 'monitor',
        targetId: linkScope.id,
        dependencies,
      });
      address = access.addressOf(hostName);
    }
    props.audit.record(this, 'collectionRule', rule.id);
    this.endpoint = endpoint.logsIngestionEndpoint;
    this.#host = { service: 'monitor', hostName, address };
    this.ruleId = rule.immutableId;
    this.#ruleResourceId = rule.id;
  }

  /** An endpoint and a rule that exist, with the tables and streams of the catalogue. */
  static fromRuleId(
    scope: Construct,
    id: string,
    rule: { readonly resourceId: string; readonly immutableId: string; readonly endpoint: string },
  ): LogIngestionReference {
    const place = new Construct(scope, id);
    const { resourceId, immutableId, endpoint } = rule;
    const pattern = /\/Microsoft\.Insights\/dataCollectionRules\/[^/]+$/i;
    requireMatch(place, 'resourceId', resourceId, pattern, 'the resource id of a data collection rule');
    requireMatch(place, 'endpoint', endpoint, /^https:\/\/[a-z0-9.-]+$/, 'an https origin');
    const host: ServiceEndpoint = { service: 'monitor', hostName: new URL(endpoint).hostname };
    return { endpoint, ruleId: immutableId, grantSend: (to) => grantSend(place, resourceId, host, to) };
  }

  grantSend(to: Grantee): void {
    grantSend(this, this.#ruleResourceId, this.#host, to);
  }
}

function grantSend(giver: Construct, ruleResourceId: string, host: ServiceEndpoint, to: Grantee): void {
  grantRole(giver, 'Send', to, {
    scope: ruleResourceId,
    role: 'Monitoring Metrics Publisher',
    reason: 'sends the metrics and security events of a training run',
  });
  connect(to, host);
}

function columnsOf(table: TableName): readonly TableColumn[] {
  return TABLES[table];
}
