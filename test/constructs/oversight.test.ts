import { expect, test } from 'vitest';
import { ActionGroup } from '../../constructs/action-group.ts';
import { AuditLog } from '../../constructs/audit-log.ts';
import { Budget } from '../../constructs/budget.ts';
import { PolicyAssignments, type PolicyAssignmentsProps } from '../../constructs/policy-assignments.ts';
import { PLACE, synthesize } from './synthesized.ts';

const GROUP = '/subscriptions/s/resourceGroups/rg-test';

test('a budget tells the group before, at and beyond its amount', () => {
  const result = synthesize((stack) => {
    const { resourceGroupName, tags } = PLACE;
    const actionGroup = new ActionGroup(stack, 'OnCall', { resourceGroupName, tags, emails: ['on-call@example.com'] });
    new Budget(stack, 'Budget', { resourceGroupId: GROUP, monthlyAmount: 500, startMonth: '2027-01', actionGroup });
  });
  const budget = result.one('azurerm_consumption_budget_resource_group');
  expect(budget).toMatchObject({ amount: 500, time_period: { start_date: '2027-01-01T00:00:00Z' } });
  const told = { contact_groups: [expect.stringMatching(/^\$\{azurerm_monitor_action_group\./)] };
  expect(budget.notification).toMatchObject([
    { threshold: 80, threshold_type: 'Actual', ...told },
    { threshold: 100, threshold_type: 'Actual', ...told },
    { threshold: 110, threshold_type: 'Forecasted', ...told },
  ]);
  expect(result.one('azurerm_monitor_action_group')).toMatchObject({
    short_name: 'ctrain',
    email_receiver: [{ email_address: 'on-call@example.com' }],
  });
});

test('an action group can be brought', () => {
  const result = synthesize((stack) => {
    const id = '/subscriptions/s/resourceGroups/g/providers/Microsoft.Insights/actionGroups/ag-hub';
    expect(ActionGroup.fromActionGroupId(stack, 'OnCall', id).actionGroupId).toBe(id);
  });
  expect(result.addresses).toEqual([]);
});

function assignments(effect?: PolicyAssignmentsProps['effect']) {
  const result = synthesize((stack) => {
    const change = effect === undefined ? {} : { effect };
    new PolicyAssignments(stack, 'Policies', { resourceGroupId: GROUP, locations: ['westeurope'], ...change });
  });
  const found = Object.values(result.all('azurerm_resource_group_policy_assignment'));
  return Object.fromEntries(
    found.map(({ name, parameters }) => [name, parameters === undefined ? {} : JSON.parse(String(parameters))]),
  );
}

test('policies deny what these constructs never do', () => {
  const deny = { effect: { value: 'Deny' } };
  expect(assignments()).toEqual({
    'storage-public-network': deny,
    'storage-shared-key': deny,
    'vault-public-network': deny,
    'attestation-public-network': deny,
    'network-public-address': {},
    locations: { listOfAllowedLocations: { value: ['westeurope'] } },
  });
});

test('policies that only report leave out those that can only deny', () => {
  const audit = { effect: { value: 'Audit' } };
  expect(assignments('Audit')).toEqual({
    'storage-public-network': audit,
    'storage-shared-key': audit,
    'vault-public-network': audit,
    'attestation-public-network': audit,
  });
});

test('the log of all logs records who asks it, and can be locked', () => {
  const result = synthesize((stack) => {
    new AuditLog(stack, 'Audit', { ...PLACE, deleteLock: true });
  });
  expect(result.one('azurerm_monitor_diagnostic_setting').enabled_log).toEqual([{ category: 'Audit' }]);
  expect(result.one('azurerm_management_lock')).toMatchObject({
    lock_level: 'CanNotDelete',
    scope: expect.stringMatching(/^\$\{azurerm_log_analytics_workspace\./),
    notes: expect.stringMatching(/\w+ \w+/),
  });
});
