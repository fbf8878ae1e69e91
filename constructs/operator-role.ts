import { RoleAssignment } from '@cdktf/provider-azurerm/lib/role-assignment/index.js';
import { RoleDefinition } from '@cdktf/provider-azurerm/lib/role-definition/index.js';
import { Construct } from 'constructs';
import type { Grantee } from './grantee.ts';

export interface OperatorRoleProps {
  /** Resource id of the group that the machines are in. */
  readonly resourceGroupId: string;
  /** What tells this role from others: role names are unique in a tenant. */
  readonly name: string;
}

/**
 * Who runs the machines without being able to enter them: start, switch off, read the serial console. Azure's built-in
 * roles for machines also change disks, identities and extensions, which is a way in. Free.
 * @example
 * new OperatorRole(this, 'Operate', { resourceGroupId, name: 'vm-fraud' }).grant(groupId, trainer.vmIds);
 */
export class OperatorRole extends Construct {
  readonly #roleId: string;

  constructor(scope: Construct, id: string, props: OperatorRoleProps) {
    super(scope, id);
    const role = new RoleDefinition(this, 'Resource', {
      name: `Trainer operation ${props.name}`,
      description: 'start trainers, switch them off, read what they say on the serial console',
      scope: props.resourceGroupId,
      assignableScopes: [props.resourceGroupId],
      permissions: [
        {
          actions: [
            'Microsoft.Compute/virtualMachines/read',
            'Microsoft.Compute/virtualMachines/instanceView/read',
            'Microsoft.Compute/virtualMachines/start/action',
            'Microsoft.Compute/virtualMachines/deallocate/action',
            'Microsoft.Compute/virtualMachines/retrieveBootDiagnosticsData/action',
          ],
        },
      ],
    });
    this.#roleId = role.roleDefinitionResourceId;
  }

  /** On each machine and not on the group, which may come to hold others. */
  grant(to: Grantee, vmIds: readonly string[]): void {
    const principalId = typeof to === 'string' ? to : to.principalId;
    const who = typeof to === 'string' ? to : to.node.addr;
    for (const [i, vmId] of vmIds.entries()) {
      new RoleAssignment(this, `${who}-${i}`, {
        scope: vmId,
        roleDefinitionId: this.#roleId,
        principalId,
        description: 'starts trainers, switches them off, reads their serial console',
      });
    }
  }
}
