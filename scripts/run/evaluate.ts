import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import { sha256, toHex } from '../../runtime/crypto/bytes.ts';
import { writeFileAtomic } from '../../runtime/data/atomic-file.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { readBlob } from '../../runtime/queue.ts';
import { confusionMetric } from '../../runtime/scores-file.ts';
import type { Agreement } from '../../runtime/statements/agreement.ts';
import { serialiseEnvelope } from '../../runtime/statements/dsse.ts';
import { type DatasetSchema, verifyManifest } from '../../runtime/statements/manifest.ts';
import { SCORED_SPLITS } from '../../runtime/training/scores.ts';
import type { Context } from '../context.ts';
import type { CustomBundle } from '../custom/bundle-custom.ts';
import type { LocalKeys } from '../local-keys.ts';
import { safeTensorsOf } from '../model/formats.ts';
import type { OpenedModel } from '../model/opened-model.ts';
import { approveAgreement, readAgreement } from './approve.ts';
import type { Configure } from './configuration.ts';
import { chooseKeyName } from './key-name.ts';
import { stillHolds } from './pipeline.ts';
import { proposeAgreement } from './propose.ts';
import { shortDigest } from './work-folder.ts';

const DAY_MS = 86_400_000;
const DAYS = 30;
const MAX_RUNS = 10;

/** A model as something to be measured: a run of no epochs that starts from its weights. */
export interface Measured {
  /** Refuses data that were not prepared as the model's. */
  readonly configuration: Configure;
  /** What the run starts from, as `open-model --format safetensors` writes it. */
  readonly weights: Uint8Array;
}

export function measured(model: OpenedModel): Measured {
  const weights = safeTensorsOf(model);
  // What decides only how rows are learned from has no place in a run that learns nothing.
  const {
    dataset_weights: _,
    early_stopping_epochs: __,
    keep: ___,
    validation_epochs: ____,
    max_steps: _____,
    max_minutes: ______,
    checkpoints_kept: _______,
    class_weights: ________,
    weight_decay: _________,
    ...training
  } = model.content.configuration.training;
  return {
    weights,
    configuration: (schema) => {
      requireSamePreparation(schema, model.preprocessing.schema);
      return { training: { ...training, epochs: 0, initial_weights: toHex(sha256(weights)) } };
    },
  };
}

/** Whether only a trainer with the model's own modules in it can measure it. */
export function hasCode({ content }: OpenedModel): boolean {
  const { model, dataset } = content.configuration.training;
  return model !== undefined || dataset !== undefined;
}

export interface EvaluationOptions {
  /** Uploaded datasets, by folder. */
  readonly prefixes: readonly string[];
  readonly workDir: string;
  readonly consent: (agreement: Agreement) => Promise<void>;
  /** Of a model with code of its own. */
  readonly custom?: CustomBundle;
}

/** The agreement of one person with themselves to measure a model; one that still holds is used again. */
export async function agreeToMeasure(
  context: Context,
  keys: LocalKeys,
  model: OpenedModel,
  { prefixes, workDir, consent, custom }: EvaluationOptions,
): Promise<Uint8Array> {
  const { configuration } = measured(model);
  const about = [prefixes, model.content.model, context.deployment.storage.blobEndpoint, keys.ownerId];
  const file = join(workDir, `evaluation-${shortDigest(JSON.stringify(about))}.dsse.json`);
  const existing = await readFile(file).catch(() => undefined);
  if (existing !== undefined && (await stillHolds(existing, context, new Date()))) return existing;
  const { schema } = model.preprocessing;
  const { agreement, envelope, manifests } = await proposeAgreement(context, keys, {
    name: 'evaluation',
    prefixes,
    keyName: chooseKeyName(context.deployment),
    configuration,
    maxRuns: MAX_RUNS,
    notAfter: new Date(Date.now() + DAYS * DAY_MS),
    metrics: schema.classes.length === 0 ? [] : SCORED_SPLITS.map(confusionMetric),
    ...(custom === undefined ? {} : { custom }),
  });
  for (const manifest of manifests) requireSamePreparation(manifest.schema, schema);
  await consent(agreement);
  const reviewed = custom === undefined ? {} : { reviewed: custom.sha256 };
  const signed = serialiseEnvelope(await approveAgreement(context, keys, serialiseEnvelope(envelope), reviewed));
  await writeFileAtomic(file, signed);
  return signed;
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` unless an agreement is to measure this model on data prepared as its own */
export async function requireToMeasure(context: Context, bytes: Uint8Array, model: OpenedModel): Promise<void> {
  const { configuration, owners, name } = readAgreement(bytes);
  const { epochs, initial_weights } = configuration.training;
  const digest = toHex(sha256(safeTensorsOf(model)));
  if (epochs !== 0 || initial_weights !== digest) {
    const found = initial_weights === undefined ? 'no weights' : `weights of digest ${initial_weights.slice(0, 12)}`;
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `agreement ${name}: found ${epochs} epochs and ${found}, wanted 0 and the model's ${digest.slice(0, 12)}: 'ctrain propose --evaluate' writes one`,
    );
  }
  const { network, credential, deployment } = context;
  const store = blobStore(network, credential, deployment.storage.blobEndpoint, 'datasets');
  for (const { datasets, signingKey } of owners) {
    for (const { prefix } of datasets) {
      const { manifest } = verifyManifest(await readBlob(store, `${prefix}/manifest.dsse.json`), signingKey);
      requireSamePreparation(manifest.schema, model.preprocessing.schema);
    }
  }
}

/** What a run would do with rows that mean something else is measure the model wrongly. */
function requireSamePreparation(found: DatasetSchema, wanted: DatasetSchema): void {
  const sizes = [found.featureCount, wanted.featureCount] as const;
  if (sizes[0] !== sizes[1]) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `the dataset has ${sizes[0]} features, the model takes ${sizes[1]}`,
    );
  }
  const differing = (['columns', 'dtype', 'classes', 'normalisation', 'coding'] as const).filter(
    (member) => JSON.stringify(found[member]) !== JSON.stringify(wanted[member]),
  );
  if (differing.length === 0) return;
  const message = `the dataset was not prepared as the model's rows were: ${differing.join(', ')} of the two are not the same`;
  throw new SecureTrainingError('CONFIG_INVALID', message, { failures: differing });
}
