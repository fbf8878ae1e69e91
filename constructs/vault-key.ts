import type { ResourceGroupTemplateDeployment } from '@cdktf/provider-azurerm/lib/resource-group-template-deployment/index.js';
import type { Construct } from 'constructs';
import type { ReleasePolicy } from '../runtime/keys/release-policy.ts';
import { releasePolicyBytes } from '../runtime/keys/release-policy.ts';
import type { VaultReference } from './premium-vault.ts';
import { deployTemplate } from './template.ts';

/** First API version of vaults that outlives 2027-02-27 (facts: infrastructure, 0). */
const API_VERSION = '2026-02-01';

export interface VaultKeyOptions {
  readonly vault: VaultReference;
  readonly keyName: string;
  readonly keySizeInBits: 3072 | 4096;
  readonly operations: readonly ('wrapKey' | 'unwrapKey' | 'decrypt')[];
  /**
   * Who may have the key outside the vault.
   * @default - nobody: it never leaves
   */
  readonly releasePolicy?: ReleasePolicy;
  /**
   * Azure tags of the key and its deployment.
   * @default - no tags
   */
  readonly tags?: Readonly<Record<string, string>> | undefined;
}

/**
 * An HSM key made by the control plane, which needs no way to the vault. It creates keys and never updates one.
 * The deployment is named like the key, so that with another name a plan shows one going and one coming.
 */
export function deployVaultKey(scope: Construct, options: VaultKeyOptions): ResourceGroupTemplateDeployment {
  const { vault, keyName, releasePolicy } = options;
  const tags = options.tags === undefined ? {} : { tags: options.tags };
  return deployTemplate(scope, 'Resource', {
    name: keyName,
    resourceGroupName: vault.resourceGroupName,
    resource: {
      type: 'Microsoft.KeyVault/vaults/keys',
      apiVersion: API_VERSION,
      name: `${vault.vaultName}/${keyName}`,
      ...tags,
      properties: {
        kty: 'RSA-HSM',
        keySize: options.keySizeInBits,
        keyOps: options.operations,
        attributes: { enabled: true, exportable: releasePolicy !== undefined },
        ...(releasePolicy === undefined
          ? {}
          : {
              // Snake case amid camel case is how the API has it.
              release_policy: {
                contentType: 'application/json; charset=utf-8',
                data: Buffer.from(releasePolicyBytes(releasePolicy)).toString('base64'),
              },
            }),
      },
    },
    outputs: { keyId: 'keyUriWithVersion' },
    dependsOn: vault.dependencies,
    ...tags,
  });
}

/** Resource id of a deployed key: by the deployment's name, so that whoever is given a role on the key waits for it. */
export function vaultKeyResourceId(vault: VaultReference, deployment: ResourceGroupTemplateDeployment): string {
  return `${vault.vaultId}/keys/${deployment.name}`;
}
