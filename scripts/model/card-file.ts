import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../runtime/data/atomic-file.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import type { ReceiptManifest } from '../../runtime/statements/receipt.ts';
import type { TrainingConfig } from '../../runtime/training-config.ts';
import type { Verdict } from '../../runtime/verify-receipt.ts';
import { cardMarkdown } from './card-markdown.ts';
import type { SplitScores } from './score-table.ts';

/** Names of the card's two forms, in the folder of the model. */
export const CARD_FILE = 'model-card.json';
const CARD_PAGE = 'model-card.md';

/** Where a run was: on plain rows, in an emulated machine, or in a confidential VM. */
export type RunKind = 'plain' | 'emulated' | 'azure';

/** What is known of a model, for whoever gets it; every run that leaves a model leaves one, whatever it ran on. */
export interface ModelCard {
  readonly version: 1;
  readonly runId: string;
  readonly kind: RunKind;
  readonly startedOn: string;
  readonly finishedOn: string;
  readonly configuration: TrainingConfig;
  /** By digest of what their owners signed; empty for a run on plain rows. */
  readonly data: readonly ReceiptManifest[];
  readonly inputs: {
    readonly featureCount: number;
    readonly columns: readonly string[];
    readonly dtype: string;
    readonly normalisation: string;
    /** Columns of names that are coded. */
    readonly coded: readonly string[];
  };
  readonly classes: readonly string[];
  /** Those that the agreement lets out. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Per class, by split. @default - the agreement lets none out */
  readonly scores?: Readonly<Record<string, SplitScores>>;
  readonly engine: string;
  readonly files: readonly { readonly name: string; readonly sha256: string }[];
  readonly limits: readonly string[];
  /** What `ctrain verify` said when the model was opened; absent for a run on plain rows. */
  readonly receipt?: {
    readonly verdict: Verdict;
    /** Checks that failed. */
    readonly failed: readonly string[];
    readonly agreementDigest: string;
    readonly trainerSha256: string;
    readonly hardware: string;
  };
}

/** Writes both forms. */
export async function writeCard(folder: string, card: ModelCard): Promise<void> {
  await writeFileAtomic(join(folder, CARD_FILE), `${JSON.stringify(card, null, 2)}\n`);
  await writeFileAtomic(join(folder, CARD_PAGE), cardMarkdown(card));
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` where a folder has no card */
export async function readModelCard(folder: string): Promise<ModelCard> {
  const path = join(folder, CARD_FILE);
  try {
    const card = JSON.parse(await readFile(path, 'utf8')) as Partial<ModelCard>;
    if (card.version === 1 && typeof card.runId === 'string' && typeof card.configuration === 'object')
      return card as ModelCard;
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', `${path}: there is no model card`, { cause });
  }
  throw new SecureTrainingError('CONFIG_INVALID', `${path} is not a model card of version 1`);
}
