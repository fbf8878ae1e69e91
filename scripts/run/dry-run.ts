import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import { CUSTOM_CODE_FILE } from '../../runtime/catalogue.ts';
import { SHARD_ROWS, shardRows } from '../../runtime/data/arrow-shard.ts';
import { prepareData } from '../../runtime/data/prepare/prepare.ts';
import { readPreparedRows } from '../../runtime/data/prepared-rows.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { machineMemory } from '../../runtime/machine-memory.ts';
import { mixedRows } from '../../runtime/mixture.ts';
import { requireFit } from '../../runtime/open-datasets.ts';
import { readBlob } from '../../runtime/queue.ts';
import type { Agreement } from '../../runtime/statements/agreement.ts';
import { type DatasetSchema, type ManifestObject, SPLITS, verifyManifest } from '../../runtime/statements/manifest.ts';
import { startBackend } from '../../runtime/training/backend.ts';
import { stepBudget } from '../../runtime/training/budget.ts';
import type { ShardRows } from '../../runtime/training/feed.ts';
import type { EngineInfo } from '../../runtime/training/frames.ts';
import { type Rehearsal, rehearse } from '../../runtime/training/rehearsal.ts';
import type { TrainingConfig } from '../../runtime/training-config.ts';
import { NATIVE_DIR } from '../bundle.ts';
import type { Context } from '../context.ts';
import type { CustomBundle } from '../custom/bundle-custom.ts';
import type { Configure } from './configuration.ts';
import { wasmFolder } from './predict.ts';
import { sampleRows } from './sample-rows.ts';
import { type RowSource, removeEmptyFolders } from './work-folder.ts';

/** Rows to rehearse with, and what a run would find around them. */
interface DryRunRows {
  readonly schema: DatasetSchema;
  readonly config: TrainingConfig;
  /** Rows of each shard, by split; empty where nobody could be asked. */
  readonly shards: Readonly<Record<string, readonly number[]>>;
  readonly drawn?: readonly number[];
  /** Where the rows of the batch are from. */
  readonly origin: string;
  rows(count: number): Promise<ShardRows>;
}

export interface DryRun extends Rehearsal {
  readonly origin: string;
  readonly config: TrainingConfig;
  readonly engine: EngineInfo;
  readonly machineBytes: number;
  /** Rows of the train split and steps over them; absent where the datasets could not be asked. */
  readonly run?: { readonly rows: number; readonly stepsPerEpoch: number; readonly steps: number };
}

export interface DryRunOptions {
  /** @default - the configuration names no module */
  readonly custom?: CustomBundle;
  /** @default - the seed decides */
  readonly initialWeights?: Uint8Array;
}

/** Rehearses on plain rows: they are prepared beside the work folders, and removed again. */
export async function dryRunOnFile(
  data: RowSource,
  configuration: Configure,
  workDir: string,
  options: DryRunOptions,
): Promise<DryRun> {
  await mkdir(workDir, { recursive: true });
  const folder = await mkdtemp(join(workDir, 'dry-run-'));
  try {
    const { description } = await prepareData({ ...data, outputDir: folder });
    const { schema, splits } = description;
    const config = configuration(schema, splits.train.rows);
    requireFit(schema, config);
    const perShard = Math.min(SHARD_ROWS, shardRows(schema.featureCount, schema.dtype));
    const shards = Object.fromEntries(SPLITS.map((split) => [split, cut(splits[split].rows, perShard)]));
    const rows = async (count: number): Promise<ShardRows> => {
      const file = join(folder, splits.train.file);
      for await (const piece of readPreparedRows(file, schema, 'train', count)) {
        return { ...piece, rows: piece.labels.length };
      }
      throw new SecureTrainingError('CONFIG_INVALID', `${data.inputPath}: the train split has no rows`);
    };
    return await dryRun({ schema, config, shards, origin: data.inputPath, rows }, options);
  } finally {
    await rm(folder, { recursive: true, force: true });
    await removeEmptyFolders(workDir);
  }
}

/**
 * Rehearses what was agreed on with made-up rows, for nobody may open the sealed ones.
 * @param context asked for the manifests; `undefined` where that would start something
 */
