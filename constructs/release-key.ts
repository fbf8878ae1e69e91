import { Construct } from 'constructs';
import { TRAINING_KEY } from '../runtime/catalogue.ts';
import {
  parseReleasePolicy,
  policyKeyName,
  releasePolicyBytes,
  releasePolicyProblems,
} from '../runtime/keys/release-policy.ts';
import { type Grantee, grantRole } from './grantee.ts';
import { misuse } from './misuse.ts';
import { checkName } from './names.ts';
import type { ReleasePolicy } from './release-policy.ts';
import type { ReleaseVaultReference } from './release-vault.ts';
import { deployTemplate, templateOutput } from './template.ts';

/** First API version of vaults that outlives 2027-02-27 (facts: infrastructure, 0). */
const API_VERSION = '2026-02-01';

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

/**
 * A key that leaves its HSM only towards a machine that meets the policy. Made by the control plane, which creates keys
 * and never updates one: the name carries the policy's digest, so a new policy is a new key and the old one stays.
 * What the control plane cannot do is make the policy immutable: run `ctrain lock-key` before anything is sealed.
 * Destroying it leaves the key in its vault. About 5 USD a month.
 * @example
 * const key = new ReleaseKey(this, 'Key', { vault, policy: ReleasePolicy.confidentialVm({ attestation }) });
 * key.grantRelease(trainer);
 */
export class ReleaseKey extends Construct {
  /** With the digest: `training-key-1a2b3c4d`. */
  readonly keyName: string;
  /** Id of the key in its vault with its version, known after apply. */
  readonly keyId: string;
  readonly #resourceId: string;

  constructor(scope: Construct, id: string, props: ReleaseKeyProps) {
    super(scope, id);
    const { vault } = props;
    const policy = this.#checkPolicy(props.policy);
    this.keyName = checkName(this, 'releaseKey', policyKeyName(props.name ?? TRAINING_KEY, policy));
    const deployment = deployTemplate(this, 'Resource', {
      // The name is part of the deployment's: with a new policy the plan shows one deployment going and one coming.
      name: this.keyName,
      resourceGroupName: vault.resourceGroupName,
      resource: {
        type: 'Microsoft.KeyVault/vaults/keys',
        apiVersion: API_VERSION,
        name: `${vault.vaultName}/${this.keyName}`,
        ...(props.tags === undefined ? {} : { tags: props.tags }),
        properties: {
          kty: 'RSA-HSM',
          keySize: props.keySizeInBits ?? 3072,
          keyOps: ['wrapKey', ...(props.operationsThatBypassAttestation ?? [])],
          attributes: { enabled: true, exportable: true },
          // Snake case amid camel case is how the API has it.
          release_policy: {
            contentType: 'application/json; charset=utf-8',
            data: Buffer.from(releasePolicyBytes(policy)).toString('base64'),
          },
        },
      },
      outputs: { keyId: 'keyUriWithVersion' },
      dependsOn: vault.dependencies,
      ...(props.tags === undefined ? {} : { tags: props.tags }),
    });
    this.keyId = templateOutput(deployment, 'keyId');
    // The deployment is named like the key: this way whoever is given a role on the key waits for it.
    this.#resourceId = `${vault.vaultId}/keys/${deployment.name}`;
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

  /** Lets an identity ask for the key. The vault still demands that its machine meets the policy. */
  grantRelease(to: Grantee): void {
    grantRole(this, 'Release', to, {
      scope: this.#resourceId,
      role: 'Key Vault Crypto Service Release User',
      reason: 'asks for the release of this key after attestation',
    });
  }
}
