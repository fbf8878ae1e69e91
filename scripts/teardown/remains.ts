import { type DeclaredResource, declaredResources, groupOf, ofType, record } from '../doctor/resources.ts';
import type { SynthesizedStack } from '../synthesize.ts';

/** Something that is still there after everything was destroyed. */
export interface Remain {
  readonly stack: string;
  readonly what: string;
  /** In words, because it counts from the day of the destroy or ends by hand. */
  readonly until: string;
  readonly mind: string;
}

/** One step of taking an environment down, in order. */
export interface TeardownStep {
  readonly does: string;
  /** @default - by hand */
  readonly command?: string;
}

/** Days in which Azure gives a deleted workspace or storage account back; fixed by the services (learn.microsoft.com). */
const WORKSPACE_RECOVERY_DAYS = 14;
const ACCOUNT_RECOVERY_DAYS = 14;
/** What a vault keeps deleted keys for when nothing is said (Key Vault soft-delete overview). */
const DEFAULT_SOFT_DELETE_DAYS = 90;

/** Computed from what the stacks contain. */
export function whatRemains(stacks: readonly SynthesizedStack[]): readonly Remain[] {
  const resources = declaredResources(stacks);
  return [
    ...ofType(resources, 'azurerm_key_vault').flatMap((vault) => vaultRemains(vault, resources)),
    ...ofType(resources, 'Microsoft.Attestation/attestationProviders').map(({ stack, name }) => ({
      stack,
      what: `attestation provider ${name}`,
      until: 'it is deleted by hand, a step of its own',
      mind: 'a template made it, and destroying a deployment leaves what it made; keys that name it are released by no other',
    })),
    ...ofType(resources, 'Microsoft.Network/networkWatchers/flowLogs').map(({ stack, name }) => ({
      stack,
      what: `flow log ${name}`,
      until: 'it is deleted by hand, or its network is',
      mind: 'a template made it: az network watcher flow-log delete',
    })),
    ...ofType(resources, 'azurerm_storage_account').map(({ stack, name, values }) => ({
      stack,
      what: `storage account ${name}`,
      until: `${ACCOUNT_RECOVERY_DAYS} days after`,
      mind: `Azure can give it back that long, if its name was not taken; the ${softDeleteDays(values)} days of soft delete inside end with the account`,
    })),
    ...ofType(resources, 'azurerm_log_analytics_workspace').map(({ stack, name, values }) => ({
      stack,
      what: `log workspace ${name}`,
      until: `${WORKSPACE_RECOVERY_DAYS} days after`,
      mind: `then its records are gone, though ${String(values.retention_in_days)} days of retention were set: export first what has to be kept`,
    })),
    ...grantRemains(resources),
    ...stacks.map(({ name, configuration }) => ({
      stack: name,
      what: `state ${stateOf(configuration)}`,
      until: 'it is deleted by hand',
      mind: 'holds names and ids of what was, no key',
    })),
  ];
}

/** What to do, in order: the last applied stack goes first, and what Terraform would stop at is done before. */
export function teardownSteps(environment: string, stacks: readonly SynthesizedStack[]): readonly TeardownStep[] {
  return [...stacks].reverse().flatMap((stack) => {
    const resources = declaredResources([stack]);
    const folder = `rendered/${environment}/${stack.name}`;
    const kept = resources.filter(({ values }) => record(values.lifecycle).prevent_destroy === true);
    const locks = ofType(resources, 'azurerm_management_lock');
    const providers = ofType(resources, 'Microsoft.Attestation/attestationProviders');
    const targets = [
      ...locks.map((lock) => addressOf(stack, lock)),
      ...providers.map((one) => deploymentOf(stack, one)),
    ];
    return [
      ...(kept.length === 0
        ? []
        : [
            {
              does: `${stack.name}: Terraform refuses to destroy ${kept.map(({ name }) => name).join(', ')}: allow it for this once, and commit nothing`,
              command: `sed -i 's/"prevent_destroy": true/"prevent_destroy": false/' ${folder}/cdk.tf.json`,
            },
          ]),
      ...(providers.length === 0
        ? []
        : [
            {
              does: `${stack.name}: locks and deployments first, so that what they hold can be deleted`,
              command: `terraform -chdir=${folder} destroy ${targets.map((target) => `-target='${target}'`).join(' ')}`,
            },
          ]),
      ...providers.map((provider) => ({
        does: `${stack.name}: the provider that a template made; the resource group is not destroyed while it is in there`,
        command: `az attestation delete --subscription ${provider.subscriptionId} -g ${groupOf(provider, resources)} -n ${provider.name}`,
      })),
      {
        does: `${stack.name}: ${providers.length + kept.length === 0 ? 'everything' : 'everything else'}`,
        command: `terraform -chdir=${folder} destroy`,
      },
    ];
  });
}

