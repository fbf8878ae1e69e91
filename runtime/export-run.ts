import type { KeyObject } from 'node:crypto';
import { sha256, toHex, utf8 } from './crypto/bytes.ts';
import type { BlobStore } from './data/blob-store.ts';
import type { ReleasedKey } from './environment.ts';
import { SCORES_FILE } from './scores-file.ts';
import { localRecipient, sealFile } from './sealed-file.ts';
import type { Recipient } from './statements/agreement.ts';
import { signModel } from './statements/model-signature.ts';
import { type ReceiptContent, type ReceiptModelFile, signReceipt } from './statements/receipt.ts';

/** Files of a tfjs layers model, as `tf.loadLayersModel` wants them side by side, and what its inputs and outputs mean. */
export interface ModelFiles {
  readonly modelJson: Uint8Array;
  readonly weights: Uint8Array;
  readonly preprocessing: Uint8Array;
  /** Counts of rows. @default - the agreement lets none out */
  readonly scores?: Uint8Array;
}

/** Names under `RUN/model/` of every run, {@link SCORES_FILE} being of some; each sealed file has its record beside it. */
export const MODEL_FILES = ['model.json', 'weights.bin', 'preprocessing.json'] as const;

/** Seals the model to its recipients. Its files are public only as digests. */
export async function exportModel(
  runs: BlobStore,
  runId: string,
  model: ModelFiles,
  recipients: readonly Recipient[],
): Promise<ReceiptModelFile[]> {
  const files = {
    'model.json': model.modelJson,
    'weights.bin': model.weights,
    'preprocessing.json': model.preprocessing,
    ...(model.scores === undefined ? {} : { [SCORES_FILE]: model.scores }),
  };
  const sealTo = recipients.map(({ key }) => localRecipient(key));
  const out: ReceiptModelFile[] = [];
  for (const [name, bytes] of Object.entries(files)) {
    const { sealed, object, slots } = await sealFile(`${runId}/model/${name}.sealed`, bytes, sealTo);
    await runs.put(object.name, sealed);
    await runs.put(`${runId}/model/${name}.json`, utf8(JSON.stringify({ object, slots })));
    out.push({ name, plainSha256: toHex(sha256(bytes)), sealedSha256: object.sealedSha256 });
  }
  return out;
}

/** Signs and stores the receipt, the model's own signature, and one annex per owner: the vault's reply, for that owner's eyes. */
export async function exportReceipt(
  runs: BlobStore,
  content: ReceiptContent,
  keys: readonly ReleasedKey[],
  signingKey: KeyObject,
): Promise<void> {
  for (const { owner, reply } of keys) {
    const annex = utf8(
      JSON.stringify({ version: 1, runId: content.runId, ownerId: owner.ownerId, releaseReply: reply }),
    );
    const recipient = localRecipient(owner.annexKey);
    const { sealed, object, slots } = await sealFile(`${content.runId}/annex/${owner.ownerId}.sealed`, annex, [
      recipient,
    ]);
    await runs.put(object.name, sealed);
    await runs.put(`${content.runId}/annex/${owner.ownerId}.json`, utf8(JSON.stringify({ object, slots })));
  }
  const digests = Object.fromEntries(content.model.map(({ name, plainSha256 }) => [name, plainSha256]));
  await runs.put(`${content.runId}/model.sig`, utf8(JSON.stringify(signModel(digests, 'model', signingKey))));
  await runs.put(`${content.runId}/receipt.dsse.json`, utf8(JSON.stringify(signReceipt(content, signingKey))));
}
