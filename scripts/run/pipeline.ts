import { readFile, rm } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import type { Deployment } from '../../runtime/catalogue.ts';
import { writeFileAtomic } from '../../runtime/data/atomic-file.ts';
import type { DatasetDescription } from '../../runtime/data/dataset-file.ts';
import { prepareData } from '../../runtime/data/prepare/prepare.ts';
import type { DataProgress } from '../../runtime/data/progress.ts';
import { sealDataset } from '../../runtime/data/seal-dataset.ts';
import { datasetPrefix, MANIFEST_FILE } from '../../runtime/data/sealed-folder.ts';
import { nextFreeVersion, uploadDataset } from '../../runtime/data/upload-dataset.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { vaultKeyId } from '../../runtime/keys/slots.ts';
import { requireFit } from '../../runtime/open-datasets.ts';
import { countFinished, type RunStatus } from '../../runtime/queue.ts';
import { confusionMetric } from '../../runtime/scores-file.ts';
import { type Agreement, verifyAgreement } from '../../runtime/statements/agreement.ts';
import { serialiseEnvelope } from '../../runtime/statements/dsse.ts';
import type { Manifest } from '../../runtime/statements/manifest.ts';
import type { ReceiptContent } from '../../runtime/statements/receipt.ts';
import type { Context } from '../context.ts';
import type { CustomBundle } from '../custom/bundle-custom.ts';
import { interruptible } from '../interrupt.ts';
import type { LocalKeys } from '../local-keys.ts';
import { cardOptions, writeModelCard } from '../model/card.ts';
import { bytes, count, type Reporter } from '../progress.ts';
import { approveAgreement } from './approve.ts';
import type { Configure } from './configuration.ts';
import { chooseKeyName } from './key-name.ts';
import { openModel } from './open-model.ts';
import { proposeAgreement, trainRows } from './propose.ts';
import { runStore, submitRun, watchRun } from './submit.ts';
import { vaultKey } from './vault-key.ts';
import {
  fingerprint,
  type RowSource,
  readUploaded,
  removeEmptyFolders,
  shortDigest,
  uploadedFile,
} from './work-folder.ts';

const DAY_MS = 86_400_000;
/** Runs that one signature is good for, when nobody says otherwise. */
const MAX_RUNS = 100;

export interface PipelineOptions {
  readonly data: RowSource;
  readonly configuration: Configure;
  /** Folder for what this pipeline makes on the way; a rerun goes on from what is there. */
  readonly workDir: string;
  readonly keepPlaintext: boolean;
  /** @default MAX_RUNS */
  readonly maxRuns?: number;
  /** Shows what is about to be signed and throws where it is not agreed to. */
  readonly consent: (agreement: Agreement) => Promise<void>;
  /**
   * Bundled custom modules of the configuration: who trains with them here has them in front of them.
   * @default - none
   */
  readonly custom?: CustomBundle;
}

export interface PreparedRun {
  readonly agreement: Uint8Array;
  readonly manifest: Manifest;
}

/**
 * From a file of plain rows to a signed agreement about sealed ones. Every step leaves its result whole, so that the
 * same call goes on where an earlier one was stopped; another input or configuration starts anew beside it.
 */
export async function prepareRun(
  context: Context,
  keys: LocalKeys,
  options: PipelineOptions,
  reporter: Reporter,
): Promise<PreparedRun> {
  const rows = await prepareRows(context.deployment, keys, options, reporter);
  return agreeOnRows(context, keys, rows, options, reporter);
}

/** Rows that have been looked at, and what has become of them so far. */
export interface PreparedRows {
  /** Folder of everything that is made of these rows. */
  readonly folder: string;
  /** `undefined`: they are in the store already. */
  readonly description: DatasetDescription | undefined;
}

/**
 * Checks and splits the rows, unless they are in this deployment's store already. Nothing is left where a row is wrong.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for a wrong row, or rows that do not fit the configuration
 */
