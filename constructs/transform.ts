import { App, Aspects, TerraformResource, TerraformStack } from 'cdktf';
import type { IConstruct } from 'constructs';
import { misuse } from './misuse.ts';

/** A resource about to be written. */
export interface TransformedResource {
  /** For example `azurerm_storage_account`. */
  readonly type: string;
  /** Construct path: `platform/Store/Resource`. */
  readonly path: string;
}

/** Dotted Terraform argument to value: `{ 'tags.owner': 'us', 'os_disk.disk_size_gb': 64 }`. Undefined changes nothing. */
export type Transform = (resource: TransformedResource) => Readonly<Record<string, unknown>> | undefined;

/**
 * Sees every resource below a scope (an app, a stack, a construct) before it is written, and may override its arguments:
 * for what an organisation wants everywhere and no prop offers. For one resource take `node.findChild('Resource')`.
 * Nothing checks what is set: look at the plan, `ctrain review-plan` does. On an app call it when its stacks are made.
 * @example
 * transformResources(app, ({ type }) => (type === 'azurerm_private_endpoint' ? { 'timeouts.create': '2h' } : undefined));
 */
export function transformResources(scope: IConstruct, transform: Transform): void {
  const aspect = {
    visit(node: IConstruct) {
      if (!(node instanceof TerraformResource)) return;
      const overrides = transform({ type: node.terraformResourceType, path: node.node.path });
      for (const [path, value] of Object.entries(overrides ?? {})) node.addOverride(path, value);
    },
  };
  // cdktf 0.21 applies the aspects of a stack and of what is in it, and passes over an app's without a word.
  const stacks = scope.node.findAll().filter((node) => TerraformStack.isStack(node));
  if (App.isApp(scope) && stacks.length === 0) throw misuse(scope, 'scope', 'an app that has its stacks', 'none');
  for (const target of stacks.length === 0 ? [scope] : stacks) Aspects.of(target).add(aspect);
}
