import type { KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { utf8 } from '../crypto/bytes.ts';
import { encryptionDataJson } from '../crypto/encryption-data.ts';
import { ecPublicJwk, importJwk, type RsaPublicJwk, thumbprint } from '../crypto/jwk.ts';
import { wrapCek } from '../crypto/key-wrap.ts';
import { generateCek, REGION_LENGTH, sealBytes } from '../crypto/sealed-object.ts';
import { SecureTrainingError } from '../errors.ts';
import { type Slot, serialiseKeySlots, slotOf, thumbprintKeyId } from '../keys/slots.ts';
import { serialiseEnvelope, statementDigest } from '../statements/dsse.ts';
import {
  bindObject,
  type Manifest,
  type ManifestObject,
  SPLITS,
  type Split,
  signManifest,
} from '../statements/manifest.ts';
import { describeSealed } from '../statements/sealed-description.ts';
import { encodeShard, type Rows, SHARD_ROWS, shardRows } from './arrow-shard.ts';
import { writeFileAtomic } from './atomic-file.ts';
import { checkDatasetName, DATASET_FILE, type DatasetDescription } from './dataset-file.ts';
import { leavesName } from './open-shard.ts';
import { readPreparedRows } from './prepared-rows.ts';
import type { OnDataProgress } from './progress.ts';
import {
  encryptionDataName,
  type FolderState,
  KEYS_FILE,
  MANIFEST_FILE,
  readFolderState,
  readSealedFolder,
  writeFolderState,
} from './sealed-folder.ts';
import { planSealing, removeStale, type SealingTarget, shardName } from './sealing-targets.ts';

const PROTOCOL = '2.0';

/** A public key to seal to, and its name in key slots. */
export interface SealingKey {
  /** Versioned URL of a vault key, or `urn:ietf:params:oauth:jwk-thumbprint:sha-256:…`. */
  readonly keyId: string;
  readonly jwk: RsaPublicJwk;
}

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

interface SealedInput {
  readonly objects: readonly ManifestObject[];
  readonly slots: Readonly<Record<string, readonly Slot[]>>;
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

  const inputs: SealedInput[] = [];
  for (const target of targets) inputs.push(await sealInput(target, folder, description, ownerId, options));

  const sealed = inputs.flatMap(({ objects }) => objects);
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
  const slots = Object.assign({}, keptSlots, ...inputs.map((input) => input.slots)) as Record<string, readonly Slot[]>;
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

async function sealInput(
  target: SealingTarget,
  folder: string,
  description: DatasetDescription,
  ownerId: string,
  options: SealOptions,
): Promise<SealedInput> {
  const { schema } = description;
  const total = description.splits[target.split].rows;
  const rowsPerShard = options.rowsPerShard ?? Math.min(SHARD_ROWS, shardRows(schema.featureCount, schema.dtype));
  const shards = readPreparedRows(target.path, schema, target.split, rowsPerShard);
  const objects: ManifestObject[] = [];
  const slots: Record<string, readonly Slot[]> = {};
  let done = 0;
  // An object's name is bound to its key, and whether it carries a number depends on there being another after the first.
  let current = await shards.next();
  let isOnly: boolean | undefined;
  while (current.done !== true) {
    options.abortSignal?.throwIfAborted();
    const following = await shards.next();
    isOnly ??= following.done === true;
    const name = isOnly ? target.objectName : shardName(target.objectName, objects.length);
    const { object, slots: wrapped } = await sealShard(name, current.value, target.split, folder, ownerId, options);
    objects.push(object);
    slots[name] = wrapped;
    done += object.rows;
    options.onProgress?.({ step: 'encrypt', name, done: Math.min(done, total), total, unit: 'rows' });
    current = following;
  }
  if (done !== total) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `${target.path}: found ${done} rows, its ${DATASET_FILE} says ${total}: run 'ctrain prepare-data' again`,
    );
  }
  return { objects, slots };
}

async function sealShard(
  name: string,
  rows: Rows,
  split: Split,
  folder: string,
  ownerId: string,
  options: SealOptions,
): Promise<{ object: ManifestObject; slots: Slot[] }> {
  const plaintext = encodeShard(rows, { version: 1, split });
  const cek = generateCek();
  const sealed = await sealBytes(plaintext, cek);
  plaintext.fill(0);
  rows.features.fill(0);
  const encryptedKey = wrapCek(cek, importJwk(options.kek.jwk));
  const slots = [slotOf(options.kek.keyId, encryptedKey)];
  const { escrow } = options;
  if (escrow !== undefined && thumbprint(escrow) !== thumbprint(options.kek.jwk)) {
    slots.push(slotOf(thumbprintKeyId(thumbprint(escrow)), wrapCek(cek, importJwk(escrow))));
  }
  const description = describeSealed(name, sealed);
  const data = encryptionDataJson({
    keyId: options.kek.keyId,
    encryptedKey,
    protocol: PROTOCOL,
    regionLength: REGION_LENGTH,
  });
  await writeFileAtomic(join(folder, name), sealed.sealed);
  await writeFileAtomic(join(folder, leavesName(name)), sealed.leaves);
  await writeFileAtomic(join(folder, encryptionDataName(name)), utf8(data));
  return {
    object: { ...description, split, rows: rows.labels.length, keyBinding: bindObject(cek, ownerId, description) },
    slots,
  };
}

function inOrder(objects: readonly ManifestObject[]): ManifestObject[] {
  return SPLITS.flatMap((split) => objects.filter((object) => object.split === split));
}
