import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import { toHex } from '../../runtime/crypto/bytes.ts';
import { writeFileAtomic } from '../../runtime/data/atomic-file.ts';
import { type PrepareOptions, prepareData } from '../../runtime/data/prepare/prepare.ts';
import type { DataProgress } from '../../runtime/data/progress.ts';
import { sealDataset } from '../../runtime/data/seal-dataset.ts';
import { datasetPrefix } from '../../runtime/data/sealed-folder.ts';
import { nextFreeVersion, uploadDataset } from '../../runtime/data/upload-dataset.ts';
import type { RunStatus } from '../../runtime/queue.ts';
import type { Agreement } from '../../runtime/statements/agreement.ts';
import { serialiseEnvelope } from '../../runtime/statements/dsse.ts';
import type { Manifest } from '../../runtime/statements/manifest.ts';
import type { ReceiptContent } from '../../runtime/statements/receipt.ts';
import { parseTrainingConfig, type TrainingConfig } from '../../runtime/training-config.ts';
import type { Context } from '../context.ts';
import type { LocalKeys } from '../local-keys.ts';
import { bytes, count, type Reporter } from '../progress.ts';
import { approveAgreement, readAgreement } from './approve.ts';
import { chooseKeyName } from './key-name.ts';
import { openModel } from './open-model.ts';
import { proposeAgreement } from './propose.ts';
import { runStore, submitRun, watchRun } from './submit.ts';
import { vaultKey } from './vault-key.ts';

const DAY_MS = 86_400_000;

export interface PipelineOptions {
  readonly data: Pick<PrepareOptions, 'inputPath' | 'dataType' | 'label' | 'name' | 'seed'>;
  /** `undefined`: one that fits the data. */
  readonly configuration: TrainingConfig | undefined;
  /** Folder for what this pipeline makes on the way; a rerun goes on from what is there. */
  readonly workDir: string;
  readonly keepPlaintext: boolean;
  /** Shows what is about to be signed and throws where it is not agreed to. */
  readonly consent: (agreement: Agreement) => Promise<void>;
}

export interface PreparedRun {
  readonly agreement: Uint8Array;
  readonly manifest: Manifest;
}

/**
 * From a file of plain rows to a signed agreement about sealed ones. Every step leaves its result whole, so that the
 * same call goes on where an earlier one was stopped; another input or configuration starts anew beside it.
 */
