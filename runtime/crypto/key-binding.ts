import { createHmac, type KeyObject } from 'node:crypto';
import { concat, fromBase64, sha256, uintBe, utf8 } from './bytes.ts';
import type { NonceScheme, SealedShape } from './sealed-object.ts';

const LABEL = 'ctrain/bind/v1';
const SCHEMES: Readonly<Record<NonceScheme, number>> = { 'big-endian': 1, java: 2, dotnet: 3 };

export interface KeyBindingInput {
  /** Thumbprint of the owner's root key. */
  readonly ownerId: string;
  readonly name: string;
  readonly merkleRoot: Uint8Array;
  readonly shape: SealedShape;
  readonly nonceScheme: NonceScheme;
}

/**
 * Design section 4: `HMAC-SHA256(CEK, "ctrain/bind/v1" | owner id(32) | SHA-256(name) | Merkle root | u64be plaintext size |
 * u64be ciphertext size | u64be region length | u64be region count | u8 nonce scheme)`. Commits to the key (AES-GCM does not)
 * and proves that whoever signed knew it: a stranger who re-signs somebody's ciphertext cannot compute it.
 */
export function keyBinding(
  cek: KeyObject,
  { ownerId, name, merkleRoot, shape, nonceScheme }: KeyBindingInput,
): Uint8Array {
  const owner = fromBase64(ownerId, 'owner id');
  if (owner.length !== 32 || merkleRoot.length !== 32)
    throw new RangeError('owner id and Merkle root are 32 bytes each');
  const bound = concat(
    utf8(LABEL),
    owner,
    sha256(utf8(name)),
    merkleRoot,
    uintBe(shape.plaintextSize, 8),
    uintBe(shape.ciphertextSize, 8),
    uintBe(shape.regionLength, 8),
    uintBe(shape.regionCount, 8),
    uintBe(SCHEMES[nonceScheme], 1),
  );
  return Uint8Array.from(createHmac('sha256', cek).update(bound).digest());
}
