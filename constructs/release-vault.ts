import { KeyVault } from '@cdktf/provider-azurerm/lib/key-vault/index.js';
import type { ITerraformDependable } from 'cdktf';
import { Construct } from 'constructs';
import type { AuditTarget } from './audit-log.ts';
import { type Grantee, grantRole } from './grantee.ts';
import { GUID, misuse, requireMatch, requireWithin } from './misuse.ts';
import { nameOf } from './names.ts';
import type { PlacementProps } from './placement.ts';
import { PrivateAccess, type PrivateAccessOptions } from './private-access.ts';
import { currentTenantId } from './provider.ts';

/** A vault by what others need of it: one made here, or one that exists. */
export interface ReleaseVaultReference {
  readonly vaultId: string;
  readonly vaultName: string;
  readonly resourceGroupName: string;
  /** `NAME.vault.azure.net` */
  readonly vaultHost: string;
  /** What has to exist before a key can; nothing for a vault that is brought. */
  readonly dependencies: readonly ITerraformDependable[];
}

export interface ReleaseVaultProps extends PlacementProps {
  /** Where every use of a key is recorded. The owner's own log: it is how an owner sees what the platform did. */
  readonly audit: AuditTarget;
  /**
   * The way in to the data plane.
   * @default - none here: whoever's network needs the vault brings a {@link PrivateAccess} to it
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

/**
 * A data owner's vault for keys that are released to attested machines: Premium (keys in an HSM, exportable only under a
 * release policy), roles instead of access policies, purge protection, no public network, no bypass for Azure services.
 * The vault itself is free; an HSM key costs about 1 USD a month (RSA 3072: 5 USD), the endpoint about 7.
 * @example
 * const vault = new ReleaseVault(this, 'Vault', { ...place, privateAccess, audit });
 */
export class ReleaseVault extends Construct implements ReleaseVaultReference {
  readonly vaultId: string;
  readonly vaultName: string;
  readonly resourceGroupName: string;
  readonly vaultHost: string;
  readonly dependencies: readonly ITerraformDependable[];

  constructor(scope: Construct, id: string, props: ReleaseVaultProps) {
    super(scope, id);
    const name = nameOf(this, 'keyVault', props.name);
    const tenantId = props.tenantId ?? currentTenantId(this);
    const vault = new KeyVault(this, 'Resource', {
      name,
      resourceGroupName: props.resourceGroupName,
      location: props.location,
      tenantId: requireMatch(this, 'tenantId', tenantId, GUID, 'a lower-case GUID'),
      skuName: 'premium',
      rbacAuthorizationEnabled: true,
      purgeProtectionEnabled: true,
      softDeleteRetentionDays: requireWithin(
        this,
        'softDeleteRetentionDays',
        props.softDeleteRetentionDays ?? 90,
        7,
        90,
      ),
      publicNetworkAccessEnabled: false,
      networkAcls: { defaultAction: 'Deny', bypass: 'None' },
      enabledForDeployment: false,
      enabledForDiskEncryption: false,
      enabledForTemplateDeployment: false,
      lifecycle: { preventDestroy: props.preventDestroy ?? true },
      ...(props.tags === undefined ? {} : { tags: props.tags }),
    });
    props.audit.record(this, 'vault', vault.id);
    if (props.privateAccess !== undefined) {
      new PrivateAccess(this, 'Access', {
        resourceGroupName: props.resourceGroupName,
        location: props.location,
        ...(props.tags === undefined ? {} : { tags: props.tags }),
        ...props.privateAccess,
        service: 'vault',
        targetId: vault.id,
      });
    }
    this.vaultId = vault.id;
    this.vaultName = name;
    this.resourceGroupName = props.resourceGroupName;
    this.vaultHost = `${name}.vault.azure.net`;
    this.dependencies = [vault];
  }

  /** A vault that exists, or that another stack makes. */
  static fromVaultId(scope: Construct, id: string, vaultId: string): ReleaseVaultReference {
    const place = new Construct(scope, id);
    const parts = /\/resourceGroups\/([^/]+)\/providers\/Microsoft\.KeyVault\/vaults\/([^/]+)$/i.exec(vaultId);
    const [, resourceGroupName, vaultName] = parts ?? [];
    if (resourceGroupName === undefined || vaultName === undefined) {
      throw misuse(place, 'vaultId', 'the resource id of a key vault', vaultId);
    }
    return { vaultId, vaultName, resourceGroupName, vaultHost: `${vaultName}.vault.azure.net`, dependencies: [] };
  }

  /** Lets an owner's administrator create, lock, disable and delete keys. Adding unwrapKey to a key is in this role's power. */
  grantAdminister(to: Grantee): void {
    grantRole(this, 'Administer', to, {
      scope: this.vaultId,
      role: 'Key Vault Crypto Officer',
      reason: 'locks, disables and rotates release keys',
    });
  }

  /** Lets someone read public halves and policies of keys, as sealing and approving do. */
  grantRead(to: Grantee): void {
    grantRole(this, 'Read', to, {
      scope: this.vaultId,
      role: 'Key Vault Reader',
      reason: 'reads public keys and release policies before sealing or approving',
    });
  }
}
