import type { KeyObject } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ecPublicJwk, type RsaPublicJwk, thumbprint } from '../crypto/jwk.ts';
import { SecureTrainingError } from '../errors.ts';
import { type Slot, serialiseKeySlots } from '../keys/slots.ts';
import { serialiseEnvelope, statementDigest } from '../statements/dsse.ts';
import { type Manifest, type ManifestObject, SPLITS, type Split, signManifest } from '../statements/manifest.ts';
import { SHARD_ROWS, shardRows } from './arrow-shard.ts';
import { removePartials, writeFileAtomic } from './atomic-file.ts';
import { checkDatasetName, DATASET_FILE, type DatasetDescription } from './dataset-file.ts';
import { readPreparedRows } from './prepared-rows.ts';
import type { OnDataProgress } from './progress.ts';
import { isRaw, rawRows } from './raw-rows.ts';
import { defaultJobs, sealInThreads } from './seal-in-threads.ts';
import { countRows, type SealedShard, type SealingKey, type ShardToSeal } from './seal-shard.ts';
import {
  type FolderState,
  KEYS_FILE,
  MANIFEST_FILE,
  readFolderState,
  readSealedFolder,
  writeFolderState,
} from './sealed-folder.ts';
import { planSealing, removeStale, type SealingTarget, shardName } from './sealing-targets.ts';

export type { SealingKey } from './seal-shard.ts';

export interface SealOptions {
  /** A file that `prepare-data` wrote, or its folder: then all splits. */
  readonly inputPath: string;
  /**
   * The sealed file for one input; a folder for all.
   * @default - `encrypted/NAME.enc`, or `encrypted`
   */
  readonly outputPath?: string;
  readonly kek: SealingKey;
  /**
   * The owner's own key, for opening and for rotation; without it only the vault key opens the data.
   * @default - no escrow slot
   */
  readonly escrow?: RsaPublicJwk;
  /**
   * Versioned id of the escrow key where it is in a vault.
   * @default - its thumbprint
   */
  readonly escrowKeyId?: string;
  /** Private P-256 key that signs the manifest. */
  readonly ownerKey: KeyObject;
  /** @default - the name in dataset.json */
  readonly dataset?: string;
  /**
   * The version is never lower: what is in the store already cannot be uploaded again with other content.
   * @default 1, or the version being worked on, or one more than the last that was uploaded from here
   */
  readonly lowestVersion?: number;
  /** @default SHARD_ROWS, fewer where rows are wide */
  readonly rowsPerShard?: number;
  /**
   * Shards sealed at the same time, each in a thread; what is sealed is the same, in the same order. Memory grows by some
   * 100 MB a job.
   * @default - as many as the processor runs at once, fewer (and no threads) where there is little to seal
   */
  readonly jobs?: number;
  readonly onProgress?: OnDataProgress;
  readonly abortSignal?: AbortSignal;
}

export interface SealResult {
  readonly folder: string;
  readonly manifest: Manifest;
  /** Hex SHA-256 of the manifest's payload: what an agreement names. */
  readonly digest: string;
  /** Objects sealed by this call. */
  readonly sealed: readonly ManifestObject[];
  /** Objects of other splits that this version no longer has, because they were prepared differently. */
  readonly dropped: readonly string[];
}

/**
 * Seals prepared rows and signs what was sealed. A content key never outlives its object's sealing; so after a kill the
 * input is sealed anew, and until the manifest is signed, last, nothing refers to what is new.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`
 */
