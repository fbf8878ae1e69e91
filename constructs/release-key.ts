import { Construct } from 'constructs';
import { TRAINING_KEY } from '../runtime/catalogue.ts';
import { parseReleasePolicy, policyKeyName, releasePolicyProblems } from '../runtime/keys/release-policy.ts';
import { connect, type Grantee, grantRole } from './grantee.ts';
import { misuse, requireMatch } from './misuse.ts';
import { checkName } from './names.ts';
import type { ReleasePolicy } from './release-policy.ts';
import type { ReleaseVaultReference } from './release-vault.ts';
import { templateOutput } from './template.ts';
import { deployVaultKey, vaultKeyResourceId } from './vault-key.ts';

export interface ReleaseKeyProps {
  readonly vault: ReleaseVaultReference;
  readonly policy: ReleasePolicy;
  /**
   * Name without the digest of the policy, which is appended.
   * @default 'training-key'
   */
  readonly name?: string;
  /**
   * Modulus in bits. 4096 is slower to wrap with and not stronger than what surrounds it.
   * @default 3072
   */
  readonly keySizeInBits?: 3072 | 4096;
  /**
   * Operations besides wrapKey. Each one of these lets whoever has a crypto role on the vault open sealed data without any
   * machine being attested; meant for finding out on a live vault whether release needs one.
   * @default []
   */
  readonly operationsThatBypassAttestation?: readonly ('unwrapKey' | 'decrypt')[];
  /**
   * Azure tags of the key and its deployment.
   * @default - no tags
   */
  readonly tags?: Readonly<Record<string, string>>;
}

/** A key by what others need of it: one made here, or one that exists. */
export interface ReleaseKeyReference {
  /** With the digest: `training-key-1a2b3c4d`. */
  readonly keyName: string;
  /** Lets an identity ask for the key. The vault still demands that its machine meets the policy. */
  grantRelease(to: Grantee): void;
}

/**
 * A key that leaves its HSM only towards a machine that meets the policy. Made by the control plane, which creates keys
 * and never updates one: the name carries the policy's digest, so a new policy is a new key and the old one stays.
 * What the control plane cannot do is make the policy immutable: run `ctrain lock-key` before anything is sealed.
 * Destroying it leaves the key in its vault. What is billed is the HSM key by the month used, and its operations.
 * @example
 * const key = new ReleaseKey(this, 'Key', { vault, policy: ReleasePolicy.confidentialVm({ attestation }) });
 * key.grantRelease(trainer);
 */
export class ReleaseKey extends Construct implements ReleaseKeyReference {
  /** With the digest: `training-key-1a2b3c4d`. */
  readonly keyName: string;
  /** Id of the key in its vault with its version, known after apply. */
  readonly keyId: string;
  readonly #resourceId: string;
  readonly #vault: ReleaseVaultReference;

  constructor(scope: Construct, id: string, props: ReleaseKeyProps) {
    super(scope, id);
    const { vault } = props;
    this.#vault = vault;
    const policy = this.#checkPolicy(props.policy);
    this.keyName = checkName(this, 'releaseKey', policyKeyName(props.name ?? TRAINING_KEY, policy));
    const deployment = deployVaultKey(this, {
      vault,
      keyName: this.keyName,
      keySizeInBits: props.keySizeInBits ?? 3072,
      operations: ['wrapKey', ...(props.operationsThatBypassAttestation ?? [])],
      releasePolicy: policy,
      tags: props.tags,
    });
    this.keyId = templateOutput(deployment, 'keyId');
    this.#resourceId = vaultKeyResourceId(vault, deployment);
  }

  #checkPolicy(given: ReleasePolicy): ReleasePolicy {
    let policy: ReleasePolicy;
    try {
      policy = parseReleasePolicy(given);
    } catch (cause) {
      throw misuse(this, 'policy', 'one that a vault takes', cause instanceof Error ? cause.message : String(cause));
    }
    const problems = releasePolicyProblems(policy);
    if (problems.length > 0) throw misuse(this, 'policy', 'one for a program in a VM', problems);
    return policy;
  }

  /** A key that exists, by its whole name with the digest of its policy. */
  static fromKeyName(scope: Construct, id: string, vault: ReleaseVaultReference, keyName: string): ReleaseKeyReference {
    const place = new Construct(scope, id);
    requireMatch(
      place,
      'keyName',
      keyName,
      /^[A-Za-z0-9-]+-[0-9a-f]{8}$/,
      'a name that ends with the digest of a policy',
    );
    return { keyName, grantRelease: (to) => grantRelease(place, vault, `${vault.vaultId}/keys/${keyName}`, to) };
  }

  grantRelease(to: Grantee): void {
    grantRelease(this, this.#vault, this.#resourceId, to);
  }
}

function grantRelease(giver: Construct, vault: ReleaseVaultReference, keyId: string, to: Grantee): void {
  grantRole(giver, 'Release', to, {
    scope: keyId,
    role: 'Key Vault Crypto Service Release User',
    reason: 'asks for the release of this key after attestation',
  });
  connect(to, { service: 'vault', hostName: vault.vaultHost, address: vault.address });
}
