import { utf8 } from './crypto/bytes.ts';
import type { BlobStore } from './data/blob-store.ts';
import { localRecipient, sealFile } from './sealed-file.ts';
import type { AgreementOwner } from './statements/agreement.ts';

/**
 * Seals what a custom module said to each data owner, in a file of their own: it may quote rows of any of them, so it is for those
 * who agreed to be trained on together, and for nobody else (design section 8).
 */
export async function exportErrors(
  runs: BlobStore,
  runId: string,
  owners: readonly AgreementOwner[],
  text: string,
): Promise<void> {
  const plaintext = utf8(JSON.stringify({ version: 1, runId, text }));
  for (const { ownerId, annexKey } of owners) {
    const name = errorsName(runId, ownerId);
    const { sealed, object, slots } = await sealFile(`${name}.sealed`, plaintext, [localRecipient(annexKey)]);
    await runs.put(object.name, sealed);
    await runs.put(`${name}.json`, utf8(JSON.stringify({ object, slots })));
  }
}

/** Name of an owner's sealed errors, before `.sealed` and `.json`. */
export function errorsName(runId: string, ownerId: string): string {
  return `${runId}/errors/${ownerId}`;
}
