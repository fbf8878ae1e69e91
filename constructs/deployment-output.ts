import { TerraformOutput, TerraformStack } from 'cdktf';
import type { Construct } from 'constructs';
import { type Deployment, type EnvironmentPolicy, STRICT_ENVIRONMENT } from '../runtime/catalogue.ts';
import { currentSubscriptionId, currentTenantId } from './provider.ts';

/** What a deployment consists of, in the constructs' own terms. */
export interface DeploymentParts {
  readonly vault: { readonly vaultHost: string; readonly vaultId: string };
  /** One key, or several with the newest last. */
  readonly key: KeyPart | readonly KeyPart[];
  readonly store: { readonly accountName: string; readonly blobEndpoint: string };
  readonly attestation: { readonly authority: string };
  readonly trainer: {
    readonly vmIds: readonly string[];
    readonly identityClientId: string;
    readonly principalId: string;
    readonly bundleSha256: string;
    readonly logs: { readonly endpoint: string; readonly ruleId: string };
    /** Resource group of the machines. */
    readonly resourceGroupName: string;
  };
  /**
   * What machines must be.
   * @default STRICT_ENVIRONMENT
   */
  readonly environment?: EnvironmentPolicy;
  /**
   * @default - the tenant of whoever applies
   */
  readonly tenantId?: string;
  /**
   * @default - the subscription of the stack's provider
   */
  readonly subscriptionId?: string;
}

interface KeyPart {
  readonly keyName: string;
}

/** The stack's one output, `deployment`: what every `ctrain` command takes. `terraform output -json deployment > deployment.json`. */
export function deploymentOutput(scope: Construct, parts: DeploymentParts): TerraformOutput {
  const stack = TerraformStack.of(scope);
  const keys: readonly KeyPart[] = 'keyName' in parts.key ? [parts.key] : parts.key;
  const value: Deployment = {
    version: 1,
    kind: 'azure',
    tenantId: parts.tenantId ?? currentTenantId(stack),
    subscriptionId: parts.subscriptionId ?? currentSubscriptionId(stack),
    resourceGroup: parts.trainer.resourceGroupName,
    owner: {
      vaultHost: parts.vault.vaultHost,
      vaultId: parts.vault.vaultId,
      keyNames: keys.map(({ keyName }) => keyName),
      attestationAuthority: parts.attestation.authority,
    },
    storage: { account: parts.store.accountName, blobEndpoint: parts.store.blobEndpoint },
    trainer: {
      vmIds: parts.trainer.vmIds,
      identityClientId: parts.trainer.identityClientId,
      identityPrincipalId: parts.trainer.principalId,
      bundleSha256: parts.trainer.bundleSha256,
    },
    logs: { endpoint: parts.trainer.logs.endpoint, ruleId: parts.trainer.logs.ruleId },
    environment: parts.environment ?? STRICT_ENVIRONMENT,
  };
  const output = new TerraformOutput(stack, 'deployment', {
    value,
    description: 'everything that ctrain needs to find its way; holds no secret',
  });
  output.overrideLogicalId('deployment');
  return output;
}