export async function prepareRun(context: Context, keys: LocalKeys, options: PipelineOptions, reporter: Reporter): Promise<PreparedRun> {
  const folder = join(options.workDir, await fingerprint(options, keys));
  const processed = join(folder, 'processed');
  const encrypted = join(folder, 'encrypted');
  const agreementFile = join(folder, 'agreement.dsse.json');
  const { deployment, network, credential } = context;

  const done = await readFile(join(folder, 'uploaded.json'), 'utf8').catch(() => undefined);
  let manifest: Manifest;
  if (done === undefined) {
    const prepared = await reporter.step(
      'prepare data',
      (show) => prepareData({ ...options.data, outputDir: processed, onProgress: fraction(show) }),
      ({ rows, description }) => `${count(rows)} rows, ${description.schema.featureCount} features, ${description.schema.classes.length} classes`,
    );
    const kek = await vaultKey(context, chooseKeyName(deployment));
    const store = blobStore(network, credential, deployment.storage.blobEndpoint, 'datasets');
    const lowestVersion = await nextFreeVersion(store, keys.ownerId, prepared.description.name);
    const sealed = await reporter.step(
      'seal data',
      (show) =>
        sealDataset({
          inputPath: processed,
          outputPath: encrypted,
          kek,
          escrow: keys.recipientJwk,
          ownerKey: keys.signing,
          lowestVersion,
          onProgress: fraction(show),
        }),
      (result) => `${result.manifest.objects.length} objects, ${bytes(sealedBytes(result.manifest))}, key ${kek.keyId.split('/').at(-2)}`,
    );
    manifest = sealed.manifest;
    const prefix = datasetPrefix(manifest);
    await reporter.step(
      'upload',
      (show) =>
        uploadDataset({
          folder: encrypted,
          store,
          ownerKey: keys.signingJwk,
          onProgress: fraction(show),
        }),
      () => `datasets/${prefix.slice(0, 12)}…/${manifest.dataset}/${manifest.version}`,
    );
    await writeFileAtomic(join(folder, 'uploaded.json'), JSON.stringify(manifest));
    if (!options.keepPlaintext) await rm(processed, { recursive: true, force: true });
  } else {
    manifest = JSON.parse(done) as Manifest;
    reporter.line(`  ${manifest.dataset} version ${manifest.version} was uploaded before`);
  }

  const existing = await readFile(agreementFile).catch(() => undefined);
  if (existing !== undefined && stillHolds(readAgreement(existing), context, new Date())) return { agreement: existing, manifest };
  const agreement = await reporter.step(
    'agree',
    async () => {
      const proposal = await proposeAgreement(context, keys, {
        name: manifest.dataset,
        prefixes: [datasetPrefix(manifest)],
        keyName: chooseKeyName(deployment),
        configuration: options.configuration ?? fittingConfiguration(manifest),
        maxRuns: 10,
        notAfter: new Date(Date.now() + 30 * DAY_MS),
      });
      await options.consent(proposal.agreement);
      return serialiseEnvelope(await approveAgreement(context, keys, serialiseEnvelope(proposal.envelope)));
    },
    () => `signed by ${keys.name}, release role granted`,
  );
  await writeFileAtomic(agreementFile, agreement);
  return { agreement, manifest };
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
): Promise<FinishedRun> {
  const { runId, status } = await reporter.step(
    'train',
    async (show) => {
      const submission = await submitRun(context, agreement, new Date());
      reporter.line(`  ${submission.attached ? 'going on with' : 'queued'} ${submission.runId}`);
      return { runId: submission.runId, status: await watchRun(context, submission.runId, show) };
    },
    (result) => `${result.status.progress?.steps ?? 0} steps`,
  );
  const folder = join(modelsDir, runId);
  const content = await reporter.step(
    'open model',
    () => openModel(runStore(context), keys, runId, folder),
    () => relative(process.cwd(), folder),
  );
  return { runId, status, content, folder };
}

/** The deck's three numbers for this data; a hidden layer of 512, or less for few features. */
export function fittingConfiguration({ schema }: Manifest): TrainingConfig {
  const hidden_size = Math.min(512, Math.max(16, schema.featureCount * 4));
  return parseTrainingConfig({
    training: { input_size: schema.featureCount, hidden_size, output_size: schema.classes.length },
  });
}

export function sealedBytes({ objects }: Manifest): number {
  return objects.reduce((sum, object) => sum + object.ciphertextSize, 0);
}

/** Names the work folder: same input, options and owner, same folder. */
async function fingerprint({ data, configuration }: PipelineOptions, keys: LocalKeys): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify([data, configuration ?? null, keys.ownerId]));
  const files = (await stat(data.inputPath).catch(() => undefined))?.isDirectory()
    ? (await readdir(data.inputPath)).sort().map((name) => join(data.inputPath, name))
    : [data.inputPath];
  for (const file of files) {
    // What cannot be read is told by prepareData, in its own words.
    await hashFile(file, hash).catch(() => undefined);
  }
  return toHex(Uint8Array.from(hash.digest())).slice(0, 16);
}

async function hashFile(path: string, hash: ReturnType<typeof createHash>): Promise<void> {
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
}

/** Whether a signed agreement is still about the deployed trainer, the newest key and the present. */
function stillHolds(agreement: Agreement, { deployment }: Context, now: Date): boolean {
  return (
    Date.parse(agreement.notAfter) > now.getTime() &&
    agreement.trainers.includes(deployment.trainer.bundleSha256) &&
    agreement.owners.every((owner) => owner.vaultHost === deployment.owner.vaultHost && owner.keyName === deployment.owner.keyNames.at(-1))
  );
}

function fraction(show: (state: { fraction: number; detail: string }) => void): (progress: DataProgress) => void {
  return ({ done, total, name }) => show({ fraction: total === 0 ? 1 : done / total, detail: name });
}
