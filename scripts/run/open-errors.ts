import type { BlobStore } from '../../runtime/data/blob-store.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { errorsName } from '../../runtime/export-errors.ts';
import { checkRunId, readBlob } from '../../runtime/queue.ts';
import { localRecipient, openFile, parseSealedFile } from '../../runtime/sealed-file.ts';
import type { LocalKeys } from '../local-keys.ts';

/**
 * What a run's custom module said when it failed, for an owner of its data.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when there is nothing for this owner
 */
export async function openErrors(runs: BlobStore, keys: LocalKeys, runId: string): Promise<string> {
  const name = errorsName(checkRunId(runId), keys.ownerId);
  const record = await runs.get(`${name}.json`);
  if (record === undefined) {
    throw new SecureTrainingError('CONFIG_INVALID', `run ${runId}: no error is sealed to ${keys.ownerId.slice(0, 12)}`);
  }
  const file = parseSealedFile(record.bytes, `${name}.sealed`);
  const { keyId } = localRecipient(keys.recipientJwk);
  const plaintext = openFile(file, await readBlob(runs, `${name}.sealed`), keyId, keys.decryption);
  const { text } = JSON.parse(new TextDecoder().decode(plaintext)) as { text: string };
  return text;
}
