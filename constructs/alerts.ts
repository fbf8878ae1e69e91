import { MonitorActivityLogAlert } from '@cdktf/provider-azurerm/lib/monitor-activity-log-alert/index.js';
import { MonitorScheduledQueryRulesAlertV2 } from '@cdktf/provider-azurerm/lib/monitor-scheduled-query-rules-alert-v2/index.js';
import { Construct } from 'constructs';
import { type AlertRule, alertKql } from '../runtime/alerts/rule.ts';
import type { ActionGroupReference } from './action-group.ts';
import { misuse } from './misuse.ts';
import type { PlacementProps } from './placement.ts';

export interface AlertsProps extends PlacementProps {
  /** Resource id of the workspace that has the tables of the rules. */
  readonly workspaceId: string;
  /** Each with a name of its own: `ownerAlerts(…)` and `platformAlerts(…)`, all or some, or rules of your own. */
  readonly rules: readonly AlertRule[];
  /** Resource id of the group whose activity log is watched. */
  readonly resourceGroupId: string;
  /**
   * Who is told.
   * @default - nobody: alerts fire and are seen by whoever looks
   */
  readonly actionGroup?: ActionGroupReference;
}

/**
 * Alerts on what logs show: one for each rule, with its severity and its entry in docs/runbook.md. Rules on the activity log are
 * free and need no workspace; the others are billed by the month, by how often they look.
 * @example
 * new Alerts(this, 'Alerts', { ...place, workspaceId, resourceGroupId, rules: platformAlerts({ flowLogs: false }), actionGroup });
 */
export class Alerts extends Construct {
  constructor(scope: Construct, id: string, props: AlertsProps) {
    super(scope, id);
    for (const rule of props.rules) {
      if (!/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(rule.name)) {
        throw misuse(this, 'rules', 'rules whose names are lower-case words with hyphens', rule.name);
      }
      if (rule.table === 'AzureActivity') this.#activity(rule, props);
      else this.#query(rule, props);
    }
  }

  #query(rule: AlertRule, { workspaceId, actionGroup, ...place }: AlertsProps): void {
    const { name, title, severity, everyMinutes, dimensions } = rule;
    new MonitorScheduledQueryRulesAlertV2(this, name, {
      ...placed(place),
      location: place.location,
      name: alertName(place.name, name),
      displayName: title,
      description: described(rule),
      severity,
      scopes: [workspaceId],
      evaluationFrequency: `PT${everyMinutes}M`,
      windowDuration: `PT${everyMinutes}M`,
      // The query looks at when rows arrived, and says itself how far back.
      queryTimeRangeOverride: 'P2D',
      criteria: [
        {
          query: alertKql(rule),
          timeAggregationMethod: 'Count',
          operator: 'GreaterThan',
          threshold: 0,
          dimension: Object.keys(dimensions).map((name) => ({ name, operator: 'Include', values: ['*'] })),
          failingPeriods: { minimumFailingPeriodsToTriggerAlert: 1, numberOfEvaluationPeriods: 1 },
        },
      ],
      autoMitigationEnabled: true,
      // A workspace has Azure's tables only once their first row has come.
      skipQueryValidation: true,
      ...(actionGroup === undefined
        ? {}
        : { action: { actionGroups: [actionGroup.actionGroupId], customProperties: { Runbook: runbook(name) } } }),
    });
  }

  /** The activity log has alerts of its own, at once and for nothing; each is about one operation. */
  #activity(rule: AlertRule, { resourceGroupId, actionGroup, ...place }: AlertsProps): void {
    for (const operationName of operationsOf(this, rule)) {
      const suffix = operationName.split('/').slice(1).join('-').toLowerCase();
      new MonitorActivityLogAlert(this, `${rule.name}-${suffix}`, {
        ...placed(place),
        location: 'global',
        name: alertName(place.name, `${rule.name}-${suffix}`),
        description: described(rule),
        scopes: [resourceGroupId],
        criteria: { category: 'Administrative', operationName, status: 'Succeeded' },
        ...(actionGroup === undefined
          ? {}
          : {
              action: [
                { actionGroupId: actionGroup.actionGroupId, webhookProperties: { Runbook: runbook(rule.name) } },
              ],
            }),
      });
    }
  }
}

/** The operations that a rule on the activity log is about: there is no other kind. */
function operationsOf(scope: Construct, { name, where }: AlertRule): readonly string[] {
  const parts = 'all' in where ? where.all : [where];
  const found = parts.flatMap((part) => ('oneOf' in part && part.column === 'OperationNameValue' ? part.oneOf : []));
  if (found.length > 0) return found;
  throw misuse(scope, 'rules', 'rules on AzureActivity that say which operations', name);
}

function placed({ resourceGroupName, tags }: PlacementProps) {
  return { resourceGroupName, ...(tags === undefined ? {} : { tags }) };
}

function alertName(prefix: string | undefined, name: string): string {
  return `${prefix ?? 'alert'}-${name}`;
}

function described({ title, name }: AlertRule): string {
  return `${title}. What to do: ${runbook(name)}`;
}

function runbook(name: string): string {
  return `docs/runbook.md#${name}`;
}
