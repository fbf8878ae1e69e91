import { ManagementLock } from '@cdktf/provider-azurerm/lib/management-lock/index.js';
import { Construct } from 'constructs';

export interface ResourceLockProps {
  readonly resourceId: string;
  /** What is lost with the resource; it stands in Azure beside the lock. */
  readonly reason: string;
}

/**
 * Keeps a resource from being deleted, by anybody, until the lock is taken away. Azure then deletes nothing beneath it
 * either, role assignments on it included: lock what nobody is given roles on, so that a revocation is never in its way.
 * Free.
 * @example
 * new ResourceLock(this, 'Lock', { resourceId: audit.workspaceId, reason: 'evidence' });
 */
export class ResourceLock extends Construct {
  constructor(scope: Construct, id: string, props: ResourceLockProps) {
    super(scope, id);
    new ManagementLock(this, 'Resource', {
      name: 'keep',
      scope: props.resourceId,
      lockLevel: 'CanNotDelete',
      notes: props.reason,
    });
  }
}
