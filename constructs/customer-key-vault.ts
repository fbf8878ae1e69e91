import type { ITerraformDependable } from 'cdktf';
import { Construct } from 'constructs';
import { premiumVault, type VaultProps, type VaultReference } from './premium-vault.ts';
import { ReleaseVault } from './release-vault.ts';

export type CustomerKeyVaultProps = VaultProps;

/**
 * The platform's vault for keys that encrypt disks and storage at rest. Like a {@link ReleaseVault}, and apart from it:
 * storage and disks reach it as trusted services of Azure, which no data owner's vault lets in.
 * The vault itself is free; what is billed is each HSM key, its operations, and the endpoint where there is one.
 * @example
 * const vault = new CustomerKeyVault(this, 'KeyVault', { ...place, audit });
 * const customerKey = new CustomerKey(this, 'StorageKey', { ...place, vault });
 */
export class CustomerKeyVault extends Construct implements VaultReference {
  readonly vaultId: string;
  readonly vaultName: string;
  readonly resourceGroupName: string;
  readonly vaultHost: string;
  readonly address: string | undefined;
  readonly dependencies: readonly ITerraformDependable[];

  constructor(scope: Construct, id: string, props: CustomerKeyVaultProps) {
    super(scope, id);
    // Storage and disk encryption sets come from no network of ours: this is the one bypass there is.
    const vault = premiumVault(this, props, 'AzureServices');
    this.vaultId = vault.vaultId;
    this.vaultName = vault.vaultName;
    this.resourceGroupName = vault.resourceGroupName;
    this.vaultHost = vault.vaultHost;
    this.address = vault.address;
    this.dependencies = vault.dependencies;
  }

  /** A vault that exists. It has to be Premium, protected from purging, and open to trusted services of Azure. */
  static fromVaultId(scope: Construct, id: string, vaultId: string): VaultReference {
    return ReleaseVault.fromVaultId(scope, id, vaultId);
  }
}
