import { expect, test } from 'vitest';
import { ActionGroup } from '../../constructs/action-group.ts';
import { Alerts } from '../../constructs/alerts.ts';
import { alertKql } from '../../runtime/alerts/rule.ts';
import { ownerAlerts } from '../../runtime/alerts/rules.ts';
import { PLACE, synthesize } from './synthesized.ts';

const RULES = ownerAlerts({ releaseTo: ['11111111-2222-3333-4444-555555555555'], networks: ['10.60.0.0/24'] });
const WORKSPACE = '/subscriptions/s/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/log';
const props = { ...PLACE, workspaceId: WORKSPACE, resourceGroupId: '/subscriptions/s/resourceGroups/g', rules: RULES };

const QUERIES = 'azurerm_monitor_scheduled_query_rules_alert_v2';
const ACTIVITY = 'azurerm_monitor_activity_log_alert';

test('each rule is an alert with its query, severity and runbook entry', () => {
  const result = synthesize((stack) => {
    const { resourceGroupName, tags } = PLACE;
    const actionGroup = new ActionGroup(stack, 'OnCall', { resourceGroupName, tags, emails: ['on-call@example.com'] });
    new Alerts(stack, 'Alerts', { ...props, name: 'alert-here', actionGroup });
  });
  // In the order of their addresses.
  const queries = RULES.filter(({ table }) => table !== 'AzureActivity').sort((a, b) => (a.name < b.name ? -1 : 1));
  const group = expect.stringMatching(/^\$\{azurerm_monitor_action_group\./);
  expect(Object.values(result.all(QUERIES))).toEqual(
    queries.map((rule) =>
      expect.objectContaining({
        name: `alert-here-${rule.name}`,
        severity: rule.severity,
        scopes: [WORKSPACE],
        description: `${rule.title}. What to do: docs/runbook.md#${rule.name}`,
        criteria: [expect.objectContaining({ query: alertKql(rule), operator: 'GreaterThan', threshold: 0 })],
        action: { action_groups: [group], custom_properties: { Runbook: `docs/runbook.md#${rule.name}` } },
      }),
    ),
  );
  const operations = Object.values(result.all(ACTIVITY)).map(({ criteria }) => criteria);
  expect(operations).toContainEqual({
    category: 'Administrative',
    operation_name: 'Microsoft.KeyVault/vaults/write',
    status: 'Succeeded',
  });
  expect(operations).toHaveLength(7);
});

test('without anybody to tell they are there all the same', () => {
  const result = synthesize((stack) => {
    new Alerts(stack, 'Alerts', props);
  });
  const [query] = Object.values(result.all(QUERIES));
  expect(query).toMatchObject({ name: 'alert-attestation-policy-changed' });
  expect(query).not.toHaveProperty('action');
});

test.each([
  [
    'a name that is none',
    { name: 'Not a name' },
    /rules must be rules whose names are lower-case words with hyphens, got "Not a name"$/,
  ],
  [
    'activity without an operation',
    { table: 'AzureActivity', where: { column: 'Caller', oneOf: ['x'] } } as const,
    /rules must be rules on AzureActivity that say which operations, got "release-unexpected"$/,
  ],
])('%s is refused', (_, change, message) => {
  const [rule] = RULES;
  if (rule === undefined) throw new Error('there is no rule');
  expect(() =>
    synthesize((stack) => {
      new Alerts(stack, 'Alerts', { ...props, rules: [{ ...rule, ...change }] });
    }),
  ).toThrow(message);
});
