import type { TokenCredential } from '@azure/core-auth';
import {
  AzureCliCredential,
  ChainedTokenCredential,
  CredentialUnavailableError,
  EnvironmentCredential,
  WorkloadIdentityCredential,
} from '@azure/identity';
import { SecureTrainingError } from '../errors.ts';

/** Whoever runs the command line against Azure: the signed-in `az` user, a pipeline's federated identity, or a service principal. */
export function operatorCredential(): TokenCredential {
  const chain = new ChainedTokenCredential(
    new EnvironmentCredential(),
    ...workloadIdentity(),
    new AzureCliCredential(),
  );
  return {
    async getToken(scopes, options) {
      try {
        return await chain.getToken(scopes, options);
      } catch (error) {
        if (options?.abortSignal?.aborted === true) throw error;
        // Not the cause: it quotes the output of other programs.
        throw new SecureTrainingError('CONFIG_INVALID', 'no Azure identity: sign in with az login');
      }
    },
  };
}

/** Unlike the others, this one says in its constructor that a machine has no federated identity. */
function workloadIdentity(): TokenCredential[] {
  try {
    return [new WorkloadIdentityCredential()];
  } catch (error) {
    if (error instanceof CredentialUnavailableError) return [];
    throw error;
  }
}
