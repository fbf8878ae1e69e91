import { isUnknown, type ResourceChange, type TerraformPlan, type Values, valuesAt } from './plan.ts';
import { ATTRIBUTES, type AttributeRule, KEPT, NEEDED, NOTEWORTHY, type RuleName } from './rules.ts';
import { reviewTemplates } from './templates.ts';

/** Something that nobody may apply without having seen it. */
export interface Finding {
  readonly rule: RuleName;
  /** Terraform's name of the resource. */
  readonly address: string;
  readonly says: string;
}

/** Something that looks alarming in a plan and is as it should be. */
export interface Note {
  readonly address: string;
  readonly says: string;
}

export interface ReviewOptions {
  /**
   * Judge what was changed outside of Terraform, too: what a nightly look is for. The plan that puts it right would never pass.
   * @default false
   */
  readonly drift?: boolean;
}

/** What a reviewer must not miss in a plan. The rules: rules.ts and templates.ts. */
export function review(
  plan: TerraformPlan,
  { drift = false }: ReviewOptions = {},
): { readonly findings: readonly Finding[]; readonly notes: readonly Note[] } {
  const { findings, notes } = reviewTemplates(plan);
  findings.push(...plan.changes.flatMap((change) => reviewChange(change, plan.expressions)));
  if (drift) {
    const outside = { ...plan, changes: plan.drift };
    const found = [
      ...reviewTemplates(outside).findings,
      ...plan.drift.flatMap((change) => reviewChange(change, new Map())),
    ];
    findings.push(
      ...found.map(({ says, ...finding }) => ({ ...finding, says: `changed outside of Terraform: ${says}` })),
    );
  }
  if (!plan.complete) {
    const says = 'not everything there is to do is in this plan (-target, or changes put off)';
    findings.push({ rule: 'partial-plan', address: 'the plan', says });
  }
  return { findings, notes };
}

function reviewChange(change: ResourceChange, expressions: TerraformPlan['expressions']): Finding[] {
  const { type, actions, address } = change;
  if (actions.every((action) => action === 'no-op' || action === 'read')) return [];
  const findings: Finding[] = [];
  const goes = actions.includes('delete') || actions.includes('forget');
  const comes = actions.includes('create');
  if (goes && KEPT.test(type)) {
    const fate = actions.includes('forget')
      ? 'is left to itself: Terraform does not keep it any more'
      : comes
        ? 'is destroyed and made anew'
        : 'is destroyed';
    findings.push({ rule: 'lost', address, says: `${String(change.before?.name ?? type)} ${fate}` });
  }
  for (const { rule, type: needed, says } of goes && !comes ? NEEDED : []) {
    if (needed.test(type)) findings.push({ rule, address, says });
  }
  for (const { rule, type: noteworthy, says } of comes ? NOTEWORTHY : []) {
    if (noteworthy.test(type)) findings.push({ rule, address, says });
  }
  if (type === 'azurerm_role_assignment' && comes) findings.push(...reviewGrant(change));
  if (change.after !== undefined) findings.push(...reviewAttributes(change, expressions));
  return findings;
}

/** A new assignment, unless it is the old one in new words. */
function reviewGrant({ address, before, after }: ResourceChange): Finding[] {
  const parts = (side: Values | undefined) =>
    ['role_definition_name', 'role_definition_id', 'scope', 'principal_id'].map((name) => side?.[name]);
  const role = (side: Values) => String(side.role_definition_name ?? side.role_definition_id ?? '(known after apply)');
  const told = (side: Values) =>
    `${role(side)} on ${String(side.scope ?? '(known after apply)')} to ${String(side.principal_id ?? '(known after apply)')}`;
  const [, , scope, principal] = parts(after);
  // An unknown part is not the same as before, whatever it will be.
  const isSame =
    scope !== undefined && principal !== undefined && JSON.stringify(parts(before)) === JSON.stringify(parts(after));
  if (after === undefined || isSame) return [];
  const was = before === undefined ? '' : `, was ${told(before)}`;
  return [{ rule: 'role-widened', address, says: `grants ${told(after)}${was}` }];
}

function reviewAttributes(change: ResourceChange, expressions: TerraformPlan['expressions']): Finding[] {
  const rules = ATTRIBUTES.filter(({ type }) => type.test(change.type));
  const seen = new Set<string>();
  return rules.flatMap((rule) => {
    const path = rule.path.join('.') || 'rule';
    const problem = seen.has(path) ? undefined : attributeProblem(change, rule, expressions);
    if (problem === undefined) return [];
    seen.add(path);
    return [{ rule: rule.rule, address: change.address, says: `${path}: ${problem}` }];
  });
}

function attributeProblem(
  { address, actions, before: was, after: is, afterUnknown, sensitive }: ResourceChange,
  { path, worse, aboutChange }: AttributeRule,
  expressions: TerraformPlan['expressions'],
): string | undefined {
  const before = was === undefined ? [] : orUnset(valuesAt(was, path));
  if (path.length > 0 && isUnknown(afterUnknown, path)) {
    // Something new has attributes that azurerm fills in; what counts is what somebody wrote.
    const said = actions.includes('create') ? expressions.get(address.replace(/\[[^[\]]*\]$/, '')) : undefined;
    const isOurs = said === undefined || valuesAt(said, path).some((value) => value !== undefined);
    return isOurs && (was !== undefined || !aboutChange) ? `${show(before)}known only after apply` : undefined;
  }
  const found = worse(before, orUnset(valuesAt(is, path)));
  if (found.length === 0) return undefined;
  if (sensitive.some((mark) => isUnknown(mark, path))) return '(sensitive)';
  return `${show(before)}${found.map(text).join(', ')}`;
}

function orUnset(found: readonly unknown[]): readonly unknown[] {
  return found.length === 0 ? [undefined] : found;
}

/** What was, where that is one plain value: a list would hide what is new. */
function show(before: readonly unknown[]): string {
  const [value, ...more] = before;
  return before.length === 0 || more.length > 0 || typeof value === 'object' ? '' : `${text(value)} -> `;
}

function text(value: unknown): string {
  if (value === undefined) return '(not set)';
  const json = typeof value === 'string' ? value : JSON.stringify(value);
  return json.length > 160 ? `${json.slice(0, 157)}...` : json;
}
