import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { sha256, toHex } from '../../runtime/crypto/bytes.ts';
import { importJwk } from '../../runtime/crypto/jwk.ts';
import type { BlobStore } from '../../runtime/data/blob-store.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { MODEL_FILES } from '../../runtime/export-run.ts';
import { metricHistoryName, parseMetricHistory } from '../../runtime/metric-history.ts';
import { checkRunId, readBlob } from '../../runtime/queue.ts';
import { SCORES_FILE } from '../../runtime/scores-file.ts';
import { localRecipient, openFile, parseSealedFile } from '../../runtime/sealed-file.ts';
import { parseReceipt, type ReceiptContent } from '../../runtime/statements/receipt.ts';
import type { LocalKeys } from '../local-keys.ts';
import { encodeEventFile, eventFileName } from '../model/tensorboard.ts';

/** What `open-model` leaves, all that `ctrain verify FOLDER` needs offline. `model/` holds the model's files and nothing else. */
export const RUN_FOLDER = {
  receipt: 'receipt.dsse.json',
  agreement: 'agreement.dsse.json',
  annex: 'release-replies.json',
  signature: 'model.sig',
  signingKey: 'receipt-key.pem',
  model: 'model',
  /** Curves of the metrics that the agreement lets out; unsigned. */
  history: 'metrics.json',
  /** The same for TensorBoard. */
  logs: 'logs',
} as const;

/**
 * Downloads, checks and opens the model of a finished run. The folder appears whole or not at all.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` when the model is not the receipt's, or is not sealed to this key
 */
export async function openModel(
  runs: BlobStore,
  keys: LocalKeys,
  runId: string,
  outputDir: string,
): Promise<ReceiptContent> {
  checkRunId(runId);
  const receiptBytes = await readBlob(runs, `${runId}/receipt.dsse.json`);
  const { content } = parseReceipt(receiptBytes);
  const target = resolve(outputDir);
  // One name, so that what a kill left is not left for good.
  const partial = join(dirname(target), `.${basename(target)}.partial`);
  await rm(partial, { recursive: true, force: true });
  try {
    await mkdir(join(partial, RUN_FOLDER.model), { recursive: true, mode: 0o700 });
    const isScored = content.model.some(({ name }) => name === SCORES_FILE);
    for (const name of isScored ? [...MODEL_FILES, SCORES_FILE] : MODEL_FILES) {
      const plaintext = await openModelFile(runs, keys, content, name);
      await writeFile(join(partial, RUN_FOLDER.model, name), plaintext, { mode: 0o600 });
    }
    await writeFile(join(partial, RUN_FOLDER.receipt), receiptBytes);
    await writeFile(join(partial, RUN_FOLDER.agreement), await readBlob(runs, `${runId}/agreement.dsse.json`));
    await writeFile(join(partial, RUN_FOLDER.signature), await readBlob(runs, `${runId}/model.sig`));
    await writeFile(
      join(partial, RUN_FOLDER.signingKey),
      importJwk(content.receiptKey).export({ type: 'spki', format: 'pem' }),
    );
    await writeHistory(runs, content, partial);
    await writeFile(join(partial, RUN_FOLDER.annex), JSON.stringify(await openAnnexes(runs, keys, content)));
    await rm(target, { recursive: true, force: true });
    await rename(partial, target);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    throw error;
  }
  return content;
}

async function openModelFile(
  runs: BlobStore,
  keys: LocalKeys,
  content: ReceiptContent,
  name: string,
): Promise<Uint8Array> {
  const subject = content.model.find((file) => file.name === name);
  if (subject === undefined) throw rejected(`${name} is no subject of the receipt`);
  const path = `${content.runId}/model/${name}`;
  const file = parseSealedFile(await readBlob(runs, `${path}.json`), `${path}.sealed`);
  const sealed = await readBlob(runs, `${path}.sealed`);
  if (file.object.sealedSha256 !== subject.sealedSha256)
    throw rejected(`${path}.sealed is not the model of its receipt`);
  const plaintext = openFile(file, sealed, localRecipient(keys.recipientJwk).keyId, keys.decryption);
  if (toHex(sha256(plaintext)) !== subject.plainSha256)
    throw rejected(`${path}.sealed does not hold the model of its receipt`);
  return plaintext;
}

async function writeHistory(runs: BlobStore, { runId, startedOn }: ReceiptContent, folder: string): Promise<void> {
  const blob = await runs.get(metricHistoryName(runId));
  if (blob === undefined) return;
  const points = parseMetricHistory(blob.bytes, metricHistoryName(runId));
  await writeFile(join(folder, RUN_FOLDER.history), blob.bytes);
  await mkdir(join(folder, RUN_FOLDER.logs));
  const started = new Date(startedOn);
  await writeFile(join(folder, RUN_FOLDER.logs, eventFileName(started)), encodeEventFile(points, started));
}

/** The vaults' replies that this person may read, by owner id. */
async function openAnnexes(runs: BlobStore, keys: LocalKeys, content: ReceiptContent): Promise<Record<string, string>> {
  const replies: Record<string, string> = {};
  for (const { ownerId } of content.releases) {
    if (ownerId !== keys.ownerId) continue;
    const path = `${content.runId}/annex/${ownerId}`;
    const file = parseSealedFile(await readBlob(runs, `${path}.json`), `${path}.sealed`);
    const annex = openFile(
      file,
      await readBlob(runs, `${path}.sealed`),
      localRecipient(keys.recipientJwk).keyId,
      keys.decryption,
    );
    const { releaseReply } = JSON.parse(new TextDecoder().decode(annex)) as { releaseReply: string };
    replies[ownerId] = releaseReply;
  }
  return replies;
}

function rejected(message: string): SecureTrainingError {
  return new SecureTrainingError('CIPHERTEXT_REJECTED', message);
}
