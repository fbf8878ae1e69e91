import type { KeyObject } from 'node:crypto';
import { fromBase64, toBase64 } from '../crypto/bytes.ts';
import { ENCRYPTION_DATA, parseEncryptionData } from '../crypto/encryption-data.ts';
import { ecPublicJwk, rsaPublicJwk, thumbprint } from '../crypto/jwk.ts';
import { unwrapCek } from '../crypto/key-wrap.ts';
import { SecureTrainingError } from '../errors.ts';
import { type Slot, serialiseKeySlots, slotsShape, thumbprintKeyId } from '../keys/slots.ts';
import { checkShape, hexSha256, members, oneOf, parseJson, text, where } from '../shape.ts';
import { serialiseEnvelope, statementDigest } from '../statements/dsse.ts';
import {
  checkKeyBinding,
  type Manifest,
  type ManifestObject,
  SPLITS,
  type Split,
  signManifest,
} from '../statements/manifest.ts';
import { consistentSizes, type SealedDescription, sealedMembers } from '../statements/sealed-description.ts';
import { decodeShard } from './arrow-shard.ts';
import type { BlobProperties, BlobStore } from './blob-store.ts';
import { checkDatasetName, type DatasetDescription } from './dataset-file.ts';
import { leavesName, openShard } from './open-shard.ts';
import { datasetPrefix, KEYS_FILE, MANIFEST_FILE } from './sealed-folder.ts';

/** What a foreign writer leaves beside an object, made in its key-wrap hook (docs/python.md). Signed by nobody: checked here. */
export interface ObjectBinding {
  readonly version: 1;
  readonly object: SealedDescription;
  /** Hex of {@link keyBinding}. */
  readonly keyBinding: string;
  readonly slots: readonly Slot[];
  /** Standard base64 of the leaf hashes. */
  readonly leaves: string;
}

export interface AdoptOptions {
  /** Container `datasets`; the objects are in it already. */
  readonly store: BlobStore;
  /** Private P-256 key that signs the manifest. */
  readonly ownerKey: KeyObject;
  /** Private half of the key in the escrow slots: the owner's own. */
  readonly escrowKey: KeyObject;
  /** Versioned id of the vault key that every object must be sealed to. */
  readonly keyId: string;
  readonly description: DatasetDescription;
  readonly version: number;
  /** In the order in which their splits are read. */
  readonly bindings: readonly ObjectBinding[];
  /** Called before an object is read back. */
  readonly onObject?: (name: string, index: number) => void;
  readonly abortSignal?: AbortSignal;
}

export interface Adopted {
  readonly prefix: string;
  readonly manifest: Manifest;
  readonly digest: string;
}

const bindingShape = members<ObjectBinding>({
  version: oneOf(1),
  object: where(members<SealedDescription>(sealedMembers), consistentSizes),
  keyBinding: hexSha256,
  slots: slotsShape,
  leaves: text(/^[A-Za-z0-9+/]*={0,2}$/, 'base64'),
});

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`, every wrong member listed */
export function parseObjectBinding(bytes: Uint8Array, what: string): ObjectBinding {
  return checkShape(bindingShape, parseJson(bytes, what), what);
}

/**
 * Signs a version of a dataset whose objects somebody else's program sealed. Nothing is taken on trust and nothing is bound
 * here: each object is read back, opened with the owner's escrow slot, and must be what its writer's binding says; rows and
 * split are counted, not believed. Leaves and keys are written first, the manifest last and only if there is none.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` naming the object, `CONFIG_INVALID` for rows of another shape or a
 * version that is taken
 */
