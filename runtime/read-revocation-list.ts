import { LONGEST_REVOCATION_LIST } from './attestation/revocation-list.ts';
import { type Generation, revocationListBlob } from './catalogue.ts';
import type { BlobStore } from './data/blob-store.ts';
import { SecureTrainingError } from './errors.ts';

/**
 * AMD's revocation list of a generation from the `trainer` container, never more bytes than a list may have: whoever can
 * write there is not trusted, and AMD's signature is checked with the evidence.
 * @returns `undefined` when there is none
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` for what is too long to be one, `UNAVAILABLE`
 */
export async function readRevocationList(store: BlobStore, generation: Generation): Promise<Uint8Array | undefined> {
  const name = revocationListBlob(generation);
  const blob = await store.properties(name);
  if (blob === undefined) return undefined;
  if (blob.size < 1 || blob.size > LONGEST_REVOCATION_LIST) {
    throw new SecureTrainingError(
      'EVIDENCE_MALFORMED',
      `${name} has ${blob.size} bytes, wanted 1 to ${LONGEST_REVOCATION_LIST}`,
    );
  }
  const bytes = await store.getRange(name, 0, blob.size, blob.etag);
  if (bytes === undefined) throw new SecureTrainingError('UNAVAILABLE', `${name} was replaced while it was read`);
  return bytes;
}
