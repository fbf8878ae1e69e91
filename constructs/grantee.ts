import { RoleAssignment } from '@cdktf/provider-azurerm/lib/role-assignment/index.js';
import type { Construct } from 'constructs';
import type { ServiceEndpoint } from './private-access.ts';

/** Who gets a role: a construct with an identity, or the object id of a user, group or service principal. */
export type Grantee =
  | string
  | (Construct & {
      readonly principalId: string;
      /** Told where the service is that it was given a role at; for what has no DNS. */
      connect?(endpoint: ServiceEndpoint): void;
    });

export interface RoleGrant {
  /** Resource id the role holds for: a container rather than an account, a key rather than a vault. */
  readonly scope: string;
  /** Azure's name of a built-in role. */
  readonly role: string;
  /** Why; it stands in Azure beside the assignment, where an access review reads it. */
  readonly reason: string;
}

/**
 * Assigns a role. The assignment belongs to the construct that receives it, so that in two stacks only the
 * receiver's depends on the giver's; for a bare principal id it belongs to the giver.
 */
export function grantRole(giver: Construct, id: string, to: Grantee, grant: RoleGrant): RoleAssignment {
  const isConstruct = typeof to !== 'string';
  const owner = isConstruct ? to : giver;
  return new RoleAssignment(owner, isConstruct ? `${giver.node.id}-${id}` : `${id}-${to}`, {
    scope: grant.scope,
    roleDefinitionName: grant.role,
    principalId: isConstruct ? to.principalId : to,
    description: grant.reason,
    // A managed identity made in the same apply is unknown to Entra's read replicas for a while: without its type the assignment fails now and then.
    ...(isConstruct ? { principalType: 'ServicePrincipal', skipServicePrincipalAadCheck: true } : {}),
  });
}

/** Tells a construct that has just been given a role where to find the service; a bare principal id looks it up itself. */
export function connect(to: Grantee, endpoint: ServiceEndpoint): void {
  if (typeof to !== 'string') to.connect?.(endpoint);
}
