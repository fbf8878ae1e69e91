import { subscriptionReader } from '../../runtime/azure/subscription.ts';
import { vaultClient } from '../../runtime/azure/vault.ts';
import type { Deployment } from '../../runtime/catalogue.ts';
import { thumbprint } from '../../runtime/crypto/jwk.ts';
import type { SealingKey } from '../../runtime/data/seal-dataset.ts';
import { checkEscrowKey, type EscrowSurroundings } from '../../runtime/data/sealing-key.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { type EscrowKey, localEscrow, vaultEscrow } from '../../runtime/keys/escrow.ts';
import { parseKeyId, thumbprintKeyId } from '../../runtime/keys/slots.ts';
import type { Context } from '../context.ts';
import type { LocalKeys } from '../local-keys.ts';

/** A key that an owner keeps a slot for: its public half to seal to, and what opens the slot again. */
export interface EscrowPair {
  readonly sealTo: SealingKey;
  readonly open: EscrowKey;
}

/** The owner's key file, which needs no vault. */
export function fileEscrow({ decryption, recipientJwk }: LocalKeys): EscrowPair {
  const sealTo = { keyId: thumbprintKeyId(thumbprint(recipientJwk)), jwk: recipientJwk };
  return { sealTo, open: localEscrow(decryption) };
}

/**
 * A key of the owner's vault, checked. Whether the owner alone has the unwrap role is the vault's to say: nobody else can ask.
 * @param wanted its name in the deployment's vault, or the id of a key in any vault, with or without a version
 * @param datasetKeys keys that data are sealed to, which no escrow key may be
 * @param warn told what could not be checked
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when there is no such key, or it is no escrow key
 */
export async function escrowInVault(
  { deployment, network, credential }: Context,
  wanted: string,
  datasetKeys: readonly SealingKey[],
  warn: (line: string) => void,
): Promise<EscrowPair> {
  const { vaultHost, keyName, keyVersion } = readEscrowName(wanted, deployment);
  const vault = vaultClient(network, credential, vaultHost);
  const key = await vault.getKey(keyName, keyVersion);
  if (key === undefined) throw new SecureTrainingError('CONFIG_INVALID', `${vaultHost}: there is no key ${wanted}`);
  const platformVaults = await platformVaultHosts(vaultHost, deployment, async () =>
    subscriptionReader(network, credential).vaults(deployment.subscriptionId),
  ).catch(() => {
    warn(`warning: whether ${vaultHost} is a vault of the platform could not be looked up`);
    return [];
  });
  const released = deployment.owner.keyNames.map((name) => `https://${deployment.owner.vaultHost}/keys/${name}`);
  const named = datasetKeys.map(({ jwk }) => thumbprint(jwk));
  const facts = { ...key, thumbprint: thumbprint(key.jwk) };
  checkEscrowKey(keyName, facts, { datasetKeys: [...released, ...named], platformVaults });
  return { sealTo: { keyId: key.kid, jwk: key.jwk }, open: vaultEscrow({ vaultHost, keyName }, vault) };
}

/**
 * Hosts of the platform's vaults among which `vaultHost` could be: those in the platform's resource group, and all of its
 * subscription where the owner's vault is in another one. The deployment's own vault is the owner's by definition.
 */
export async function platformVaultHosts(
  vaultHost: string,
  { owner, subscriptionId, resourceGroup }: Pick<Deployment, 'owner' | 'subscriptionId' | 'resourceGroup'>,
  vaults: () => Promise<readonly string[]>,
): Promise<EscrowSurroundings['platformVaults']> {
  if (vaultHost === owner.vaultHost) return [];
  const domain = owner.vaultHost.slice(owner.vaultHost.indexOf('.'));
  const subscription = `/subscriptions/${subscriptionId}/`.toLowerCase();
  const isShared = owner.vaultId.toLowerCase().startsWith(subscription);
  const platform = isShared ? `${subscription}resourcegroups/${resourceGroup}/`.toLowerCase() : subscription;
  return (await vaults())
    .map((id) => id.toLowerCase())
    .filter((id) => id.startsWith(platform))
    .map((id) => `${id.slice(id.lastIndexOf('/') + 1)}${domain}`);
}

function readEscrowName(
  wanted: string,
  { owner }: Deployment,
): { readonly vaultHost: string; readonly keyName: string; readonly keyVersion?: string } {
  if (/^[0-9A-Za-z-]{1,127}$/.test(wanted)) return { vaultHost: owner.vaultHost, keyName: wanted };
  const [, vaultHost, keyName] =
    /^https:\/\/([a-z0-9-]+(?:\.[a-z0-9-]+)+)\/keys\/([0-9A-Za-z-]{1,127})$/.exec(wanted) ?? [];
  if (vaultHost !== undefined && keyName !== undefined) return { vaultHost, keyName };
  try {
    const parsed = parseKeyId(wanted);
    if ('vaultHost' in parsed) return parsed;
  } catch {
    // Said below, as for a thumbprint.
  }
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    `--escrow-key: found ${wanted}, wanted a key's name or https://VAULT/keys/NAME[/VERSION]`,
  );
}
