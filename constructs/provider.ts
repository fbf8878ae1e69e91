import { DataAzurermClientConfig } from '@cdktf/provider-azurerm/lib/data-azurerm-client-config/index.js';
import { AzurermProvider } from '@cdktf/provider-azurerm/lib/provider/index.js';
import { TerraformStack } from 'cdktf';
import type { Construct } from 'constructs';
import { GUID, requireMatch } from './misuse.ts';

/**
 * The azurerm versions these constructs are made for. The bindings pin 4.55.0, whose Key Vault API retires on
 * 2027-02-27; 4.81.0 is the first version past it, and 5.0 renames arguments (facts: infrastructure, 0 and 1).
 */
export const PROVIDER_VERSIONS = '>= 4.81.0, < 5.0.0';

export interface ProviderProps {
  /** The subscription that everything of this stack goes into. */
  readonly subscriptionId: string;
  /**
   * Entra tenant.
   * @default - the tenant of whoever applies
   */
  readonly tenantId?: string;
}

/**
 * Gives a stack the azurerm provider as every construct here needs it: its version range, no registration of resource
 * providers for the whole subscription, nothing that waits for a data plane which is private, nothing purged on destroy.
 */
export function configureProvider(stack: TerraformStack, props: ProviderProps): AzurermProvider {
  requireMatch(stack, 'subscriptionId', props.subscriptionId, GUID, 'a lower-case GUID');
  const provider = new AzurermProvider(stack, 'azurerm', {
    subscriptionId: props.subscriptionId,
    ...(props.tenantId === undefined
      ? {}
      : { tenantId: requireMatch(stack, 'tenantId', props.tenantId, GUID, 'a lower-case GUID') }),
    resourceProviderRegistrations: 'none',
    storageUseAzuread: true,
    features: [
      {
        keyVault: [
          {
            // Purge protection answers a purge with an error; what is left is recovered by the next apply.
            purgeSoftDeleteOnDestroy: false,
            purgeSoftDeletedKeysOnDestroy: false,
            recoverSoftDeletedKeyVaults: true,
            recoverSoftDeletedKeys: true,
          },
        ],
        logAnalyticsWorkspace: [{ permanentlyDeleteOnDestroy: false }],
        resourceGroup: [{ preventDeletionIfContainsResources: true }],
        // Creating an account would otherwise poll blob, queue and web hosts that a private deployment cannot reach.
        storage: [{ dataPlaneAvailable: false }],
        // A release key has no delete in the control plane: destroying its deployment must not try (azurerm#25054).
        templateDeployment: [{ deleteNestedItemsDuringDeletion: false }],
        virtualMachine: [{ deleteOsDiskOnDeletion: true }],
      },
    ],
  });
  stack.addOverride('terraform.required_providers.azurerm.version', PROVIDER_VERSIONS);
  stack.addOverride('terraform.required_version', '>= 1.5.0');
  return provider;
}

/** Tenant of whoever applies, read once a stack. */
export function currentTenantId(scope: Construct): string {
  return currentClient(scope).tenantId;
}

/** Subscription of the stack's provider, read once a stack. */
export function currentSubscriptionId(scope: Construct): string {
  return currentClient(scope).subscriptionId;
}

function currentClient(scope: Construct): DataAzurermClientConfig {
  const stack = TerraformStack.of(scope);
  const found = stack.node.tryFindChild('CurrentClient');
  return found instanceof DataAzurermClientConfig ? found : new DataAzurermClientConfig(stack, 'CurrentClient', {});
}
