import { AzurermBackend, LocalBackend, type TerraformStack } from 'cdktf';
import type { DeploymentConfig } from './deployment-config.ts';

/**
 * Says where a stack's state lives: one key for each environment and stack. Never left to the default, which writes this
 * machine's working directory into the output.
 */
export function configureBackend(stack: TerraformStack, config: DeploymentConfig): void {
  const { backend } = config;
  const key = `${config.name}/${stack.node.id}.tfstate`;
  if (backend.kind === 'local') {
    // Terraform runs in cdktf.out/stacks/NAME.
    new LocalBackend(stack, { path: `../../../.ctrain/state/${key}` });
    return;
  }
  new AzurermBackend(stack, {
    subscriptionId: backend.subscriptionId,
    resourceGroupName: backend.resourceGroup,
    storageAccountName: backend.storageAccount,
    containerName: backend.container,
    key,
    useOidc: true,
    useAzureadAuth: true,
  });
}
