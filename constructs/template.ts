import { ResourceGroupTemplateDeployment } from '@cdktf/provider-azurerm/lib/resource-group-template-deployment/index.js';
import { Fn, type ITerraformDependable, type Postcondition, Token } from 'cdktf';
import type { Construct } from 'constructs';
import { waitFor } from './dependencies.ts';
import { checkName } from './names.ts';

export interface TemplateOptions {
  /** Name of the deployment in the resource group; a change replaces the deployment, not what it made. */
  readonly name: string;
  readonly resourceGroupName: string;
  /** One resource of an Azure Resource Manager template. */
  readonly resource: {
    readonly type: string;
    readonly apiVersion: string;
    readonly name: string;
    readonly [member: string]: unknown;
  };
  /** Output name to property path of the resource (`keyUriWithVersion`). */
  readonly outputs: Readonly<Record<string, string>>;
  /**
   * Output name to the value it must have after apply.
   * @default - whatever comes is taken
   */
  readonly expected?: Readonly<Record<string, string>>;
  /**
   * What has to exist first.
   * @default - whatever the values refer to
   */
  readonly dependsOn?: readonly ITerraformDependable[];
  /**
   * Azure tags of the deployment.
   * @default - no tags
   */
  readonly tags?: Readonly<Record<string, string>>;
}

/**
 * A resource made by an Azure Resource Manager template: the control-plane way to what azurerm would do over a data plane
 * that a private deployment does not let it reach (facts: infrastructure, 2 route C and 9).
 */
export function deployTemplate(
  scope: Construct,
  id: string,
  options: TemplateOptions,
): ResourceGroupTemplateDeployment {
  const { resource } = options;
  const segments = resource.name.split('/').map((segment) => `'${segment}'`);
  const reference = `reference(resourceId('${resource.type}', ${segments.join(', ')}), '${resource.apiVersion}')`;
  const outputs = Object.entries(options.outputs).map(([name, property]) => [
    name,
    { type: 'string', value: `[${reference}.${property}]` },
  ]);
  const expected = Object.entries(options.expected ?? {}).map(
    ([name, value]): Postcondition => ({
      // Hosts are given with a slash at the end by some API versions.
      condition: `\${trimsuffix(jsondecode(self.output_content).${name}.value, "/") == "${value}"}`,
      errorMessage: `${scope.node.path}: ${name} is not ${value}, which other resources were made for`,
    }),
  );
  return new ResourceGroupTemplateDeployment(scope, id, {
    name: checkName(scope, 'deployment', options.name, 'deployment name'),
    resourceGroupName: options.resourceGroupName,
    // Never Complete: that mode deletes whatever else is in the resource group.
    deploymentMode: 'Incremental',
    templateContent: JSON.stringify({
      $schema: 'https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#',
      contentVersion: '1.0.0.0',
      resources: [resource],
      outputs: Object.fromEntries(outputs),
    }),
    ...waitFor(scope, options.dependsOn),
    ...(options.tags === undefined ? {} : { tags: { ...options.tags } }),
    ...(expected.length === 0 ? {} : { lifecycle: { postcondition: expected } }),
  });
}

/** An output of a template, known after apply. */
export function templateOutput(deployment: ResourceGroupTemplateDeployment, name: string): string {
  return Token.asString(Fn.lookupNested(Fn.jsondecode(deployment.outputContent), [name, 'value']));
}
