import { utf8 } from '../../../runtime/crypto/bytes.ts';
import { parsePlan, type TerraformPlan } from '../../../scripts/review/plan.ts';

export type Side = Readonly<Record<string, unknown>> | null;

/** One resource change in the shape that Terraform 1.11 prints (format 1.2). */
export function change(
  type: string,
  before: Side,
  after: Side,
  more: {
    readonly actions?: readonly string[];
    readonly unknown?: unknown;
    readonly name?: string;
    readonly afterSensitive?: unknown;
  } = {},
): object {
  const name = more.name ?? 'This';
  const actions = more.actions ?? [before === null ? 'create' : after === null ? 'delete' : 'update'];
  return {
    address: `${type}.${name}`,
    mode: 'managed',
    type,
    name,
    provider_name: 'registry.terraform.io/hashicorp/azurerm',
    change: {
      actions,
      before,
      after,
      after_unknown: more.unknown ?? (after === null ? false : {}),
      before_sensitive: before === null ? false : {},
      after_sensitive: more.afterSensitive ?? (after === null ? false : {}),
    },
  };
}

export interface Parts {
  readonly changes?: readonly object[];
  readonly drift?: readonly object[];
  readonly more?: object;
  /** Whether the provider is told to leave nested resources alone. */
  readonly keeps?: boolean;
  /** Expressions of the root module's resources, by address. */
  readonly expressions?: Readonly<Record<string, object>>;
}

export function planJson({ changes = [], drift, more = {}, keeps = true, expressions = {} }: Parts): object {
  const flag = { delete_nested_items_during_deletion: { constant_value: !keeps } };
  return {
    format_version: '1.2',
    terraform_version: '1.11.4',
    planned_values: { root_module: {} },
    resource_changes: changes,
    ...(drift === undefined ? {} : { resource_drift: drift }),
    configuration: {
      provider_config: {
        azurerm: {
          name: 'azurerm',
          full_name: 'registry.terraform.io/hashicorp/azurerm',
          expressions: { features: [{ template_deployment: [flag] }] },
        },
      },
      root_module: {
        resources: Object.entries(expressions).map(([address, said]) => ({
          address,
          mode: 'managed',
          expressions: said,
        })),
      },
    },
    timestamp: '2026-11-23T00:00:00Z',
    applyable: true,
    complete: true,
    errored: false,
    ...more,
  };
}

export function plan(parts: Parts): TerraformPlan {
  return parsePlan(utf8(JSON.stringify(planJson(parts))), 'plan.json');
}
