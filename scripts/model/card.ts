import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../runtime/data/atomic-file.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import type { DatasetSchema } from '../../runtime/statements/manifest.ts';
import type { ReceiptManifest } from '../../runtime/statements/receipt.ts';
import type { TrainingConfig } from '../../runtime/training-config.ts';
import type { Verdict } from '../../runtime/verify-receipt.ts';
import type { Context } from '../context.ts';
import type { LocalKeys } from '../local-keys.ts';
import { type VerifyFolderOptions, verifyFolder } from '../run/verify-folder.ts';
import { cardMarkdown } from './card-markdown.ts';
import { type OpenedModel, readOpenedModel } from './opened-model.ts';
import { type SplitScores, scoresOf } from './score-table.ts';

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

/** How the person who opens a model checks its receipt: as the owner they are, against the roots of their deployment. */
export function cardOptions({ ownerId }: LocalKeys, { deployment }: Context): VerifyFolderOptions {
  const { emulator } = deployment;
  return { owners: [ownerId], ...(emulator === undefined ? {} : { emulatorRoots: emulator.rootsFile }) };
}

/** Verifies what `open-model` left, and writes a card of it beside the model. */
export async function writeModelCard(folder: string, options: VerifyFolderOptions): Promise<ModelCard> {
  const model = await readOpenedModel(folder);
  const { verdict, checks } = await verifyFolder(folder, options);
  const card = cardOf(
    model,
    verdict,
    checks.flatMap(({ name, passed }) => (passed ? [] : [name])),
  );
  await writeFileAtomic(join(folder, CARD_FILE), `${JSON.stringify(card, null, 2)}\n`);
  await writeFileAtomic(join(folder, CARD_PAGE), cardMarkdown(card));
  return card;
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

function cardOf(
  { content, preprocessing, scores }: OpenedModel,
  verdict: Verdict,
  failed: readonly string[],
): ModelCard {
  const { schema } = preprocessing;
  return {
    version: 1,
    runId: content.runId,
    kind: content.hardware === 'EMULATED' ? 'emulated' : 'azure',
    startedOn: content.startedOn,
    finishedOn: content.finishedOn,
    configuration: content.configuration,
    data: content.manifests,
    inputs: {
      featureCount: schema.featureCount,
      columns: schema.columns,
      dtype: schema.dtype,
      normalisation: normalisationText(schema),
      coded: Object.keys(schema.coding?.categories ?? {}),
    },
    classes: schema.classes,
    metrics: content.metrics,
    ...(scores === undefined ? {} : { scores: scoresOf(scores.splits, schema.classes) }),
    engine: content.engine.backend,
    files: content.model.map(({ name, plainSha256 }) => ({ name, sha256: plainSha256 })),
    limits: limitsOf(content, verdict),
    receipt: {
      verdict,
      failed,
      agreementDigest: content.agreementDigest,
      trainerSha256: content.trainerSha256,
      hardware: content.hardware,
    },
  };
}

function normalisationText({ normalisation }: DatasetSchema): string {
  if (normalisation.kind === 'scale') return `divided by ${normalisation.divisor}`;
  return normalisation.kind === 'standard' ? 'less the mean, divided by the deviation, of the train split' : 'none';
}

function limitsOf({ metrics, configuration }: OpenedModel['content'], verdict: Verdict): string[] {
  const initial = configuration.training.initial_weights;
  const isTested = Object.keys(metrics).some((name) => name.startsWith('test_'));
  return [
    isTested
      ? 'Test metrics are of rows split off the same data: they say nothing about rows of another origin.'
      : 'No test metric: how well it does on rows it has not seen is not known.',
    'It gives every row one of its classes, also a row that belongs to none.',
    'A model can carry rows that it was trained on: it is as confidential as the agreement makes it.',
    ...(initial === undefined
      ? []
      : configuration.training.epochs === 0
        ? [`Nothing was trained: the weights of digest ${initial} were measured.`]
        : [`It began from the weights of digest ${initial}, of which the receipt says nothing more.`]),
    ...(verdict === 'EMULATED' ? ['It was trained in an emulated machine: nothing about it was secret.'] : []),
    ...(verdict === 'REJECTED' ? ['Its receipt does not hold: what is said here is not proved by anything.'] : []),
  ];
}
