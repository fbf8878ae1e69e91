import { sha256, toHex, utf8 } from './crypto/bytes.ts';
import type { BlobStore } from './data/blob-store.ts';
import type { ReleasedKey } from './environment.ts';
import { SecureTrainingError } from './errors.ts';
import { vaultKeyId } from './keys/slots.ts';
import { readBlob } from './queue.ts';
import { openFile, parseSealedFile, sealFile } from './sealed-file.ts';
import type { Agreement } from './statements/agreement.ts';

/**
 * Weights that a run starts from: a safetensors file, sealed for the first owner's vault key as checkpoints are, for they may come
 * from a model that is nobody else's business. What counts is the digest in the agreed configuration: the folder of a run can be
 * written by whoever queues it.
 */
const nameOf = (runId: string) => `${runId}/initial-weights`;

/**
 * Puts the weights into a run's folder, to be done before the run is queued.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` unless the file is the one that the agreement names, or there is neither
 */
export async function putInitialWeights(
  runs: BlobStore,
  runId: string,
  { configuration, owners }: Agreement,
  weights: Uint8Array | undefined,
): Promise<void> {
  const wanted = configuration.training.initial_weights;
  if (wanted === undefined && weights === undefined) return;
  const found = weights === undefined ? undefined : toHex(sha256(weights));
  const [first] = owners;
  if (weights === undefined || first === undefined || found !== wanted) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `initial weights: found ${short(found)}, the agreement wants ${short(wanted)}`,
    );
  }
  const recipient = { keyId: vaultKeyId(first), key: first.key };
  const { sealed, object, slots } = await sealFile(`${nameOf(runId)}.sealed`, weights, [recipient]);
  await runs.put(object.name, sealed);
  await runs.put(`${nameOf(runId)}.json`, utf8(JSON.stringify({ object, slots })));
}

/**
 * The weights that the owners agreed to, or nothing where they agreed to none.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` for other weights, `CONFIG_INVALID` where they are missing
 */
export async function openInitialWeights(
  runs: BlobStore,
  runId: string,
  { configuration }: Agreement,
  keys: readonly ReleasedKey[],
): Promise<Uint8Array | undefined> {
  const wanted = configuration.training.initial_weights;
  const [first] = keys;
  if (wanted === undefined || first === undefined) return undefined;
  const file = parseSealedFile(await readBlob(runs, `${nameOf(runId)}.json`), `${nameOf(runId)}.sealed`);
  const sealed = await readBlob(runs, file.object.name);
  const weights = openFile(file, sealed, vaultKeyId(first.owner), first.key);
  if (toHex(sha256(weights)) === wanted) return weights;
  throw new SecureTrainingError('CIPHERTEXT_REJECTED', `${file.object.name}: they are not the weights agreed on`);
}

function short(digest: string | undefined): string {
  return digest === undefined ? 'none' : `the file of digest ${digest.slice(0, 12)}`;
}
