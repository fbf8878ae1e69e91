import { SecureTrainingError } from '../../runtime/errors.ts';

/**
 * What `terraform show -json PLAN` prints, as far as a review reads it.
 * Format 1.x: https://developer.hashicorp.com/terraform/internals/json-format#plan-representation
 */
export interface TerraformPlan {
  readonly changes: readonly ResourceChange[];
  /** What somebody changed behind Terraform's back; `before` is the state, `after` what was found. */
  readonly drift: readonly ResourceChange[];
  /** `false`: made with -target, or with changes put off, so that it does not show everything there is to do. */
  readonly complete: boolean;
  /** Whether the provider leaves alone what a template made when its deployment goes. */
  readonly keepsNestedItems: boolean;
  /** What the configuration says about a resource, by address; `undefined` where the plan does not tell. */
  readonly expressions: ReadonlyMap<string, Values>;
}

export interface ResourceChange {
  readonly address: string;
  readonly type: string;
  readonly actions: readonly Action[];
  readonly before: Values | undefined;
  readonly after: Values | undefined;
  /** Mirrors `after`: `true` where the value is known only after apply. */
  readonly afterUnknown: unknown;
  /** Mirrors `before` and `after`: `true` where Terraform would not print the value. */
  readonly sensitive: readonly [before: unknown, after: unknown];
}

export type Values = Readonly<Record<string, unknown>>;

const ACTIONS = ['no-op', 'create', 'read', 'update', 'delete', 'forget'] as const;
type Action = (typeof ACTIONS)[number];

/** Real plans stay below 30; what reads them walks down by recursion. */
const MAXIMUM_DEPTH = 200;

/**
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for anything that is not the plan of a run that went through
 */
export function parsePlan(bytes: Uint8Array, source: string): TerraformPlan {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw invalid(source, 'not JSON: wanted the output of terraform show -json PLAN', cause);
  }
  if (isDeeperThan(value, MAXIMUM_DEPTH)) throw invalid(source, `nested deeper than ${MAXIMUM_DEPTH}`);
  const plan = values(value);
  if (plan === undefined || typeof plan.format_version !== 'string' || !/^1\.\d+$/.test(plan.format_version))
    throw invalid(source, 'format_version: wanted 1.x, as terraform show -json PLAN prints it');
  // A state has the same format and no changes: it would pass as a plan that changes nothing.
  if (!('planned_values' in plan) && !('resource_changes' in plan))
    throw invalid(source, 'found neither planned_values nor resource_changes: wanted a plan, not a state');
  if (plan.errored === true) throw invalid(source, 'the plan ended with an error: nothing to review');
  return {
    changes: changeList(plan.resource_changes, source, 'resource_changes'),
    drift: changeList(plan.resource_drift, source, 'resource_drift'),
    complete: plan.complete !== false,
    keepsNestedItems: keepsNestedItems(plan.configuration),
    expressions: expressions(plan.configuration),
  };
}

function changeList(value: unknown, source: string, name: string): ResourceChange[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalid(source, `${name}: wanted a list`);
  const read = value.map((item: unknown, i) => parseChange(item, source, `${name}[${i}]`));
  return read.filter((change) => change !== undefined);
}

function parseChange(value: unknown, source: string, at: string): ResourceChange | undefined {
  const resource = values(value);
  const change = values(resource?.change);
  if (resource === undefined || change === undefined) throw invalid(source, `${at}: wanted an object with a change`);
  const { address, type, mode } = resource;
  if (typeof address !== 'string' || typeof type !== 'string') throw invalid(source, `${at}: wanted address and type`);
  if (mode !== 'managed' && mode !== 'data') throw invalid(source, `${at}.mode: wanted managed or data`);
  const { actions } = change;
  if (!Array.isArray(actions) || actions.length === 0 || !actions.every((name) => ACTIONS.includes(name)))
    throw invalid(source, `${at}.change.actions: wanted a list of ${ACTIONS.join(', ')}`);
  for (const name of ['before', 'after'] as const) {
    if (change[name] !== null && change[name] !== undefined && values(change[name]) === undefined)
      throw invalid(source, `${at}.change.${name}: wanted an object or null`);
  }
  const before = values(change.before);
  const after = values(change.after);
  const needs = { before: /update|delete|forget|no-op/, after: /create|update|no-op/ };
  const has = { before, after };
  for (const name of ['before', 'after'] as const) {
    if (has[name] === undefined && mode === 'managed' && actions.some((action: string) => needs[name].test(action)))
      throw invalid(source, `${at}.change.${name}: found nothing, wanted what ${actions.join(' and ')} is about`);
  }
  // Data sources are read and change nothing.
  if (mode === 'data') return undefined;
  return {
    address,
    type,
    actions,
    before,
    after,
    afterUnknown: change.after_unknown,
    sensitive: [change.before_sensitive, change.after_sensitive],
  };
}

/** `features { template_deployment { delete_nested_items_during_deletion = false } }`, written out and not computed. */
function keepsNestedItems(configuration: unknown): boolean {
  const providers = Object.values(values(values(configuration)?.provider_config) ?? {})
    .map(values)
    .filter((provider) => provider?.name === 'azurerm');
  const at = [
    'expressions',
    'features',
    'template_deployment',
    'delete_nested_items_during_deletion',
    'constant_value',
  ];
  const found = providers.map((provider) => valuesAt(provider, at));
  return found.length > 0 && found.every(([value, ...more]) => value === false && more.length === 0);
}

/** Of the root module only: constructs make no other. */
function expressions(configuration: unknown): Map<string, Values> {
  const [resources] = valuesAt(configuration, ['root_module']).map((module) => values(module)?.resources);
  const found = (Array.isArray(resources) ? resources : []).map(values).flatMap((resource): [string, Values][] => {
    const said = values(resource?.expressions);
    return typeof resource?.address === 'string' && said !== undefined ? [[resource.address, said]] : [];
  });
  return new Map(found);
}

/** All values at a path. Lists are walked through, so that a block reads the same whether Terraform shows it as list or object. */
export function valuesAt(value: unknown, path: readonly string[]): readonly unknown[] {
  if (Array.isArray(value)) return value.flatMap((item: unknown) => valuesAt(item, path));
  const [name, ...rest] = path;
  if (name === undefined) return value === undefined || value === null ? [] : [value];
  const members = values(value);
  // Not there is an answer too: one `undefined`, never none, so that a rule can tell it from a list without members.
  if (members === undefined || !Object.hasOwn(members, name)) return rest.length === 0 ? [undefined] : [];
  return valuesAt(members[name], rest);
}

/** Whether a value at a path, or what it is part of, is known only after apply. */
export function isUnknown(afterUnknown: unknown, path: readonly string[]): boolean {
  if (afterUnknown === true) return true;
  if (Array.isArray(afterUnknown)) return afterUnknown.some((item: unknown) => isUnknown(item, path));
  const [name, ...rest] = path;
  const members = values(afterUnknown);
  if (members === undefined) return false;
  if (name === undefined) return Object.values(members).some((member) => isUnknown(member, []));
  return Object.hasOwn(members, name) && isUnknown(members[name], rest);
}

/** The value as an object; `undefined` for anything else. */
export function values(value: unknown): Values | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Values) : undefined;
}

function isDeeperThan(value: unknown, limit: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return limit === 0 || Object.values(value).some((member) => isDeeperThan(member, limit - 1));
}

function invalid(source: string, problem: string, cause?: unknown): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', `${source}: ${problem}`, { cause });
}
