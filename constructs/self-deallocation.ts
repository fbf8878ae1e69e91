import { DevTestGlobalVmShutdownSchedule } from '@cdktf/provider-azurerm/lib/dev-test-global-vm-shutdown-schedule/index.js';
import { RoleAssignment } from '@cdktf/provider-azurerm/lib/role-assignment/index.js';
import { RoleDefinition } from '@cdktf/provider-azurerm/lib/role-definition/index.js';
import { Construct } from 'constructs';
import { requireMatch } from './misuse.ts';

export interface SelfDeallocationProps {
  /** Resource id of the group that the machines are in. */
  readonly resourceGroupId: string;
  readonly location: string;
  /** Resource ids of the machines. */
  readonly vmIds: readonly string[];
  /** Object id of the machines' identity. */
  readonly principalId: string;
  /** What tells this role from others: role names are unique in a tenant. */
  readonly roleName: string;
  /**
   * Time of day (HHMM, UTC) at which a machine that is still on is switched off. A run under way goes on at its next start.
   * @default '0400'
   */
  readonly dailyShutdown?: string;
  /**
   * Azure tags of the schedules.
   * @default - no tags
   */
  readonly tags?: Readonly<Record<string, string>>;
}

/**
 * Stops paying for machines that have finished: a role that may do nothing but switch them off, given to themselves, and
 * a daily schedule for the one that no longer can (a machine that is only shut down from inside stays billed).
 * Free. A ConfidentialTrainer brings its own.
 * @example
 * new SelfDeallocation(this, 'Stop', { resourceGroupId, location, vmIds, principalId, roleName: 'Switch off vm-fraud' });
 */
export class SelfDeallocation extends Construct {
  constructor(scope: Construct, id: string, props: SelfDeallocationProps) {
    super(scope, id);
    const time = requireMatch(
      this,
      'dailyShutdown',
      props.dailyShutdown ?? '0400',
      /^([01]\d|2[0-3])[0-5]\d$/,
      'a time of day as HHMM',
    );
    const role = new RoleDefinition(this, 'Role', {
      name: props.roleName,
      description: 'switch a trainer off, and see whether it is',
      scope: props.resourceGroupId,
      assignableScopes: [props.resourceGroupId],
      permissions: [
        {
          actions: [
            'Microsoft.Compute/virtualMachines/read',
            'Microsoft.Compute/virtualMachines/instanceView/read',
            'Microsoft.Compute/virtualMachines/deallocate/action',
          ],
        },
      ],
    });
    for (const [i, vmId] of props.vmIds.entries()) {
      new RoleAssignment(this, `Deallocate${i}`, {
        scope: vmId,
        roleDefinitionId: role.roleDefinitionResourceId,
        principalId: props.principalId,
        principalType: 'ServicePrincipal',
        skipServicePrincipalAadCheck: true,
        description: 'switches itself off when its run has ended',
      });
      new DevTestGlobalVmShutdownSchedule(this, `Schedule${i}`, {
        virtualMachineId: vmId,
        location: props.location,
        dailyRecurrenceTime: time,
        timezone: 'UTC',
        enabled: true,
        notificationSettings: { enabled: false },
        ...(props.tags === undefined ? {} : { tags: props.tags }),
      });
    }
  }
}
