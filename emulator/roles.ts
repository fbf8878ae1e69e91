import { RELEASE_ROLE } from '../runtime/azure/resource-manager.ts';

/** Role definitions the emulator knows, by GUID: Azure's built-in ones, and one of our own that the training stack defines. */
export const ROLES = {
  owner: '8e3af657-a8ff-443c-a75c-2fe8c4bcb635',
  storageBlobDataContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe',
  keyVaultCryptoOfficer: '14b46e9e-c2b7-41b4-b07b-48a6ebf60603',
  keyVaultCryptoServiceReleaseUser: RELEASE_ROLE,
  monitoringMetricsPublisher: '3913510d-42f4-4e42-8a64-420c390055eb',
  /** Custom: a machine may look at itself and deallocate itself. */
  deallocateOneself: '5b0f6c1e-6d0e-4f53-9b7a-2d7f3c1a9e40',
} as const;

/** Actions and data actions of a role, `*` at the end for all that begin so (built-in roles reference, learn.microsoft.com). */
const ACTIONS: Readonly<Record<string, readonly string[]>> = {
  [ROLES.owner]: ['Microsoft.Compute/*', 'Microsoft.Authorization/*'],
  [ROLES.storageBlobDataContributor]: ['Microsoft.Storage/storageAccounts/blobServices/containers/*'],
  [ROLES.keyVaultCryptoOfficer]: ['Microsoft.KeyVault/vaults/keys/*'],
  [ROLES.keyVaultCryptoServiceReleaseUser]: ['Microsoft.KeyVault/vaults/keys/release/action'],
  [ROLES.monitoringMetricsPublisher]: ['Microsoft.Insights/Telemetry/Write'],
  [ROLES.deallocateOneself]: [
    'Microsoft.Compute/virtualMachines/deallocate/action',
    'Microsoft.Compute/virtualMachines/instanceView/read',
  ],
};

export interface RoleAssignment {
  /** GUID chosen by whoever assigns. */
  readonly name: string;
  readonly scope: string;
  readonly principalId: string;
  readonly roleId: string;
}

/** Who may do what where. `save` is told after every change. */
export class RoleAssignments {
  readonly #assignments: Map<string, RoleAssignment>;
  readonly #save: (all: readonly RoleAssignment[]) => void;

  constructor(initial: readonly RoleAssignment[], save: (all: readonly RoleAssignment[]) => void) {
    this.#assignments = new Map(initial.map((assignment) => [assignment.name, assignment]));
    this.#save = save;
  }

  assign(assignment: RoleAssignment): void {
    this.#assignments.set(assignment.name, assignment);
    this.#save([...this.#assignments.values()]);
  }

  /** The same grant under another name, which Azure refuses with 409. */
  duplicateOf({ name, scope, principalId, roleId }: RoleAssignment): RoleAssignment | undefined {
    return [...this.#assignments.values()].find(
      (other) =>
        other.name !== name && same(other.scope, scope) && other.principalId === principalId && other.roleId === roleId,
    );
  }

  /** A role holds on its scope and on everything below. */
  allows(principalId: string, action: string, resourceId: string): boolean {
    return [...this.#assignments.values()].some(
      ({ scope, roleId, ...assigned }) =>
        assigned.principalId === principalId &&
        `${resourceId}/`.toLowerCase().startsWith(`${scope.replace(/\/$/, '')}/`.toLowerCase()) &&
        (ACTIONS[roleId] ?? []).some((allowed) => matches(allowed, action)),
    );
  }
}

function matches(allowed: string, action: string): boolean {
  return allowed.endsWith('*') ? action.startsWith(allowed.slice(0, -1)) : allowed === action;
}

function same(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}
