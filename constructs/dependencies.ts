import { type ITerraformDependable, TerraformElement, TerraformStack } from 'cdktf';
import type { Construct } from 'constructs';

/**
 * `depends_on` for what no argument tells Terraform. What belongs to another stack is left out: that one is applied
 * before, and its addresses mean nothing here.
 */
export function waitFor(
  scope: Construct,
  dependencies: readonly ITerraformDependable[] = [],
): { readonly dependsOn?: ITerraformDependable[] } {
  const stack = TerraformStack.of(scope);
  const here = dependencies.filter((one) => !(one instanceof TerraformElement) || one.cdktfStack === stack);
  return here.length === 0 ? {} : { dependsOn: here };
}
