import type { Deployment } from '../../runtime/catalogue.ts';
import { resolveKeyName } from '../../runtime/data/sealing-key.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';

/**
 * The release key a person means: by name, with or without its policy digest; the newest one when none is named.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` listing the keys there are
 */
export function chooseKeyName({ owner }: Deployment, wanted?: string): string {
  if (wanted !== undefined) return resolveKeyName(wanted, owner.keyNames);
  const newest = owner.keyNames.at(-1);
  if (newest === undefined) throw new SecureTrainingError('CONFIG_INVALID', 'the deployment has no release key');
  return newest;
}
