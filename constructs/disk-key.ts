import { DiskEncryptionSet } from '@cdktf/provider-azurerm/lib/disk-encryption-set/index.js';
import { UserAssignedIdentity } from '@cdktf/provider-azurerm/lib/user-assigned-identity/index.js';
import type { ITerraformDependable } from 'cdktf';
import { Construct } from 'constructs';
import { policyKeyName } from '../runtime/keys/release-policy.ts';
import { diskReleasePolicy } from './disk-key-policy.ts';
import { grantRole } from './grantee.ts';
import { GUID, requireMatch } from './misuse.ts';
import { checkName, nameOf } from './names.ts';
import type { PlacementProps } from './placement.ts';
import type { VaultReference } from './premium-vault.ts';
import { templateOutput } from './template.ts';
import { deployVaultKey, vaultKeyResourceId } from './vault-key.ts';

/** A disk encryption set for confidential machines. */
export interface DiskKeyReference {
  readonly diskEncryptionSetId: string;
  /**
   * Region of the set, which has to be that of the machines.
   * @default - not known here; Azure refuses another one at apply
   */
  readonly location?: string | undefined;
  /** What has to exist before a machine starts; nothing for a set that is brought. */
  readonly dependencies: readonly ITerraformDependable[];
}

export interface DiskKeyProps extends PlacementProps {
  /** Premium, protected from purging, open to trusted services: a CustomerKeyVault. In the subscription of the machines. */
  readonly vault: VaultReference;
  /**
   * Object id, in this tenant, of Azure's "Confidential VM Orchestrator" (application bf7b6499-ff71-4aa2-97a4-f372087be7f0).
   * A tenant has it once somebody made its service principal: `az ad sp create --id bf7b6499-ff71-4aa2-97a4-f372087be7f0`.
   */
  readonly orchestratorPrincipalId: string;
  /**
   * Modulus in bits.
   * @default 3072
   */
  readonly keySizeInBits?: 3072 | 4096;
}

/**
 * Disks of confidential machines encrypted with a key of your own: an HSM key that is released to attested machines only,
 * the set that names it, and the grants of the set and of Azure's orchestrator.
 * A set follows no new version of its key: rotate by a new DiskKey, and with machines that are off.
 * What is billed is the HSM key and its operations; the set is free.
 * @example
 * const diskKey = new DiskKey(this, 'DiskKey', { ...place, vault, orchestratorPrincipalId });
 * const trainer = new ConfidentialTrainer(this, 'Trainer', { ...place, subnetId, bundle, audit, diskKey });
 */
export class DiskKey extends Construct implements DiskKeyReference {
  readonly diskEncryptionSetId: string;
  readonly location: string;
  /** With the digest of its policy. */
  readonly keyName: string;
  readonly dependencies: readonly ITerraformDependable[];

  constructor(scope: Construct, id: string, props: DiskKeyProps) {
    super(scope, id);
    const { vault } = props;
    const orchestrator = requireMatch(
      this,
      'orchestratorPrincipalId',
      props.orchestratorPrincipalId,
      GUID,
      'a lower-case GUID',
    );
    const name = nameOf(this, 'diskEncryptionSet', props.name);
    const place = {
      resourceGroupName: props.resourceGroupName,
      location: props.location,
      ...(props.tags === undefined ? {} : { tags: props.tags }),
    };
    const policy = diskReleasePolicy();
    this.keyName = checkName(this, 'releaseKey', policyKeyName(`disk-${name}`, policy));
    const deployment = deployVaultKey(this, {
      vault,
      keyName: this.keyName,
      keySizeInBits: props.keySizeInBits ?? 3072,
      operations: ['wrapKey', 'unwrapKey'],
      releasePolicy: policy,
      tags: props.tags,
    });
    const keyId = vaultKeyResourceId(vault, deployment);
    // Its own identity and not the set's: that one would exist only after the set, which needs the role to be made.
    const identity = new UserAssignedIdentity(this, 'Identity', {
      ...place,
      name: checkName(this, 'identity', `id-${name}`),
    });
    const wrap = grantRole(this, 'Wrap', identity, {
      scope: keyId,
      role: 'Key Vault Crypto Service Encryption User',
      reason: 'the disk encryption set wraps the keys of disks',
    });
    const release = grantRole(this, 'Orchestrator', orchestrator, {
      scope: keyId,
      role: 'Key Vault Crypto Service Release User',
      reason: 'the Confidential VM Orchestrator has the key released to a machine that it attested, before it starts',
    });
    const set = new DiskEncryptionSet(this, 'Set', {
      ...place,
      name,
      encryptionType: 'ConfidentialVmEncryptedWithCustomerKey',
      keyVaultKeyId: templateOutput(deployment, 'keyId'),
      autoKeyRotationEnabled: false, // not supported for confidential machines
      identity: { type: 'UserAssigned', identityIds: [identity.id] },
      dependsOn: [wrap],
    });
    this.diskEncryptionSetId = set.id;
    this.location = props.location;
    this.dependencies = [set, release];
  }

  /** A set of type ConfidentialVmEncryptedWithCustomerKey that exists; the orchestrator has its role already. */
  static fromDiskEncryptionSetId(scope: Construct, id: string, diskEncryptionSetId: string): DiskKeyReference {
    const place = new Construct(scope, id);
    const wanted = 'the resource id of a disk encryption set';
    const pattern = /\/Microsoft\.Compute\/diskEncryptionSets\/[^/]+$/i;
    requireMatch(place, 'diskEncryptionSetId', diskEncryptionSetId, pattern, wanted);
    return { diskEncryptionSetId, dependencies: [] };
  }
}
