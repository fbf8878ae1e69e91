import type { KeyObject } from 'node:crypto';
import { fromBase64 } from '../crypto/bytes.ts';
import { rsaPublicJwk, thumbprint } from '../crypto/jwk.ts';
import { readUnwrapped, unwrapCek } from '../crypto/key-wrap.ts';
import { SecureTrainingError } from '../errors.ts';
import { parseKeyId, type Slot, thumbprintKeyId } from './slots.ts';

/** What opens the key slots that an owner kept for themselves. Only the owner's machine has one; no trainer does. */
export interface EscrowKey {
  /** Whether a slot of this key id is one that it opens. */
  opens(keyId: string): boolean;
  /** @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` naming the object */
  unwrap(slot: Slot, objectName: string): Promise<KeyObject>;
}

/** The one operation of a vault that an escrow key in it needs. */
export interface KeyUnwrapper {
  /** RSA-OAEP-256. `undefined`: what was wrapped is not what the key wraps. The caller zeroes what it gets. */
  unwrapKey(name: string, version: string, wrapped: Uint8Array): Promise<Uint8Array | undefined>;
}

/** The owner's key file. */
export function localEscrow(privateKey: KeyObject): EscrowKey {
  const own = thumbprintKeyId(thumbprint(rsaPublicJwk(privateKey)));
  return {
    opens: (keyId) => keyId === own,
    unwrap: async (slot, name) =>
      unwrapCek(fromBase64(slot.encryptedKey, `escrow slot of ${name}`), privateKey, { name }),
  };
}

/** A key of the owner's vault, any version of it: the vault unwraps for whoever has the role, and the private half stays there. */
export function vaultEscrow(
  { vaultHost, keyName }: { readonly vaultHost: string; readonly keyName: string },
  vault: KeyUnwrapper,
): EscrowKey {
  const prefix = `https://${vaultHost}/keys/${keyName}/`.toLowerCase();
  return {
    opens: (keyId) => keyId.toLowerCase().startsWith(prefix),
    unwrap: async (slot, name) => {
      const parsed = parseKeyId(slot.keyId);
      if (!('keyVersion' in parsed)) {
        throw new SecureTrainingError('CIPHERTEXT_REJECTED', `${name}: ${slot.keyId} is no key of a vault`);
      }
      const wrapped = fromBase64(slot.encryptedKey, `escrow slot of ${name}`);
      const plaintext = await vault.unwrapKey(parsed.keyName, parsed.keyVersion, wrapped);
      return readUnwrapped(plaintext ?? new Uint8Array(), { name });
    },
  };
}

/**
 * The slot that an owner opens an object by, and what opens it.
 * @param escrowKeys tried in this order
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` naming the object when it has none
 */
export function escrowSlot(
  objectName: string,
  slots: readonly Slot[] | undefined,
  escrowKeys: readonly EscrowKey[],
): { readonly slot: Slot; readonly escrow: EscrowKey } {
  for (const escrow of escrowKeys) {
    const slot = slots?.find(({ keyId }) => escrow.opens(keyId));
    if (slot !== undefined) return { slot, escrow };
  }
  throw new SecureTrainingError(
    'CIPHERTEXT_REJECTED',
    `${objectName}: it has no key slot of this owner's key: sealed with --no-escrow, or with another --escrow-key?`,
  );
}

/**
 * Opens an object's content key with {@link escrowSlot}; whether it is the bound one is still to be checked.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` naming the object
 */
export async function openEscrowSlot(
  objectName: string,
  slots: readonly Slot[] | undefined,
  escrowKeys: readonly EscrowKey[],
): Promise<KeyObject> {
  const { slot, escrow } = escrowSlot(objectName, slots, escrowKeys);
  return escrow.unwrap(slot, objectName);
}
