import { createHash } from 'node:crypto';
import { sha256, uintBe } from './bytes.ts';

/** Width of a leaf and of the root: SHA-256. */
export const HASH_LENGTH = 32;

const NODE = Uint8Array.of(1);

/** What is hashed before a region: `00 | u64be index`. The tag keeps leaves and nodes apart (RFC 6962 section 2.1), the index keeps regions in place. */
export function leafPrefix(index: number): Uint8Array {
  const prefix = new Uint8Array(9);
  prefix.set(uintBe(index, 8), 1);
  return prefix;
}

/** Leaf of one sealed region, nonce and tag included: `SHA-256(00 | u64be index | region)`. */
export function leafHash(index: number, region: Uint8Array): Uint8Array {
  return sha256(leafPrefix(index), region);
}

/**
 * Root over leaves that stand one after the other, 32 bytes each, split as RFC 6962 section 2.1 splits: left of each node is
 * the largest power of two below the count. No leaves: SHA-256 of nothing.
 */
export function merkleRoot(leaves: Uint8Array): Uint8Array {
  if (leaves.length % HASH_LENGTH !== 0)
    throw new RangeError(`leaves are ${leaves.length} bytes, wanted a multiple of 32`);
  const count = leaves.length / HASH_LENGTH;
  return count === 0 ? sha256() : subtree(leaves, 0, count);
}

function subtree(leaves: Uint8Array, first: number, count: number): Uint8Array {
  if (count === 1) return leaves.slice(first * HASH_LENGTH, (first + 1) * HASH_LENGTH);
  const left = 2 ** Math.floor(Math.log2(count - 1));
  return Uint8Array.from(
    createHash('sha256')
      .update(NODE)
      .update(subtree(leaves, first, left))
      .update(subtree(leaves, first + left, count - left))
      .digest(),
  );
}
