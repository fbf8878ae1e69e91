import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256, toHex } from '../../runtime/crypto/bytes.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { MODEL_FILES } from '../../runtime/export-run.ts';
import { type Preprocessing, parsePreprocessing } from '../../runtime/preprocessing.ts';
import { parseScores, SCORES_FILE, type Scores } from '../../runtime/scores-file.ts';
import { parseReceipt, type ReceiptContent } from '../../runtime/statements/receipt.ts';
import { RUN_FOLDER } from '../run/open-model.ts';

/** A model on this disk that is what its receipt says. */
export interface OpenedModel {
  readonly content: ReceiptContent;
  readonly modelJson: Uint8Array;
  readonly weights: Uint8Array;
  readonly preprocessing: Preprocessing;
  /** @default - the agreement lets none out */
  readonly scores?: Scores;
}

/**
 * Reads a folder that `open-model` left.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` where it is no such folder, `CIPHERTEXT_REJECTED` where a file is not the
 *   subject of the receipt beside it. What that receipt is worth says `ctrain verify`
 */
export async function readOpenedModel(folder: string): Promise<OpenedModel> {
  const { content } = parseReceipt(await readIn(folder, RUN_FOLDER.receipt));
  const files: Partial<Record<(typeof MODEL_FILES)[number] | typeof SCORES_FILE, Uint8Array>> = {};
  const isScored = content.model.some(({ name }) => name === SCORES_FILE);
  for (const name of isScored ? ([...MODEL_FILES, SCORES_FILE] as const) : MODEL_FILES) {
    const path = join(RUN_FOLDER.model, name);
    const bytes = await readIn(folder, path);
    const subject = content.model.find((file) => file.name === name);
    if (toHex(sha256(bytes)) !== subject?.plainSha256)
      throw new SecureTrainingError('CIPHERTEXT_REJECTED', `${join(folder, path)} is not the model of its receipt`);
    files[name] = bytes;
  }
  const { 'model.json': modelJson, 'weights.bin': weights, 'preprocessing.json': preprocessing } = files;
  if (modelJson === undefined || weights === undefined || preprocessing === undefined)
    throw new RangeError('a model file was not read');
  const scores = files[SCORES_FILE];
  return {
    content,
    modelJson,
    weights,
    preprocessing: parsePreprocessing(preprocessing),
    ...(scores === undefined ? {} : { scores: parseScores(scores) }),
  };
}

async function readIn(folder: string, name: string): Promise<Uint8Array> {
  try {
    return Uint8Array.from(await readFile(join(folder, name)));
  } catch (cause) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `no ${name} in ${folder}: 'ctrain open-model' leaves such a folder`,
      { cause },
    );
  }
}
