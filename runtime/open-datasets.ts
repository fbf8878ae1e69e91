import type { KeyObject } from 'node:crypto';
import { fromBase64, toBase64 } from './crypto/bytes.ts';
import { ENCRYPTION_DATA, parseEncryptionData } from './crypto/encryption-data.ts';
import { unwrapCek } from './crypto/key-wrap.ts';
import type { BlobStore } from './data/blob-store.ts';
import { openShard } from './data/open-shard.ts';
import type { ReleasedKey } from './environment.ts';
import { SecureTrainingError } from './errors.ts';
import { chooseSlot, parseKeySlots, type Slot, vaultKeyId } from './keys/slots.ts';
import { mixedRows } from './mixture.ts';
import { readBlob } from './queue.ts';
import type { AgreedDataset } from './statements/agreement.ts';
import {
  checkKeyBinding,
  type DatasetSchema,
  type ManifestObject,
  type Split,
  verifyManifest,
} from './statements/manifest.ts';
import type { ReceiptManifest } from './statements/receipt.ts';
import { requireCheckpoint } from './training/memory.ts';
import type { TrainingConfig } from './training-config.ts';

/** The datasets of an agreement, every one checked and its content keys opened; no row is read yet. */
export interface OpenDatasets {
  readonly schema: DatasetSchema;
  /** Rows of each shard, by split, in agreement and manifest order. */
  readonly shards: Readonly<Record<Split, readonly number[]>>;
  /** Rows that an epoch takes of each train shard, where the configuration mixes datasets by weight. */
  readonly drawn: readonly number[] | undefined;
  /** All content keys, in agreement and manifest order: what a resume tag is derived from. */
  readonly ceks: readonly KeyObject[];
  readonly manifests: readonly ReceiptManifest[];
  /** Reads, checks and decrypts one shard: Arrow IPC bytes. */
  open(split: string, index: number): Promise<Uint8Array>;
  /** What {@link open} would read, for the record. */
  describe(split: string, index: number): OpenedObject | undefined;
}

/** A shard, the manifest that vouches for it and the key that opens it. */
interface OpenedObject {
  readonly name: string;
  readonly manifestDigest: string;
  readonly keyId: string;
}

interface OpenObject {
  readonly prefix: string;
  readonly object: ManifestObject;
  readonly slots: readonly Slot[];
  readonly cek: KeyObject;
  readonly manifestDigest: string;
  readonly keyId: string;
  readonly ownerId: string;
  readonly dataset: string;
}

/**
 * Opens what the owners agreed on and nothing else; `onRefused` is told of the dataset that ended it.
 * @throws {@link SecureTrainingError} `CONSENT_MISSING` for a manifest that was not agreed on, `CIPHERTEXT_REJECTED` for keys
 * that do not fit, `CONFIG_INVALID` for datasets that do not go together
 */
export async function openDatasets(
  datasets: BlobStore,
  keys: readonly ReleasedKey[],
  config: TrainingConfig,
  onRefused: (released: ReleasedKey, agreed: AgreedDataset, error: unknown) => void = () => undefined,
): Promise<OpenDatasets> {
  const objects: OpenObject[] = [];
  const manifests: ReceiptManifest[] = [];
  let schema: DatasetSchema | undefined;
  const openOne = async (released: ReleasedKey, agreed: AgreedDataset): Promise<void> => {
    const { manifest, digest } = verifyManifest(
      await readBlob(datasets, `${agreed.prefix}/manifest.dsse.json`),
      released.owner.signingKey,
    );
    requireAgreed(agreed, manifest, digest);
    schema = requireSameSchema(schema, manifest.schema, agreed.dataset);
    const slots = parseKeySlots(await readBlob(datasets, `${agreed.prefix}/keys.json`));
    for (const object of manifest.objects) {
      const own = slots.objects[object.name] ?? [];
      const cek = openKey(released, object, own, manifest.ownerId);
      const keyId = vaultKeyId(released.owner);
      const { ownerId } = manifest;
      const { prefix, dataset } = agreed;
      objects.push({ prefix, object, slots: own, cek, manifestDigest: digest, keyId, ownerId, dataset });
    }
    manifests.push({ ownerId: manifest.ownerId, dataset: agreed.dataset, version: agreed.version, digest });
  };
  for (const released of keys) {
    for (const agreed of released.owner.datasets) {
      await openOne(released, agreed).catch((error: unknown) => {
        onRefused(released, agreed, error);
        throw error;
      });
    }
  }
  if (schema === undefined) throw new SecureTrainingError('CONFIG_INVALID', 'the agreement names no dataset');
  requireFit(schema, config);
  const bySplit = (split: Split) => objects.filter(({ object }) => object.split === split);
  const splits: Readonly<Record<string, readonly OpenObject[]>> = {
    train: bySplit('train'),
    validation: bySplit('validation'),
    test: bySplit('test'),
  };
  const rows = (split: Split) => (splits[split] ?? []).map(({ object }) => object.rows);
  return {
    schema,
    shards: { train: rows('train'), validation: rows('validation'), test: rows('test') },
    drawn: mixedRows(
      bySplit('train').map(({ object, ownerId, dataset }) => ({ rows: object.rows, ownerId, dataset })),
      config.training.dataset_weights,
    ),
    ceks: objects.map(({ cek }) => cek),
    manifests,
    describe: (split, index) => {
      const found = splits[split]?.[index];
      if (found === undefined) return undefined;
      return { name: found.object.name, manifestDigest: found.manifestDigest, keyId: found.keyId };
    },
    open: (split, index) => {
      const found = splits[split]?.[index];
      if (found === undefined) throw new RangeError(`there is no shard ${index} of split ${split}`);
      return openShard(datasets, found.prefix, found.object, found.cek, {
        checkProperties: ({ metadata }) => checkEncryptionData(datasets, found, metadata[ENCRYPTION_DATA]),
      });
    },
  };
}

