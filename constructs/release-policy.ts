import type { EnvironmentPolicy } from '../runtime/catalogue.ts';
import { buildReleasePolicy, type ReleasePolicy as Policy } from '../runtime/keys/release-policy.ts';

export type ReleasePolicy = Policy;

export interface ConfidentialVmPolicyOptions {
  /** The owner's own provider: its tokens, and nobody else's, open the key. */
  readonly attestation: { readonly authority: string };
  /**
   * `x-ms-policy-hash` of the policy that the provider serves. A wrong one keeps the key closed, never open.
   * @default - the hash of the policy text that comes with this package
   */
  readonly policyHash?: string;
  /**
   * The machines that may have the key, from the same policy the trainer checks itself against.
   * @default - any machine whose identity has the role
   */
  readonly environment?: Pick<EnvironmentPolicy, 'vmIds'>;
}

/** Release policies for keys of this project; the same function builds, compares and evaluates them at run time. */
export const ReleasePolicy = {
  /** Released to an AMD SEV-SNP confidential VM only: secure boot, no debugging, no migration, a token of this provider. */
  confidentialVm(options: ConfidentialVmPolicyOptions): ReleasePolicy {
    return buildReleasePolicy({
      authority: options.attestation.authority,
      vmIds: options.environment?.vmIds ?? 'any',
      ...(options.policyHash === undefined ? {} : { policyHash: options.policyHash }),
    });
  },
} as const;
