import { UserAssignedIdentity } from '@cdktf/provider-azurerm/lib/user-assigned-identity/index.js';
import type { ITerraformDependable } from 'cdktf';
import { Construct } from 'constructs';
import { grantRole } from './grantee.ts';
import { requireMatch } from './misuse.ts';
import { checkName, nameOf } from './names.ts';
import type { PlacementProps } from './placement.ts';
import type { VaultReference } from './premium-vault.ts';
import { deployVaultKey, vaultKeyResourceId } from './vault-key.ts';

/** A key that a service encrypts with at rest, and the identity by which it reaches the key. */
export interface CustomerKeyReference {
  /** Without a version: `https://NAME.vault.azure.net/keys/KEY`; the service follows the newest one. */
  readonly keyUri: string;
  readonly identityId: string;
  /** What has to exist before the key can be used; nothing for one that is brought. */
  readonly dependencies: readonly ITerraformDependable[];
}

export interface CustomerKeyProps extends PlacementProps {
  readonly vault: VaultReference;
  /**
   * Modulus in bits.
   * @default 3072
   */
  readonly keySizeInBits?: 3072 | 4096;
}

/**
 * A key at rest that is the customer's and not Azure's, with the one identity that may wrap with it: taking the role away
 * shuts the storage. It never leaves its HSM. Made by the control plane; destroying it leaves the key in its vault.
 * What is billed is the HSM key and its operations.
 * @example
 * const customerKey = new CustomerKey(this, 'StorageKey', { ...place, vault });
 * const store = new DataStore(this, 'Store', { ...place, privateAccess, audit, customerKey });
 */
export class CustomerKey extends Construct implements CustomerKeyReference {
  readonly keyUri: string;
  readonly identityId: string;
  readonly dependencies: readonly ITerraformDependable[];

  constructor(scope: Construct, id: string, props: CustomerKeyProps) {
    super(scope, id);
    const { vault } = props;
    const keyName = nameOf(this, 'releaseKey', props.name);
    const deployment = deployVaultKey(this, {
      vault,
      keyName,
      keySizeInBits: props.keySizeInBits ?? 3072,
      operations: ['wrapKey', 'unwrapKey'],
      tags: props.tags,
    });
    const identity = new UserAssignedIdentity(this, 'Identity', {
      name: checkName(this, 'identity', `id-${keyName}`),
      resourceGroupName: props.resourceGroupName,
      location: props.location,
      ...(props.tags === undefined ? {} : { tags: props.tags }),
    });
    const grant = grantRole(this, 'Wrap', identity, {
      scope: vaultKeyResourceId(vault, deployment),
      role: 'Key Vault Crypto Service Encryption User',
      reason: 'encrypts what lies in storage',
    });
    this.keyUri = `https://${vault.vaultHost}/keys/${keyName}`;
    this.identityId = identity.id;
    this.dependencies = [deployment, grant];
  }

  /** A key that exists, with an identity that may already wrap with it. */
  static fromKeyUri(scope: Construct, id: string, keyUri: string, identityId: string): CustomerKeyReference {
    const place = new Construct(scope, id);
    const wanted = 'an https URI of a key without its version';
    requireMatch(place, 'keyUri', keyUri, /^https:\/\/[a-z0-9.-]+\/keys\/[A-Za-z0-9-]+$/, wanted);
    return { keyUri, identityId, dependencies: [] };
  }
}
