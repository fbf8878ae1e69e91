import { KeyVault } from '@cdktf/provider-azurerm/lib/key-vault/index.js';
import type { ITerraformDependable } from 'cdktf';
import type { Construct } from 'constructs';
import type { AuditTarget } from './audit-log.ts';
import { GUID, requireMatch, requireWithin } from './misuse.ts';
import { nameOf } from './names.ts';
import type { PlacementProps } from './placement.ts';
import { addPrivateAccess, type PrivateAccessOptions } from './private-access.ts';
import { currentTenantId } from './provider.ts';

/** A vault by what others need of it: one made here, or one that exists. */
export interface VaultReference {
  readonly vaultId: string;
  readonly vaultName: string;
  readonly resourceGroupName: string;
  /** `NAME.vault.azure.net` */
  readonly vaultHost: string;
  /**
   * Address of its private endpoint.
   * @default - whoever needs it brings an endpoint, or a DNS that knows one
   */
  readonly address?: string | undefined;
  /** What has to exist before a key can; nothing for a vault that is brought. */
  readonly dependencies: readonly ITerraformDependable[];
}

export interface VaultProps extends PlacementProps {
  /** Where every use of a key is recorded. A data owner's own log: it is how an owner sees what the platform did. */
  readonly audit: AuditTarget;
  /**
   * The way in to the data plane.
   * @default - none here: whoever's network needs the vault brings a PrivateAccess to it
   */
  readonly privateAccess?: PrivateAccessOptions;
  /**
   * Entra tenant whose tokens the vault takes.
   * @default - the tenant of whoever applies
   */
  readonly tenantId?: string;
  /**
   * Days that a deleted vault and its keys can be brought back, 7 to 90; the name stays taken as long. Fixed at creation.
   * @default 90
   */
  readonly softDeleteRetentionDays?: number;
  /**
   * Refuse a plan that would destroy the vault, and with it the only keys to the data.
   * @default true
   */
  readonly preventDestroy?: boolean;
}

/** The one kind of vault there is here: keys in an HSM, roles, purge protection, no public network; every use recorded. */
export function premiumVault(scope: Construct, props: VaultProps, bypass: 'None' | 'AzureServices'): VaultReference {
  const name = nameOf(scope, 'keyVault', props.name);
  const tenantId = props.tenantId ?? currentTenantId(scope);
  const days = props.softDeleteRetentionDays ?? 90;
  const vault = new KeyVault(scope, 'Resource', {
    name,
    resourceGroupName: props.resourceGroupName,
    location: props.location,
    tenantId: requireMatch(scope, 'tenantId', tenantId, GUID, 'a lower-case GUID'),
    skuName: 'premium',
    rbacAuthorizationEnabled: true,
    purgeProtectionEnabled: true,
    softDeleteRetentionDays: requireWithin(scope, 'softDeleteRetentionDays', days, 7, 90),
    publicNetworkAccessEnabled: false,
    networkAcls: { defaultAction: 'Deny', bypass },
    enabledForDeployment: false,
    enabledForDiskEncryption: false,
    enabledForTemplateDeployment: false,
    lifecycle: { preventDestroy: props.preventDestroy ?? true },
    ...(props.tags === undefined ? {} : { tags: props.tags }),
  });
  props.audit.record(scope, 'vault', vault.id);
  return {
    vaultId: vault.id,
    vaultName: name,
    resourceGroupName: props.resourceGroupName,
    vaultHost: `${name}.vault.azure.net`,
    address: addPrivateAccess(scope, 'vault', vault.id, props)?.address,
    dependencies: [vault],
  };
}