export async function sealDataset(options: SealOptions): Promise<SealResult> {
  const { folder, description, preparation, targets } = await planSealing(options.inputPath, options.outputPath);
  const dataset = checkDatasetName(options.dataset ?? description.name);
  const ownerJwk = ecPublicJwk(options.ownerKey);
  const ownerId = thumbprint(ownerJwk);
  const existing = await readSealedFolder(folder, ownerJwk).catch((cause: unknown) => {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `${join(folder, MANIFEST_FILE)} is not one that this key signed: seal into another folder`,
      { cause },
    );
  });
  if (existing !== undefined && existing.manifest.dataset !== dataset) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `${folder} holds dataset ${existing.manifest.dataset}, not ${dataset}: seal into another folder`,
    );
  }
  const state = await readFolderState(folder);
  const version = nextVersion(options.lowestVersion ?? 1, existing?.manifest.version, state);

  await mkdir(folder, { recursive: true });
  await removePartials(folder);
  const shards = await sealTargets(targets, folder, description, ownerId, options);
  const sealed = shards.map(({ object }) => object);
  const samePreparation = state?.preparation === preparation;
  const others = (existing?.manifest.objects ?? []).filter(
    ({ split, name }) =>
      !targets.some((target) => target.split === split) && !sealed.some((object) => object.name === name),
  );
  const kept = samePreparation ? others : [];
  const manifest: Manifest = {
    ownerId,
    dataset,
    version,
    schema: description.schema,
    objects: inOrder([...kept, ...sealed]),
  };
  const keptSlots = Object.fromEntries(kept.map(({ name }) => [name, existing?.slots.objects[name] ?? []]));
  const freshSlots = Object.fromEntries(shards.map(({ object, slots }) => [object.name, slots]));
  const slots: Readonly<Record<string, readonly Slot[]>> = { ...keptSlots, ...freshSlots };
  const envelope = signManifest(manifest, options.ownerKey);
  await writeFileAtomic(join(folder, KEYS_FILE), serialiseKeySlots({ version: 1, objects: slots }));
  await writeFileAtomic(join(folder, MANIFEST_FILE), serialiseEnvelope(envelope));
  await writeFolderState(folder, { version: 1, preparation, frozenVersion: state?.frozenVersion ?? 0 });
  await removeStale(folder, targets, existing?.manifest.objects ?? [], manifest.objects);
  return {
    folder,
    manifest,
    digest: statementDigest(envelope),
    sealed,
    dropped: samePreparation ? [] : others.map(({ name }) => name),
  };
}

/** A version that was given away never changes: after it comes the next one. */
function nextVersion(lowest: number, existing: number | undefined, state: FolderState | undefined): number {
  if (!Number.isSafeInteger(lowest) || lowest < 1) {
    throw new SecureTrainingError('CONFIG_INVALID', 'dataset version: wanted a whole number from 1');
  }
  return Math.max(lowest, existing ?? 1, (state?.frozenVersion ?? 0) + 1);
}

/** The shards of all targets, one after the other, as they are to be sealed. */
async function* shardsToSeal(
  targets: readonly SealingTarget[],
  folder: string,
  { schema, splits }: DatasetDescription,
  ownerId: string,
  options: SealOptions,
): AsyncGenerator<ShardToSeal> {
  const rowsPerShard = options.rowsPerShard ?? Math.min(SHARD_ROWS, shardRows(schema.featureCount, schema.dtype));
  const { kek, escrow, escrowKeyId, abortSignal } = options;
  const own = { ...(escrow === undefined ? {} : { escrow }), ...(escrowKeyId === undefined ? {} : { escrowKeyId }) };
  for (const { path, split, objectName } of targets) {
    const shards = isRaw(path)
      ? rawRows(path, splits[split].rows)
      : readPreparedRows(path, schema, split, rowsPerShard);
    let count = 0;
    let found = 0;
    // An object's name is bound to its key, and whether it carries a number depends on there being another after the first.
    let current = await shards.next();
    while (current.done !== true) {
      abortSignal?.throwIfAborted();
      const rows = current.value;
      // Once it is yielded, the rows may be on their way to another thread.
      found += countRows(rows);
      current = await shards.next();
      const name = count === 0 && current.done === true ? objectName : shardName(objectName, count);
      count++;
      yield { name, split, rows, folder, ownerId, kek, ...own };
    }
    if (found !== splits[split].rows) {
      throw new SecureTrainingError(
        'CONFIG_INVALID',
        `${path}: found ${found} rows, its ${DATASET_FILE} says ${splits[split].rows}: run 'ctrain prepare-data' again`,
      );
    }
  }
}

/** Seals all targets; progress is told for each split. */
async function sealTargets(
  targets: readonly SealingTarget[],
  folder: string,
  description: DatasetDescription,
  ownerId: string,
  options: SealOptions,
): Promise<SealedShard[]> {
  const { schema, splits } = description;
  const rows = targets.reduce((sum, { split }) => sum + splits[split].rows, 0);
  const jobs = options.jobs ?? defaultJobs(rows * schema.featureCount * (schema.dtype === 'uint8' ? 1 : 4));
  const sealed: SealedShard[] = [];
  const done: Partial<Record<Split, number>> = {};
  for await (const shard of sealInThreads(shardsToSeal(targets, folder, description, ownerId, options), jobs)) {
    sealed.push(shard);
    const { name, split, rows: count } = shard.object;
    done[split] = (done[split] ?? 0) + count;
    const total = splits[split].rows;
    options.onProgress?.({ step: 'encrypt', name, done: Math.min(done[split], total), total, unit: 'rows' });
  }
  return sealed;
}

function inOrder(objects: readonly ManifestObject[]): ManifestObject[] {
  return SPLITS.flatMap((split) => objects.filter((object) => object.split === split));
}
