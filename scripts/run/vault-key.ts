import { vaultClient } from '../../runtime/azure/vault.ts';
import type { SealingKey } from '../../runtime/data/seal-dataset.ts';
import { checkSealingKey, expiryWarning } from '../../runtime/data/sealing-key.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import type { Context } from '../context.ts';

/**
 * The public half of a release key, from the vault.
 * @param warn told when the key expires soon
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when there is none, or it is not safe to seal to
 */
export async function vaultKey(
  { deployment, network, credential }: Context,
  keyName: string,
  warn: (line: string) => void = () => undefined,
): Promise<SealingKey> {
  const { vaultHost } = deployment.owner;
  const key = await vaultClient(network, credential, vaultHost).getKey(keyName);
  if (key === undefined) throw new SecureTrainingError('CONFIG_INVALID', `${vaultHost}: there is no key ${keyName}`);
  checkSealingKey(keyName, key);
  const warning = expiryWarning(keyName, key.expiresOn, new Date());
  if (warning !== undefined) warn(warning);
  return { keyId: key.kid, jwk: key.jwk };
}
