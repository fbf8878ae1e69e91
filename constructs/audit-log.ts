import { LogAnalyticsWorkspace } from '@cdktf/provider-azurerm/lib/log-analytics-workspace/index.js';
import { MonitorDiagnosticSetting } from '@cdktf/provider-azurerm/lib/monitor-diagnostic-setting/index.js';
import { Construct } from 'constructs';
import { requireMatch, requireWithin } from './misuse.ts';
import { nameOf } from './names.ts';
import type { PlacementProps } from './placement.ts';
import { ResourceLock } from './resource-lock.ts';

/**
 * Log categories of each audited service. Source: learn.microsoft.com, "Supported resource log categories".
 * `dedicated`: one table for the kind (AZKVAuditLogs) instead of AzureDiagnostics; only where the service keeps the setting,
 * elsewhere every plan would show it as a change.
 */
const CATEGORIES = {
  vault: { logs: ['AuditEvent', 'AzurePolicyEvaluationDetails'], dedicated: true },
  blob: { logs: ['StorageRead', 'StorageWrite', 'StorageDelete'], dedicated: false },
  attestation: { logs: ['AuditEvent', 'Operational', 'NotProcessed'], dedicated: false },
  workspace: { logs: ['Audit'], dedicated: false },
  collectionRule: { logs: ['LogErrors'], dedicated: false },
  virtualNetwork: { logs: ['VMProtectionAlerts'], dedicated: false },
  publicAddress: {
    logs: ['DDoSProtectionNotifications', 'DDoSMitigationFlowLogs', 'DDoSMitigationReports'],
    dedicated: false,
  },
  networkSecurityGroup: { logs: ['NetworkSecurityGroupEvent', 'NetworkSecurityGroupRuleCounter'], dedicated: false },
} as const;
export type AuditedService = keyof typeof CATEGORIES;

/** Where logs go: an {@link AuditLog}, or a workspace that exists. */
export interface AuditTarget {
  readonly workspaceId: string;
  /** Records every access to a resource; the setting belongs to `scope`. */
  record(scope: Construct, service: AuditedService, targetResourceId: string): void;
}

export interface AuditLogProps extends PlacementProps {
  /**
   * Days that logs stay searchable, 30 to 730.
   * @default 90
   */
  readonly retentionDays?: number;
  /**
   * Where queries may come from: only through a private link scope, or from anywhere with an Entra token.
   * @default 'private'
   */
  readonly queries?: 'private' | 'internet';
  /**
   * Keep the workspace from being deleted: it is the evidence of who used a key.
   * @default false
   */
  readonly deleteLock?: boolean;
}

/**
 * The workspace that every access is written to, queries of it included: no shared key, nothing taken in from a public
 * network. What is billed is each GB taken in, and each GB kept beyond 31 days by the month.
 * @example
 * const audit = new AuditLog(this, 'Audit', { resourceGroupName, location });
 */
export class AuditLog extends Construct implements AuditTarget {
  readonly workspaceId: string;

  constructor(scope: Construct, id: string, props: AuditLogProps) {
    super(scope, id);
    const workspace = new LogAnalyticsWorkspace(this, 'Resource', {
      name: nameOf(this, 'workspace', props.name),
      resourceGroupName: props.resourceGroupName,
      location: props.location,
      sku: 'PerGB2018',
      retentionInDays: requireWithin(this, 'retentionDays', props.retentionDays ?? 90, 30, 730),
      localAuthenticationEnabled: false,
      internetIngestionEnabled: false,
      internetQueryEnabled: props.queries === 'internet',
      ...(props.tags === undefined ? {} : { tags: props.tags }),
    });
    this.workspaceId = workspace.id;
    this.record(this, 'workspace', workspace.id);
    if (props.deleteLock ?? false) {
      new ResourceLock(this, 'Lock', {
        resourceId: workspace.id,
        reason: 'who used which key, dataset and machine is on record here',
      });
    }
  }

  /** A workspace of the landing zone. */
  static fromWorkspaceId(scope: Construct, id: string, workspaceId: string): AuditTarget {
    const place = new Construct(scope, id);
    requireMatch(
      place,
      'workspaceId',
      workspaceId,
      /\/Microsoft\.OperationalInsights\/workspaces\/[^/]+$/i,
      'the resource id of a Log Analytics workspace',
    );
    return { workspaceId, record: (at, service, target) => recordAccess(at, workspaceId, service, target) };
  }

  record(scope: Construct, service: AuditedService, targetResourceId: string): void {
    recordAccess(scope, this.workspaceId, service, targetResourceId);
  }
}

function recordAccess(scope: Construct, workspaceId: string, service: AuditedService, targetResourceId: string): void {
  const { logs, dedicated } = CATEGORIES[service];
  new MonitorDiagnosticSetting(scope, 'Audit', {
    name: 'audit',
    targetResourceId,
    logAnalyticsWorkspaceId: workspaceId,
    enabledLog: logs.map((category) => ({ category })),
    ...(dedicated ? { logAnalyticsDestinationType: 'Dedicated' } : {}),
  });
}
