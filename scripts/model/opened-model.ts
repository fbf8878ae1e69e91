import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256, toHex } from '../../runtime/crypto/bytes.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { MODEL_FILES } from '../../runtime/export-run.ts';
import { type Preprocessing, parsePreprocessing } from '../../runtime/preprocessing.ts';
import { parseScores, SCORES_FILE, type Scores } from '../../runtime/scores-file.ts';
import { parseReceipt, type ReceiptContent } from '../../runtime/statements/receipt.ts';
import { RUN_FOLDER } from '../run/open-model.ts';
import { type ModelCard, readModelCard } from './card-file.ts';

/** A model on this disk that is what its receipt says, or for a run on plain rows its card. */
export interface OpenedModel {
  readonly content: Pick<ReceiptContent, 'runId' | 'configuration'> & {
    readonly model: readonly { readonly name: string; readonly plainSha256: string }[];
  };
  /** @default - a run on plain rows, which has none */
  readonly receipt?: ReceiptContent;
  readonly modelJson: Uint8Array;
  readonly weights: Uint8Array;
  readonly preprocessing: Preprocessing;
  /** @default - the agreement lets none out */
  readonly scores?: Scores;
}

/**
 * Reads a folder that `open-model` or `try` left.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` where it is no such folder, `CIPHERTEXT_REJECTED` where a file is not the
 *   subject of the receipt, or of the card, beside it. What that receipt is worth says `ctrain verify`
 */
export async function readOpenedModel(folder: string): Promise<OpenedModel> {
  const { content, receipt } = await readContent(folder);
  const files: Partial<Record<(typeof MODEL_FILES)[number] | typeof SCORES_FILE, Uint8Array>> = {};
  const isScored = content.model.some(({ name }) => name === SCORES_FILE);
  for (const name of isScored ? ([...MODEL_FILES, SCORES_FILE] as const) : MODEL_FILES) {
    const path = join(RUN_FOLDER.model, name);
    const bytes = await readIn(folder, path);
    const subject = content.model.find((file) => file.name === name);
    if (toHex(sha256(bytes)) !== subject?.plainSha256)
      throw new SecureTrainingError(
        'CIPHERTEXT_REJECTED',
        `${join(folder, path)} is not the model of its ${receipt === undefined ? 'card' : 'receipt'}`,
      );
    files[name] = bytes;
  }
  const { 'model.json': modelJson, 'weights.bin': weights, 'preprocessing.json': preprocessing } = files;
  if (modelJson === undefined || weights === undefined || preprocessing === undefined)
    throw new RangeError('a model file was not read');
  const scores = files[SCORES_FILE];
  return {
    content,
    ...(receipt === undefined ? {} : { receipt }),
    modelJson,
    weights,
    preprocessing: parsePreprocessing(preprocessing),
    ...(scores === undefined ? {} : { scores: parseScores(scores) }),
  };
}

/** Of a run on plain rows the card says it: there is no receipt that could. */
async function readContent(folder: string): Promise<Pick<OpenedModel, 'content' | 'receipt'>> {
  const card = await readModelCard(folder).catch(() => undefined);
  if (card?.kind === 'plain') return { content: contentOf(card) };
  const { content } = parseReceipt(await readIn(folder, RUN_FOLDER.receipt));
  return { content, receipt: content };
}

function contentOf({ runId, configuration, files }: ModelCard): OpenedModel['content'] {
  return { runId, configuration, model: files.map(({ name, sha256: plainSha256 }) => ({ name, plainSha256 })) };
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