function vaultRemains(vault: DeclaredResource, resources: readonly DeclaredResource[]): Remain[] {
  const { stack, name, values } = vault;
  const days = Number(values.soft_delete_retention_days ?? DEFAULT_SOFT_DELETE_DAYS);
  const isProtected = values.purge_protection_enabled === true;
  const keys = ofType(resources, 'Microsoft.KeyVault/vaults/keys').filter((key) => key.name.startsWith(`${name}/`));
  const names = keys.map((key) => key.name.slice(name.length + 1));
  return [
    {
      stack,
      what: `vault ${name} with all its keys${names.length === 0 ? '' : ` (${names.join(', ')} and any before)`}`,
      until: `${days} days after`,
      mind: `${isProtected ? 'nobody can purge it before, and its name is taken until then' : 'its name is taken until then or until it is purged'}; recovering it brings the keys back, and what is sealed to them opens again`,
    },
  ];
}

/** What `ctrain approve` granted: Terraform does not know of it. */
function grantRemains(resources: readonly DeclaredResource[]): Remain[] {
  const [vault] = ofType(resources, 'azurerm_key_vault').filter(({ name }) =>
    ofType(resources, 'Microsoft.KeyVault/vaults/keys').some((key) => key.name.startsWith(`${name}/`)),
  );
  if (vault === undefined) return [];
  const scope = `/subscriptions/${vault.subscriptionId}/resourceGroups/${groupOf(vault, resources)}/providers/Microsoft.KeyVault/vaults/${vault.name}`;
  return [
    {
      stack: vault.stack,
      what: `role assignments that ctrain approve made on ${vault.name}`,
      until: 'the vault is destroyed, or they are deleted by hand',
      mind: `where only the training stack goes they stay, for an identity that is no more: az role assignment list --scope ${scope}`,
    },
  ];
}

function softDeleteDays(values: DeclaredResource['values']): string {
  const { delete_retention_policy } = record(values.blob_properties);
  return String(record(delete_retention_policy).days ?? 0);
}

function stateOf(configuration: SynthesizedStack['configuration']): string {
  const backend = record(record(configuration.terraform).backend);
  const { path } = record(backend.local);
  if (typeof path === 'string') return path.replace(/^(\.\.\/)+/, '');
  const { storage_account_name: account, container_name: container, key } = record(backend.azurerm);
  return `${String(key)} in ${String(account)}/${String(container)}`;
}

/** Terraform's address of a resource, found again by its values. */
function addressOf({ configuration }: SynthesizedStack, { type, values }: DeclaredResource): string {
  const named = Object.entries(record(record(configuration.resource)[type]));
  const found = named.find(([, other]) => JSON.stringify(other) === JSON.stringify(values));
  return `${type}.${found?.[0] ?? ''}`;
}

function deploymentOf(stack: SynthesizedStack, { name }: DeclaredResource): string {
  const type = 'azurerm_resource_group_template_deployment';
  const named = Object.entries(record(record(stack.configuration.resource)[type]));
  const found = named.find(([, other]) => String(record(other).template_content).includes(`"name":"${name}"`));
  return `${type}.${found?.[0] ?? ''}`;
}
