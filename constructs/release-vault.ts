import type { ITerraformDependable } from 'cdktf';
import { Construct } from 'constructs';
import { type Grantee, grantRole } from './grantee.ts';
import { misuse } from './misuse.ts';
import { premiumVault, type VaultProps, type VaultReference } from './premium-vault.ts';

export type ReleaseVaultReference = VaultReference;
export type ReleaseVaultProps = VaultProps;

/**
 * A data owner's vault for keys that are released to attested machines: Premium (keys in an HSM, exportable only under a
 * release policy), roles instead of access policies, purge protection, no public network, no bypass for Azure services.
 * The vault itself is free; what is billed is each HSM key, its operations, and the endpoint where there is one.
 * @example
 * const vault = new ReleaseVault(this, 'Vault', { ...place, privateAccess, audit });
 */
export class ReleaseVault extends Construct implements ReleaseVaultReference {
  readonly vaultId: string;
  readonly vaultName: string;
  readonly resourceGroupName: string;
  readonly vaultHost: string;
  readonly address: string | undefined;
  readonly dependencies: readonly ITerraformDependable[];

  constructor(scope: Construct, id: string, props: ReleaseVaultProps) {
    super(scope, id);
    const vault = premiumVault(this, props, 'None');
    this.vaultId = vault.vaultId;
    this.vaultName = vault.vaultName;
    this.resourceGroupName = vault.resourceGroupName;
    this.vaultHost = vault.vaultHost;
    this.address = vault.address;
    this.dependencies = vault.dependencies;
  }

  /** A vault that exists, or that another stack makes, with the address of its private endpoint where trainers need it. */
  static fromVaultId(scope: Construct, id: string, vaultId: string, address?: string): ReleaseVaultReference {
    const place = new Construct(scope, id);
    const parts = /\/resourceGroups\/([^/]+)\/providers\/Microsoft\.KeyVault\/vaults\/([^/]+)$/i.exec(vaultId);
    const [, resourceGroupName, vaultName] = parts ?? [];
    if (resourceGroupName === undefined || vaultName === undefined) {
      throw misuse(place, 'vaultId', 'the resource id of a key vault', vaultId);
    }
    const vaultHost = `${vaultName}.vault.azure.net`;
    return { vaultId, vaultName, resourceGroupName, vaultHost, address, dependencies: [] };
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