export async function prepareRows(
  deployment: Deployment | undefined,
  keys: LocalKeys,
  { data, configuration, workDir }: PipelineOptions,
  reporter: Reporter,
): Promise<PreparedRows> {
  const folder = join(workDir, await fingerprint(data, keys));
  if (deployment !== undefined && (await readUploaded(folder, deployment)) !== undefined)
    return { folder, description: undefined };
  const processed = join(folder, 'processed');
  try {
    const { description } = await reporter.step(
      'prepare data',
      async (show) => {
        const prepared = await prepareData({ ...data, outputDir: processed, onProgress: fraction(show) });
        const { schema, splits } = prepared.description;
        requireFit(schema, configuration(schema, splits.train.rows));
        return prepared;
      },
      (result) =>
        `${count(result.rows)} rows, ${result.description.schema.featureCount} features, ${result.description.schema.classes.length} classes`,
    );
    return { folder, description };
  } catch (error) {
    await rm(processed, { recursive: true, force: true });
    await removeEmptyFolders(folder);
    throw error;
  }
}

/** The rest of {@link prepareRun}. */
export async function agreeOnRows(
  context: Context,
  keys: LocalKeys,
  { folder, description }: PreparedRows,
  options: PipelineOptions,
  reporter: Reporter,
): Promise<PreparedRun> {
  const { deployment } = context;
  let manifest = await readUploaded(folder, deployment);
  try {
    if (manifest !== undefined) reporter.line(`  ${manifest.dataset} version ${manifest.version} was uploaded before`);
    // Not there although prepareRows saw it: the store changed in between.
    else if (description === undefined)
      throw new SecureTrainingError('UNAVAILABLE', 'the deployment changed meanwhile');
    else {
      manifest = await sealAndUpload(context, keys, folder, description, reporter);
      await writeFileAtomic(uploadedFile(folder, deployment), JSON.stringify(manifest));
    }
  } finally {
    // Also what an earlier command left that was killed.
    if (!options.keepPlaintext) await rm(join(folder, 'processed'), { recursive: true, force: true });
  }
  const { dataset } = manifest;
  const prefix = datasetPrefix(manifest);
  await requireInStore(context, prefix, uploadedFile(folder, deployment));
  const configuration = options.configuration(manifest.schema, trainRows(manifest));
  const agreementFile = join(folder, `agreement-${shortDigest(JSON.stringify(configuration))}.dsse.json`);

  const existing = await readFile(agreementFile).catch(() => undefined);
  if (existing !== undefined && (await stillHolds(existing, context, new Date())))
    return { agreement: existing, manifest };
  const agreement = await reporter.step(
    'agree',
    async () => {
      const proposal = await proposeAgreement(context, keys, {
        name: dataset,
        prefixes: [prefix],
        keyName: chooseKeyName(deployment),
        configuration: () => configuration,
        maxRuns: options.maxRuns ?? MAX_RUNS,
        notAfter: new Date(Date.now() + 30 * DAY_MS),
        // Whoever trains here has the rows in front of them: what is counted of them is theirs to see.
        metrics: manifest.schema.classes.length === 0 ? [] : [confusionMetric('test')],
        ...(options.custom === undefined ? {} : { custom: options.custom }),
      });
      await options.consent(proposal.agreement);
      const reviewed = options.custom === undefined ? {} : { reviewed: options.custom.sha256 };
      return serialiseEnvelope(await approveAgreement(context, keys, serialiseEnvelope(proposal.envelope), reviewed));
    },
    () => `signed by ${keys.name}, release role granted`,
  );
  await writeFileAtomic(agreementFile, agreement);
  return { agreement, manifest };
}

/** A version that was sealed anew since may have been retired: then the rows are there under another one. */
async function requireInStore({ deployment, network, credential }: Context, prefix: string, file: string) {
  const store = blobStore(network, credential, deployment.storage.blobEndpoint, 'datasets');
  if ((await store.properties(`${prefix}/${MANIFEST_FILE}`)) !== undefined) return;
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    `${prefix} is no longer in the store: train by the agreement that 'ctrain rotate-keys' prepared, or remove ${file} to seal the rows again`,
  );
}

