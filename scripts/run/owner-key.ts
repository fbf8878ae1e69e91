import { readFile } from 'node:fs/promises';
import { type EcPublicJwk, ecPublicJwk, importJwk } from '../../runtime/crypto/jwk.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { loadLocalKeys } from '../local-keys.ts';

export interface OwnerFlags {
  /** Public P-256 key as a JWK file. */
  readonly owner?: string;
  /** A key file of `ctrain init`. */
  readonly ownerKey?: string;
}

/**
 * Whose signature a dataset must carry, if anybody was named.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`
 */
export async function ownerOf({ owner, ownerKey }: OwnerFlags): Promise<EcPublicJwk | undefined> {
  if (owner !== undefined && ownerKey !== undefined)
    throw new SecureTrainingError('CONFIG_INVALID', 'found both --owner and --owner-key, wanted one of them');
  if (ownerKey !== undefined) return (await loadLocalKeys(ownerKey)).signingJwk;
  if (owner === undefined) return undefined;
  try {
    const jwk = JSON.parse(await readFile(owner, 'utf8')) as EcPublicJwk;
    return ecPublicJwk(importJwk(jwk));
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', `--owner ${owner}: wanted a file with a public P-256 key (JWK)`, {
      cause,
    });
  }
}