export async function dryRunOnAgreement(
  agreement: Agreement,
  context: Context | undefined,
  options: DryRunOptions,
): Promise<DryRun> {
  const { configuration: config } = agreement;
  const found = context === undefined ? undefined : await readManifests(agreement, context);
  const schema = found?.schema ?? unknownSchema(config);
  requireFit(schema, config);
  const rows = async (count: number): Promise<ShardRows> => {
    const { features, labels } = sampleRows(schema, count, config.training.seed);
    return { features, labels: schema.classes.length === 0 ? new Float32Array(count) : labels, rows: count };
  };
  const origin = found === undefined ? 'made-up rows' : 'made-up rows, by the schema of the datasets';
  const { shards = {}, drawn } = found ?? {};
  return dryRun({ schema, config, shards, ...(drawn === undefined ? {} : { drawn }), origin, rows }, options);
}

async function dryRun(given: DryRunRows, { custom, initialWeights }: DryRunOptions): Promise<DryRun> {
  const { config, shards, drawn, origin } = given;
  const { backend, batch_size } = config.training;
  // TensorFlow's own log; read when its libraries are loaded.
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
  const engine = await startBackend({
    wasmDir: wasmFolder(),
    nativeDir: NATIVE_DIR,
    ...(backend === undefined || backend === 'auto' ? {} : { backend }),
  });
  const folder = await mkdtemp(join(tmpdir(), 'ctrain-dry-run-'));
  try {
    if (custom !== undefined) await writeFile(join(folder, CUSTOM_CODE_FILE), custom.bytes);
    const machineBytes = machineMemory();
    const weights = initialWeights === undefined ? {} : { initialWeights };
    const rehearsal = await rehearse({ ...given, ...weights, folder, backend: engine.backend, machineBytes });
    const rows = (drawn ?? shards.train ?? []).reduce((sum, count) => sum + count, 0);
    const stepsPerEpoch = Math.ceil(rows / batch_size);
    const run = rows === 0 ? {} : { run: { rows, stepsPerEpoch, steps: stepBudget(config, rows) } };
    return { ...rehearsal, origin, config, engine, machineBytes, ...run };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function readManifests(
  { owners, configuration }: Agreement,
  { deployment, network, credential }: Context,
): Promise<Pick<DryRunRows, 'schema' | 'shards' | 'drawn'> | undefined> {
  const store = blobStore(network, credential, deployment.storage.blobEndpoint, 'datasets');
  const objects: (ManifestObject & { readonly ownerId: string; readonly dataset: string })[] = [];
  let schema: DatasetSchema | undefined;
  for (const { signingKey, datasets } of owners) {
    for (const { prefix, dataset } of datasets) {
      const { manifest } = verifyManifest(await readBlob(store, `${prefix}/manifest.dsse.json`), signingKey);
      schema ??= manifest.schema;
      objects.push(...manifest.objects.map((object) => ({ ...object, ownerId: manifest.ownerId, dataset })));
    }
  }
  if (schema === undefined) return undefined;
  const shards = Object.fromEntries(
    SPLITS.map((split) => [split, objects.filter((object) => object.split === split).map(({ rows }) => rows)]),
  );
  const drawn = mixedRows(
    objects.filter(({ split }) => split === 'train'),
    configuration.training.dataset_weights,
  );
  return { schema, shards, ...(drawn === undefined ? {} : { drawn }) };
}

/** All that a configuration alone tells of rows. */
function unknownSchema({ training: { input_size, output_size, model } }: TrainingConfig): DatasetSchema {
  const isValue = model !== undefined && output_size === 1;
  return {
    featureCount: input_size,
    dtype: 'float32',
    label: 'label',
    columns: Array.from({ length: input_size }, (_, i) => `feature ${i}`),
    classes: isValue ? [] : Array.from({ length: output_size }, (_, i) => String(i)),
    normalisation: { kind: 'none' },
  };
}

function cut(rows: number, most: number): number[] {
  return Array.from({ length: Math.ceil(rows / most) }, (_, i) => Math.min(most, rows - i * most));
}
