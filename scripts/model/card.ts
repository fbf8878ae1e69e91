import { SecureTrainingError } from '../../runtime/errors.ts';
import type { DatasetSchema } from '../../runtime/statements/manifest.ts';
import type { ReceiptContent } from '../../runtime/statements/receipt.ts';
import type { Confusions } from '../../runtime/training/scores.ts';
import type { Verdict } from '../../runtime/verify-receipt.ts';
import type { Context } from '../context.ts';
import type { LocalKeys } from '../local-keys.ts';
import { type VerifyFolderOptions, verifyFolder } from '../run/verify-folder.ts';
import { type ModelCard, writeCard } from './card-file.ts';
import { type OpenedModel, readOpenedModel } from './opened-model.ts';
import { scoresOf } from './score-table.ts';

/** How the person who opens a model checks its receipt: as the owner they are, against the roots of their deployment. */
export function cardOptions({ ownerId }: LocalKeys, { deployment }: Context): VerifyFolderOptions {
  const { emulator } = deployment;
  return { owners: [ownerId], ...(emulator === undefined ? {} : { emulatorRoots: emulator.rootsFile }) };
}

/** Verifies what `open-model` left, and writes a card of it beside the model. */
export async function writeModelCard(folder: string, options: VerifyFolderOptions): Promise<ModelCard> {
  const model = await readOpenedModel(folder);
  const { verdict, checks } = await verifyFolder(folder, options);
  if (model.receipt === undefined)
    throw new SecureTrainingError('CONFIG_INVALID', `${folder}: a run on plain rows has its card`);
  const card = cardOf(
    model,
    model.receipt,
    verdict,
    checks.flatMap(({ name, passed }) => (passed ? [] : [name])),
  );
  await writeCard(folder, card);
  return card;
}

function cardOf(
  { preprocessing, scores }: OpenedModel,
  content: ReceiptContent,
  verdict: Verdict,
  failed: readonly string[],
): ModelCard {
  return {
    version: 1,
    runId: content.runId,
    kind: content.hardware === 'EMULATED' ? 'emulated' : 'azure',
    startedOn: content.startedOn,
    finishedOn: content.finishedOn,
    configuration: content.configuration,
    data: content.manifests,
    ...described(preprocessing.schema, scores?.splits),
    metrics: content.metrics,
    engine: content.engine.backend,
    files: content.model.map(({ name, plainSha256 }) => ({ name, sha256: plainSha256 })),
    limits: [
      ...limitsOf(content),
      ...(verdict === 'EMULATED' ? ['It was trained in an emulated machine: nothing about it was secret.'] : []),
      ...(verdict === 'REJECTED' ? ['Its receipt does not hold: what is said here is not proved by anything.'] : []),
    ],
    receipt: {
      verdict,
      failed,
      agreementDigest: content.agreementDigest,
      trainerSha256: content.trainerSha256,
      hardware: content.hardware,
    },
  };
}

/** What is known of a run on plain rows. */
export type PlainRun = Pick<
  ModelCard,
  'runId' | 'startedOn' | 'finishedOn' | 'configuration' | 'metrics' | 'engine' | 'files'
>;

/** The card of a run on plain rows: the same, and no receipt. */
export function plainCard(run: PlainRun, schema: DatasetSchema, scores: Confusions): ModelCard {
  return {
    version: 1,
    kind: 'plain',
    ...run,
    data: [],
    ...described(schema, Object.keys(scores).length === 0 ? undefined : scores),
    limits: [
      ...limitsOf(run),
      'It was trained on plain rows: nothing about them was secret, and nothing proves what is said here.',
    ],
  };
}

function described(
  schema: DatasetSchema,
  scores: Confusions | undefined,
): Pick<ModelCard, 'inputs' | 'classes' | 'scores'> {
  return {
    inputs: {
      featureCount: schema.featureCount,
      columns: schema.columns,
      dtype: schema.dtype,
      normalisation: normalisationText(schema),
      coded: Object.keys(schema.coding?.categories ?? {}),
    },
    classes: schema.classes,
    ...(scores === undefined ? {} : { scores: scoresOf(scores, schema.classes) }),
  };
}

function normalisationText({ normalisation }: DatasetSchema): string {
  if (normalisation.kind === 'scale') return `divided by ${normalisation.divisor}`;
  return normalisation.kind === 'standard' ? 'less the mean, divided by the deviation, of the train split' : 'none';
}

function limitsOf({ metrics, configuration }: Pick<ModelCard, 'metrics' | 'configuration'>): string[] {
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
  ];
}
