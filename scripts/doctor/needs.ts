import type { SynthesizedStack } from '../synthesize.ts';
import { type DeclaredResource, declaredResources, ofType, record } from './resources.ts';

/** A role that whoever applies a stack has to have, and why. */
export interface RoleNeed {
  readonly stack: string;
  readonly role: string;
  readonly scope: string;
  readonly because: string;
}

/** Something that has to be so in the subscription or tenant before anything is applied. */
export interface Prerequisite {
  readonly what: string;
  readonly how: string;
}

/** "Confidential VM Orchestrator": Microsoft's own application that opens a confidential disk's key when a machine starts. */
export const ORCHESTRATOR_APP_ID = 'bf7b6499-ff71-4aa2-97a4-f372087be7f0';

/** Computed from what the stacks contain; built-in roles, least first. */
export function roleNeeds(stacks: readonly SynthesizedStack[]): readonly RoleNeed[] {
  return stacks.flatMap(({ name: stack, configuration }) => {
    const own = declaredResources([{ name: stack, configuration }]);
    const scope = `/subscriptions/${own[0]?.subscriptionId ?? ''}`;
    const makesGroups = ofType(own, 'azurerm_resource_group').length > 0;
    const others = own.filter(
      ({ azureType }) => azureType !== undefined && !azureType.startsWith('Microsoft.Authorization/'),
    );
    const services = [...new Set(others.map(({ azureType }) => namespaceOf(azureType)))].sort();
    const needs: RoleNeed[] = [
      {
        stack,
        role: 'Contributor',
        scope,
        because: `${makesGroups ? 'makes its resource group and ' : ''}manages ${services.join(', ')}`,
      },
    ];
    const rights = ['locks', 'roleDefinitions', 'policyAssignments'].filter(
      (kind) => ofType(own, `Microsoft.Authorization/${kind}`).length > 0,
    );
    const assigns = ofType(own, 'azurerm_role_assignment').length;
    if (rights.includes('policyAssignments')) {
      needs.push({ stack, role: 'Resource Policy Contributor', scope, because: 'assigns policies' });
    }
    if (rights.includes('locks') || rights.includes('roleDefinitions')) {
      const made = rights.filter((kind) => kind !== 'policyAssignments').join(', ');
      needs.push({
        stack,
        role: 'User Access Administrator',
        scope,
        because: `makes ${made}${assigns > 0 ? ', assigns roles' : ''}`,
      });
    } else if (assigns > 0) {
      const because = `assigns ${assigns} roles`;
      needs.push({ stack, role: 'Role Based Access Control Administrator', scope, because });
    }
    return [...needs, ...stateNeed(stack, configuration)];
  });
}

/** What nobody can apply without: registrations, which the provider is told not to make, and what confidential disks need. */
export function prerequisites(stacks: readonly SynthesizedStack[]): readonly Prerequisite[] {
  const resources = declaredResources(stacks);
  const registrations = namespaces(resources).map(({ subscriptionId, namespace }) => ({
    what: `${namespace} registered in ${subscriptionId}`,
    how: `az provider register --subscription ${subscriptionId} -n ${namespace}`,
  }));
  return [...registrations, ...diskPrerequisites(resources), ...machinePrerequisites(resources)];
}

/** Resource providers by subscription. */
export function namespaces(
  resources: readonly DeclaredResource[],
): readonly { readonly subscriptionId: string; readonly namespace: string }[] {
  const found = new Map(
    resources.map(({ subscriptionId, azureType }) => {
      const namespace = namespaceOf(azureType);
      return [`${subscriptionId} ${namespace}`, { subscriptionId, namespace }];
    }),
  );
  // These two are in every subscription.
  return [...found.values()]
    .filter(({ namespace }) => !['', 'Microsoft.Authorization', 'Microsoft.Resources'].includes(namespace))
    .sort((a, b) => (`${a.subscriptionId} ${a.namespace}` < `${b.subscriptionId} ${b.namespace}` ? -1 : 1));
}

/** Whether a machine's disk is opened by the orchestrator: with a customer's key it is. */
export function needsOrchestrator(resources: readonly DeclaredResource[]): boolean {
  const sets = ofType(resources, 'azurerm_disk_encryption_set');
  return sets.some(({ values }) => values.encryption_type === 'ConfidentialVmEncryptedWithCustomerKey');
}

/** Machines by region and size, as a quota counts them. */
export interface MachineDemand {
  readonly subscriptionId: string;
  readonly location: string;
  readonly size: string;
  readonly count: number;
  /** All of them together; the number in the size's name, which the resource manager confirms. */
  readonly cores: number;
}

export function machineDemand(resources: readonly DeclaredResource[]): readonly MachineDemand[] {
  const demand = new Map<string, MachineDemand>();
  for (const { subscriptionId, values } of ofType(resources, 'azurerm_linux_virtual_machine')) {
    const [location, size] = [String(values.location), String(values.size)];
    const key = `${subscriptionId} ${location} ${size}`;
    const count = (demand.get(key)?.count ?? 0) + 1;
    const cores = count * Number(/\d+/.exec(size)?.[0] ?? 0);
    demand.set(key, { subscriptionId, location, size, count, cores });
  }
  return [...demand.values()];
}

function diskPrerequisites(resources: readonly DeclaredResource[]): Prerequisite[] {
  if (!needsOrchestrator(resources)) return [];
  return [
    {
      what: `service principal of Confidential VM Orchestrator (${ORCHESTRATOR_APP_ID}) in the tenant`,
      how: `az ad sp create --id ${ORCHESTRATOR_APP_ID}`,
    },
  ];
}

function machinePrerequisites(resources: readonly DeclaredResource[]): Prerequisite[] {
  return machineDemand(resources).map(({ subscriptionId, location, size, count, cores }) => ({
    what: `quota for ${cores} cores in the family of ${size} (${count} machines) in ${location}`,
    how: `az vm list-usage --subscription ${subscriptionId} -l ${location}, then ask for an increase`,
  }));
}

function stateNeed(stack: string, configuration: SynthesizedStack['configuration']): RoleNeed[] {
  const backend = record(record(record(configuration.terraform).backend).azurerm);
  if (typeof backend.storage_account_name !== 'string') return [];
  const group = `/subscriptions/${String(backend.subscription_id)}/resourceGroups/${String(backend.resource_group_name)}`;
  const scope = `${group}/providers/Microsoft.Storage/storageAccounts/${backend.storage_account_name}`;
  return [{ stack, role: 'Storage Blob Data Contributor', scope, because: 'keeps its state there' }];
}

function namespaceOf(azureType: string | undefined): string {
  return (azureType ?? '').split('/')[0] ?? '';
}