function openKey(released: ReleasedKey, object: ManifestObject, slots: readonly Slot[], ownerId: string): KeyObject {
  const { vaultHost, keyName, keyVersion } = released.owner;
  const slot = chooseSlot(object.name, slots, [{ vaultHost, keyName, keyVersion }]);
  const wrapped = fromBase64(slot.encryptedKey, `key slot of ${object.name}`);
  const cek = unwrapCek(wrapped, released.key, { name: object.name });
  checkKeyBinding(cek, ownerId, object);
  return cek;
}

/**
 * What SDKs would open the object with must be what `keys.json` says of it: rotation writes the slot first, the metadata
 * second, so they never disagree in good faith. A rotation since `keys.json` was read has put its slot there by now.
 */
async function checkEncryptionData(
  datasets: BlobStore,
  { prefix, object, slots }: OpenObject,
  json: string | undefined,
): Promise<void> {
  const data = json === undefined ? undefined : parseEncryptionData(json, `${ENCRYPTION_DATA} of ${object.name}`);
  const isAmong = (known: readonly Slot[]) =>
    known.some(({ keyId, encryptedKey }) => keyId === data?.keyId && encryptedKey === toBase64(data.encryptedKey));
  const fits =
    data !== undefined &&
    data.protocol === object.protocol &&
    data.regionLength === object.regionLength &&
    (isAmong(slots) ||
      isAmong(parseKeySlots(await readBlob(datasets, `${prefix}/keys.json`)).objects[object.name] ?? []));
  if (!fits)
    throw new SecureTrainingError(
      'CIPHERTEXT_REJECTED',
      `${object.name}: its ${ENCRYPTION_DATA} is not what keys.json says`,
    );
}

function requireAgreed(agreed: AgreedDataset, manifest: { dataset: string; version: number }, digest: string): void {
  const { dataset, version } = manifest;
  if (digest === agreed.manifestDigest && dataset === agreed.dataset && version === agreed.version) return;
  throw new SecureTrainingError(
    'CONSENT_MISSING',
    `${agreed.prefix}/manifest.dsse.json: found ${dataset} version ${version} (${digest.slice(0, 12)}), ` +
      `agreed was ${agreed.dataset} version ${agreed.version} (${agreed.manifestDigest.slice(0, 12)})`,
  );
}

function requireSameSchema(first: DatasetSchema | undefined, schema: DatasetSchema, dataset: string): DatasetSchema {
  if (first === undefined) return schema;
  const shape = ({ featureCount, dtype, classes }: DatasetSchema) => JSON.stringify({ featureCount, dtype, classes });
  if (shape(first) === shape(schema)) return first;
  throw new SecureTrainingError('CONFIG_INVALID', `dataset ${dataset}: its schema is not that of the other datasets`);
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` when the configuration is for rows of another shape, or for no machine there is */
export function requireFit(schema: DatasetSchema, config: TrainingConfig): void {
  const { training } = config;
  const failures = [
    training.input_size === schema.featureCount
      ? undefined
      : `training.input_size: found ${training.input_size}, the dataset has ${schema.featureCount} features`,
    training.model !== undefined || (schema.classes.length > 0 && training.output_size >= schema.classes.length)
      ? undefined
      : schema.classes.length === 0
        ? 'training.model: the labels are values, and the declarative model tells classes apart: name one of your own'
        : `training.output_size: found ${training.output_size}, the dataset has ${schema.classes.length} classes`,
  ].filter((failure) => failure !== undefined);
  if (failures.length > 0) throw new SecureTrainingError('CONFIG_INVALID', failures.join('; '), { failures });
  // How large a model of one's own is, only its author's code knows.
  if (training.model === undefined) requireCheckpoint({ config });
}
