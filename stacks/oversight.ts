import type { ResourceGroup } from '@cdktf/provider-azurerm/lib/resource-group/index.js';
import type { Construct } from 'constructs';
import { ActionGroup, type ActionGroupReference, Budget, PolicyAssignments } from '../constructs/index.ts';
import type { DeploymentConfig } from './deployment-config.ts';

/** The group that is told of what happens in a part of the environment: made, brought, or none. */
export function actionGroupOf(
  scope: Construct,
  config: DeploymentConfig,
  part: 'owner' | 'platform',
  group: ResourceGroup,
): ActionGroupReference | undefined {
  const { actionGroup } = config[part];
  if (actionGroup === undefined) return undefined;
  if ('id' in actionGroup) return ActionGroup.fromActionGroupId(scope, 'ActionGroup', actionGroup.id);
  return new ActionGroup(scope, 'ActionGroup', {
    name: `ag-${config.name}-${part}`,
    resourceGroupName: group.name,
    emails: actionGroup.emails,
    tags: { ...config.tags },
  });
}

/** Budget and policies of one resource group, as far as its part of the environment asks for them. */
export function addOversight(
  scope: Construct,
  config: DeploymentConfig,
  part: 'owner' | 'platform' | 'training',
  group: ResourceGroup,
  actionGroup: ActionGroupReference | undefined,
): void {
  const { budget, policies } = config[part];
  if (budget !== undefined && actionGroup !== undefined) {
    new Budget(scope, 'Budget', {
      name: `budget-${config.name}-${part}`,
      resourceGroupId: group.id,
      monthlyAmount: budget.monthlyAmount,
      startMonth: budget.startMonth,
      actionGroup,
    });
  }
  if (policies !== 'none') {
    new PolicyAssignments(scope, 'Policies', {
      resourceGroupId: group.id,
      locations: [config.location],
      effect: policies,
    });
  }
}