async function sealAndUpload(
  context: Context,
  keys: LocalKeys,
  folder: string,
  { name }: DatasetDescription,
  reporter: Reporter,
): Promise<Manifest> {
  const { deployment, network, credential } = context;
  const encrypted = join(folder, 'encrypted');
  const kek = await vaultKey(context, chooseKeyName(deployment), reporter.line);
  const store = blobStore(network, credential, deployment.storage.blobEndpoint, 'datasets');
  const lowestVersion = await nextFreeVersion(store, keys.ownerId, name);
  const { manifest } = await reporter.step(
    'seal data',
    (show) =>
      sealDataset({
        inputPath: join(folder, 'processed'),
        outputPath: encrypted,
        kek,
        escrow: keys.recipientJwk,
        ownerKey: keys.signing,
        lowestVersion,
        onProgress: fraction(show),
      }),
    (result) =>
      `${result.manifest.objects.length} objects, ${bytes(sealedBytes(result.manifest))}, key ${kek.keyId.split('/').at(-2)}`,
  );
  await reporter.step(
    'upload',
    (show) => uploadDataset({ folder: encrypted, store, ownerKey: keys.signingJwk, onProgress: fraction(show) }),
    () => `datasets/${datasetPrefix(manifest).slice(0, 12)}…/${manifest.dataset}/${manifest.version}`,
  );
  return manifest;
}

export interface FinishedRun {
  readonly runId: string;
  readonly status: RunStatus;
  readonly content: ReceiptContent;
  readonly folder: string;
}

/** Queues a run or goes on with one, follows it, and opens the model it leaves. */
export async function finishRun(
  context: Context,
  keys: LocalKeys,
  agreement: Uint8Array,
  modelsDir: string,
  reporter: Reporter,
  initialWeights?: Uint8Array,
): Promise<FinishedRun> {
  const { runId, status } = await reporter.step(
    'train',
    (show) =>
      interruptible(async (signal) => {
        const { runId, attached } = await submitRun(context, agreement, new Date(), initialWeights);
        reporter.line(`  ${attached ? 'going on with' : 'queued'} ${runId}`);
        return { runId, status: await watchRun(context, runId, show, signal) };
      }),
    (result) => `${result.status.progress?.steps ?? 0} steps`,
  );
  const folder = join(modelsDir, runId);
  const content = await reporter.step(
    'open model',
    async () => {
      const opened = await openModel(runStore(context), keys, runId, folder);
      await writeModelCard(folder, cardOptions(keys, context));
      return opened;
    },
    () => relative(process.cwd(), folder),
  );
  return { runId, status, content, folder };
}

export function sealedBytes({ objects }: Manifest): number {
  return objects.reduce((sum, object) => sum + object.ciphertextSize, 0);
}

/** Whether a signed agreement is still about the deployed trainer, the newest version of the newest key and the present, with a run left. */
export async function stillHolds(bytes: Uint8Array, context: Context, now: Date): Promise<boolean> {
  const { trainer } = context.deployment;
  const { agreement, digest } = verifyAgreement(bytes);
  return (
    Date.parse(agreement.notAfter) > now.getTime() &&
    (await countFinished(runStore(context), digest)) < agreement.maxRuns &&
    agreement.trainers.includes(trainer.bundleSha256) &&
    (await vaultKey(context, chooseKeyName(context.deployment)).then(({ keyId }) =>
      agreement.owners.every((agreed) => vaultKeyId(agreed) === keyId),
    ))
  );
}

function fraction(show: (state: { fraction: number; detail: string }) => void): (progress: DataProgress) => void {
  return ({ done, total, name }) => show({ fraction: total === 0 ? 1 : done / total, detail: name });
}
