import { ConsumptionBudgetResourceGroup } from '@cdktf/provider-azurerm/lib/consumption-budget-resource-group/index.js';
import { Construct } from 'constructs';
import type { ActionGroupReference } from './action-group.ts';
import { requireMatch, requireWithin } from './misuse.ts';
import { nameOf } from './names.ts';

/** When somebody is told, in per cent of the amount: spent so far, or what the month is heading for. */
const NOTICES = [
  { threshold: 80, thresholdType: 'Actual' },
  { threshold: 100, thresholdType: 'Actual' },
  { threshold: 110, thresholdType: 'Forecasted' },
] as const;

export interface BudgetProps {
  readonly resourceGroupId: string;
  /** Amount a month in the currency of the subscription, 1 to 1000000. */
  readonly monthlyAmount: number;
  /** First month as YYYY-MM. Azure takes the month of the first apply or a later one, and another one makes a new budget. */
  readonly startMonth: string;
  /** Who is told. */
  readonly actionGroup: ActionGroupReference;
  /**
   * Name of the budget.
   * @default - a prefix and a digest of the construct's address
   */
  readonly name?: string;
}

/**
 * Tells when a resource group costs more than meant, which is mostly a machine that nobody switched off. It stops nothing.
 * Free.
 * @example
 * new Budget(this, 'Budget', { resourceGroupId: group.id, monthlyAmount: 500, startMonth: '2027-01', actionGroup });
 */
export class Budget extends Construct {
  constructor(scope: Construct, id: string, props: BudgetProps) {
    super(scope, id);
    requireMatch(this, 'startMonth', props.startMonth, /^20\d\d-(0[1-9]|1[0-2])$/, 'a month as YYYY-MM');
    new ConsumptionBudgetResourceGroup(this, 'Resource', {
      name: nameOf(this, 'budget', props.name),
      resourceGroupId: props.resourceGroupId,
      amount: requireWithin(this, 'monthlyAmount', props.monthlyAmount, 1, 1_000_000),
      timeGrain: 'Monthly',
      timePeriod: { startDate: `${props.startMonth}-01T00:00:00Z` },
      notification: NOTICES.map((notice) => ({
        ...notice,
        operator: 'GreaterThanOrEqualTo',
        contactGroups: [props.actionGroup.actionGroupId],
      })),
      // Azure fills in an end ten years on, which every plan would otherwise take away again.
      lifecycle: { ignoreChanges: ['time_period[0].end_date'] },
    });
  }
}