export async function adoptObjects(options: AdoptOptions): Promise<Adopted> {
  const { store, ownerKey, description, version, bindings } = options;
  const ownerId = thumbprint(ecPublicJwk(ownerKey));
  const dataset = checkDatasetName(description.name);
  const prefix = datasetPrefix({ ownerId, dataset, version });
  if ((await store.properties(`${prefix}/${MANIFEST_FILE}`)) !== undefined) throw taken(dataset, version);
  const objects: ManifestObject[] = [];
  for (const [index, binding] of bindings.entries()) {
    options.abortSignal?.throwIfAborted();
    options.onObject?.(binding.object.name, index);
    objects.push(await adoptObject(options, prefix, ownerId, binding));
  }
  const manifest: Manifest = {
    ownerId,
    dataset,
    version,
    schema: description.schema,
    objects: SPLITS.flatMap((split) => objects.filter((object) => object.split === split)),
  };
  const envelope = signManifest(manifest, ownerKey);
  const slots = Object.fromEntries(bindings.map((binding) => [binding.object.name, binding.slots]));
  await store.put(`${prefix}/${KEYS_FILE}`, serialiseKeySlots({ version: 1, objects: slots }));
  const written = await store.put(`${prefix}/${MANIFEST_FILE}`, serialiseEnvelope(envelope), { ifNoneMatch: '*' });
  if (written === undefined) throw taken(dataset, version);
  return { prefix, manifest, digest: statementDigest(envelope) };
}

async function adoptObject(
  { store, escrowKey, keyId, description, abortSignal }: AdoptOptions,
  prefix: string,
  ownerId: string,
  { object: sealed, keyBinding, slots, leaves }: ObjectBinding,
): Promise<ManifestObject> {
  const { name } = sealed;
  const cek = unwrapCek(slotOfKey(slots, thumbprintKeyId(thumbprint(rsaPublicJwk(escrowKey))), name), escrowKey, {
    name,
  });
  // Split and rows follow once the object is open.
  const unread = { ...sealed, keyBinding, split: 'train' as Split, rows: 1 };
  checkKeyBinding(cek, ownerId, unread);
  const wrapped = slotOfKey(slots, keyId, name);
  const checkProperties = ({ metadata }: BlobProperties): void => {
    const json = metadata[ENCRYPTION_DATA];
    const data = json === undefined ? undefined : parseEncryptionData(json, `${ENCRYPTION_DATA} of ${name}`);
    if (data?.keyId === keyId && toBase64(data.encryptedKey) === toBase64(wrapped)) return;
    throw rejected(name, `its ${ENCRYPTION_DATA} is not that of its binding`);
  };
  await store.put(`${prefix}/${leavesName(name)}`, fromBase64(leaves, `leaves of ${name}`));
  const signal = abortSignal === undefined ? {} : { abortSignal };
  const plaintext = await openShard(store, prefix, unread, cek, { checkProperties, ...signal });
  try {
    const shard = decodeShard(plaintext);
    const { featureCount, dtype } = description.schema;
    const split = SPLITS.find((known) => known === shard.metadata.split);
    if (split === undefined || shard.featureCount !== featureCount || shard.dtype !== dtype) {
      const found = `${shard.featureCount} features of ${shard.dtype}, split ${shard.metadata.split}`;
      throw new SecureTrainingError(
        'CONFIG_INVALID',
        `${name}: found ${found}, wanted ${featureCount} of ${dtype}, split ${SPLITS.join(' or ')}`,
      );
    }
    return { ...unread, split, rows: shard.rows };
  } finally {
    plaintext.fill(0);
  }
}

function slotOfKey(slots: readonly Slot[], keyId: string, name: string): Uint8Array {
  const slot = slots.find((each) => each.keyId === keyId);
  if (slot === undefined) throw rejected(name, `its binding has no key slot of ${keyId}`);
  return fromBase64(slot.encryptedKey, `key slot of ${name}`);
}

function rejected(name: string, message: string): SecureTrainingError {
  return new SecureTrainingError('CIPHERTEXT_REJECTED', `${name}: ${message}`);
}

function taken(dataset: string, version: number): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', `version ${version} of dataset ${dataset} is signed already`);
}
