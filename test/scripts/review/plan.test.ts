import fc from 'fast-check';
import { expect, test } from 'vitest';
import { utf8 } from '../../../runtime/crypto/bytes.ts';
import { SecureTrainingError } from '../../../runtime/errors.ts';
import { parsePlan } from '../../../scripts/review/plan.ts';
import { review } from '../../../scripts/review/review.ts';
import { rejection } from '../../runtime/rejection.ts';
import { change, planJson } from './plans.ts';

const parse = (value: unknown) => parsePlan(utf8(JSON.stringify(value)), 'plan.json');
const good = change('azurerm_key_vault', { name: 'a' }, { name: 'a', public_network_access_enabled: true });

test('a plan without changes has no list of them', () => {
  const { resource_changes: _, ...empty } = planJson({}) as { resource_changes: unknown };
  expect(parse(empty).changes).toEqual([]);
});

test('data sources change nothing', () => {
  const data = { ...change('azurerm_client_config', null, {}), mode: 'data' };
  expect(parse(planJson({ changes: [data] })).changes).toEqual([]);
});

test.each<[string, unknown, string]>([
  ['something else', [], 'format_version: wanted 1.x'],
  ['another format', { ...planJson({}), format_version: '2.0' }, 'format_version: wanted 1.x'],
  ['a state', { format_version: '1.0', values: {} }, 'wanted a plan, not a state'],
  ['a plan that failed', planJson({ more: { errored: true } }), 'ended with an error'],
  ['no list', planJson({ more: { resource_changes: {} } }), 'resource_changes: wanted a list'],
  [
    'no change',
    planJson({ changes: [{ ...good, change: null }] }),
    'resource_changes[0]: wanted an object with a change',
  ],
  ['no address', planJson({ changes: [{ ...good, address: 1 }] }), 'resource_changes[0]: wanted address and type'],
  ['no mode', planJson({ changes: [{ ...good, mode: 'x' }] }), 'resource_changes[0].mode'],
  [
    'an unknown action',
    planJson({ changes: [change('t', {}, {}, { actions: ['explode'] })] }),
    'resource_changes[0].change.actions',
  ],
  ['no actions', planJson({ changes: [change('t', {}, {}, { actions: [] })] }), 'resource_changes[0].change.actions'],
  [
    'values that are none',
    planJson({ changes: [{ ...good, change: { actions: ['update'], before: [], after: {} } }] }),
    'resource_changes[0].change.before',
  ],
  [
    'an update from nothing',
    planJson({ changes: [change('t', null, {}, { actions: ['update'] })] }),
    'change.before: found nothing',
  ],
  [
    'a creation of nothing',
    planJson({ changes: [change('t', {}, null, { actions: ['delete', 'create'] })] }),
    'change.after: found nothing',
  ],
])('refuses %s', (_, value, message) => {
  expect(() => parse(value)).toThrow(rejection('CONFIG_INVALID', 'plan.json: ', message));
});

test('refuses what is not JSON', () => {
  expect(() => parsePlan(utf8('{"format_version":'), 'plan.json')).toThrow(rejection('CONFIG_INVALID', 'not JSON'));
  const bottomless = `{"format_version":"1.2","x":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
  expect(() => parsePlan(utf8(bottomless), 'plan.json')).toThrow(rejection('CONFIG_INVALID'));
  const deep = bottomless.replace(/\[+\]+/, `${'['.repeat(300)}${']'.repeat(300)}`);
  expect(() => parsePlan(utf8(deep), 'plan.json')).toThrow(rejection('CONFIG_INVALID', 'nested deeper than 200'));
  expect(() => parsePlan(Uint8Array.of(0xff), 'plan.json')).toThrow(rejection('CONFIG_INVALID', 'not JSON'));
});

/** Any JSON put anywhere into a good plan: it is reviewed or refused, and nothing else happens. */
test('whatever is in a plan, it is reviewed or refused with CONFIG_INVALID', () => {
  const names = [
    'actions',
    'before',
    'after',
    'after_unknown',
    'address',
    'type',
    'mode',
    'change',
    'template_content',
  ];
  const whole = JSON.stringify(planJson({ changes: [good], drift: [good] }));
  const types = [
    'azurerm_key_vault',
    'azurerm_resource_group_template_deployment',
    'azurerm_network_security_group',
    'azurerm_role_assignment',
  ];
  const attributes = fc.dictionary(
    fc.constantFrom('network_acls', 'template_content', 'security_rule', 'scope', 'name'),
    fc.jsonValue(),
  );
  const anything = fc.oneof(
    fc.jsonValue().map((value) => JSON.stringify(value)),
    fc
      .tuple(fc.constantFrom(...names), fc.jsonValue())
      .map(([name, value]) => JSON.stringify(JSON.parse(whole), (key, old: unknown) => (key === name ? value : old))),
    fc
      .tuple(fc.constantFrom(...types), attributes, attributes, fc.jsonValue())
      .map(([type, before, after, unknown]) =>
        JSON.stringify(planJson({ changes: [change(type, before, after, { unknown })] })),
      ),
    fc.nat(whole.length).map((length) => whole.slice(0, length)),
  );
  fc.assert(
    fc.property(anything, (text) => {
      try {
        review(parsePlan(utf8(text), 'plan.json'), { drift: true });
      } catch (error) {
        expect(error).toBeInstanceOf(SecureTrainingError);
        expect(error).toMatchObject({ code: 'CONFIG_INVALID' });
      }
    }),
    { numRuns: 500 },
  );
});
