import { blobStore } from '../../runtime/azure/blob-store.ts';
import { type VaultClient, type VaultKey, vaultClient } from '../../runtime/azure/vault.ts';
import { utf8 } from '../../runtime/crypto/bytes.ts';
import { thumbprint } from '../../runtime/crypto/jwk.ts';
import type { BlobStore } from '../../runtime/data/blob-store.ts';
import { keysInUse, removeSlots, stillInUse, takeInventory } from '../../runtime/data/key-inventory.ts';
import type { OnDataProgress } from '../../runtime/data/progress.ts';
import { type RotatedDataset, rotateDataset } from '../../runtime/data/rotate-dataset.ts';
import type { SealingKey } from '../../runtime/data/seal-dataset.ts';
import { KEYS_FILE, MANIFEST_FILE } from '../../runtime/data/sealed-folder.ts';
import { checkSealingKey } from '../../runtime/data/sealing-key.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { type EscrowKey, escrowSlot } from '../../runtime/keys/escrow.ts';
import { parseKeyId, parseKeySlots, vaultKeyId } from '../../runtime/keys/slots.ts';
import { readBlob } from '../../runtime/queue.ts';
import { checkShape, members, oneOf, parseJson, text } from '../../runtime/shape.ts';
import { serialiseEnvelope } from '../../runtime/statements/dsse.ts';
import { signRotation } from '../../runtime/statements/rotation-record.ts';
import type { Context } from '../context.ts';
import type { LocalKeys } from '../local-keys.ts';
import { agreedDataset, knownAgreements, type RenewedAgreement, renewAgreements } from './renew-agreements.ts';

export interface RotateKeysOptions {
  /** @default - every dataset of this owner in the store */
  readonly dataset?: string;
  /** The key whose next version is made, or with `existing` the key that is used as it is. */
  readonly keyName: string;
  /** Rotate to the newest version there is instead of making one. */
  readonly existing: boolean;
  /** Open the owner's slots, the first of these that an object has one of. */
  readonly escrowKeys: readonly EscrowKey[];
  /** Agreements to prepare again that no run in the store shows: files. */
  readonly agreementFiles: readonly string[];
  /** Where proposals go. */
  readonly proposals: string;
  readonly now: Date;
  readonly onProgress?: OnDataProgress;
  readonly log: (line: string) => void;
}

export interface RotatedKeys {
  readonly to: string;
  readonly datasets: readonly RotatedDataset[];
  /** Agreements that name an older key, which work until it is retired and not after, and what was prepared in their place. */
  readonly agreements: readonly RenewedAgreement[];
}

/** Which key an unfinished rotation of this owner goes to: so that a rerun, or a second one beside it, makes no other. */
interface Journal {
  readonly version: 1;
  readonly to: string;
  readonly startedAt: string;
}

const journalShape = members<Journal>({
  version: oneOf(1),
  to: text(/^[\x21-\x7e]{1,512}$/, 'a key id'),
  startedAt: text(/^\d{4}-[0-9T:.-]+Z$/, 'a time'),
});

/**
 * Rotates an owner's datasets to a new key: made and checked first, then every dataset wrapped to it, each with a signed
 * record. Run again after a kill it goes on with the same key.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when the key may not be relied on, or nothing is there to rotate
 */
export async function rotateKeys(context: Context, keys: LocalKeys, options: RotateKeysOptions): Promise<RotatedKeys> {
  const { deployment, network, credential } = context;
  const store = blobStore(network, credential, deployment.storage.blobEndpoint, 'datasets');
  const vault = vaultClient(network, credential, deployment.owner.vaultHost);
  const prefixes = await datasetPrefixes(store, keys.ownerId, options.dataset);
  if (prefixes.length === 0) {
    const what = options.dataset === undefined ? 'no dataset' : `no dataset ${options.dataset}`;
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `${what} of ${keys.name} (${keys.ownerId.slice(0, 12)}) is in the store`,
    );
  }
  if (!options.existing) for (const prefix of prefixes) await requireEscrowSlots(store, prefix, options.escrowKeys);
  const { key: first, journal } = await targetKey(store, vault, keys, options);
  const rotated = new Map<string, RotatedDataset>();
  let key = first;
  for (;;) {
    const to = { keyId: key.kid, jwk: key.jwk };
    for (const prefix of prefixes) rotated.set(prefix, await rotateOne(store, prefix, keys, to, options));
    // A rotation beside this one may have made a version of its own: both end at the newest, which is what others seal to.
    const newest = await safeKey(vault, options.keyName);
    if (newest.kid === key.kid) break;
    options.log(`a newer version was made meanwhile: ${newest.kid}`);
    key = newest;
  }
  const datasets = [...rotated.values()];
  const agreements = await renewAgreements(await knownAgreements(context, keys, options.agreementFiles), keys, {
    to: key,
    vaultHost: deployment.owner.vaultHost,
    moved: datasets.map(({ manifest, manifestDigest }) => {
      const now = agreedDataset(manifest, manifestDigest);
      return { prefix: now.prefix, now };
    }),
    folder: options.proposals,
    now: options.now,
  });
  // Last: until then a rerun makes no other key.
  if (journal !== undefined) await store.delete(journal);
  return { to: key.kid, datasets, agreements };
}

/**
 * Disables one version of a key, once nothing refers to it any more. Expiry would not do: a vault goes on releasing an
 * expired key. Disabling can be undone.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` listing everything that still needs the key
 */
export async function retireKey(context: Context, keys: LocalKeys, keyId: string): Promise<{ readonly slots: number }> {
  const { deployment, network, credential } = context;
  const parsed = parseKeyId(keyId);
  if (!('vaultHost' in parsed) || parsed.vaultHost !== deployment.owner.vaultHost) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `--retire: found ${keyId}, wanted a version of a key in ${deployment.owner.vaultHost}`,
    );
  }
  const store = blobStore(network, credential, deployment.storage.blobEndpoint, 'datasets');
  const prefix = `${keys.ownerId}/`;
  const running = (await knownAgreements(context, keys)).filter(
    ({ agreement, open }) =>
      open > 0 && agreement.owners.some((own) => own.ownerId === keys.ownerId && vaultKeyId(own) === keyId),
  );
  const inventory = await takeInventory(store, prefix);
  refuseInUse(keyId, [
    ...running.map(({ agreement, open }) => `${open} runs of agreement ${agreement.name} are still to be done with it`),
    ...stillInUse(inventory, keyId, 'slots do not count'),
  ]);
  const slots = await removeSlots(store, prefix, keyId, keysInUse(inventory));
  // A second look: what was sealed or rotated meanwhile counts as well.
  refuseInUse(keyId, stillInUse(await takeInventory(store, prefix), keyId));
  await vaultClient(network, credential, parsed.vaultHost).disableKey(parsed.keyName, parsed.keyVersion);
  return { slots };
}

function refuseInUse(keyId: string, failures: readonly string[]): void {
  if (failures.length === 0) return;
  throw new SecureTrainingError('CONFIG_INVALID', `${keyId} is still needed: ${failures.join('; ')}`, { failures });
}

async function rotateOne(
  store: BlobStore,
  prefix: string,
  keys: LocalKeys,
  to: SealingKey,
  { escrowKeys, onProgress, now }: RotateKeysOptions,
): Promise<RotatedDataset> {
  const rotated = await rotateDataset({
    store,
    prefix,
    ownerKey: keys.signingJwk,
    escrowKeys,
    to,
    ...(onProgress === undefined ? {} : { onProgress }),
  });
  await writeRecord(store, prefix, keys, rotated, now);
  return rotated;
}

/** Before a key is made for it: a rotation that cannot be carried out would be gone on with by every later one. */
async function requireEscrowSlots(store: BlobStore, prefix: string, escrowKeys: readonly EscrowKey[]): Promise<void> {
  const name = `${prefix}/${KEYS_FILE}`;
  const { objects } = parseKeySlots(await readBlob(store, name), name);
  for (const [object, slots] of Object.entries(objects)) escrowSlot(object, slots, escrowKeys);
}

/** Folders of every signed version of this owner's datasets. */
export async function datasetPrefixes(
  store: BlobStore,
  ownerId: string,
  dataset: string | undefined,
): Promise<string[]> {
  const prefixes: string[] = [];
  for await (const { name } of store.list(dataset === undefined ? `${ownerId}/` : `${ownerId}/${dataset}/`)) {
    const [, found, version, file, ...rest] = name.split('/');
    if (file === MANIFEST_FILE && rest.length === 0) prefixes.push(`${ownerId}/${found}/${version}`);
  }
  return prefixes;
}

/** The key to wrap to, checked and locked; with the name of the journal that says so, if a new one was made. */
async function targetKey(
  store: BlobStore,
  vault: VaultClient,
  keys: LocalKeys,
  { keyName, existing, now, log }: RotateKeysOptions,
): Promise<{ key: VaultKey; journal?: string }> {
  if (existing) return { key: await safeKey(vault, keyName) };
  const journal = `${keys.ownerId}/rotation.json`;
  const unfinished = await readJournal(store, journal);
  if (unfinished !== undefined) {
    log(`going on with the rotation that began ${unfinished.startedAt}`);
    return { key: await keyOf(vault, unfinished), journal };
  }
  const current = await safeKey(vault, keyName);
  const policy = current.releasePolicy?.data ?? new Uint8Array();
  const made = await vault.createReleaseKey(keyName, policy);
  checkSealingKey(keyName, made);
  const entry: Journal = { version: 1, to: made.kid, startedAt: now.toISOString() };
  if ((await store.put(journal, utf8(JSON.stringify(entry)), { ifNoneMatch: '*' })) !== undefined) {
    return { key: made, journal };
  }
  // A second rotation was quicker: its key is the one, and the key just made is nobody's.
  const winner = await readJournal(store, journal);
  if (winner === undefined) throw new SecureTrainingError('UNAVAILABLE', 'another rotation has just ended: try again');
  return { key: await keyOf(vault, winner), journal };
}

async function readJournal(store: BlobStore, name: string): Promise<Journal | undefined> {
  const found = await store.get(name);
  return found === undefined ? undefined : checkShape(journalShape, parseJson(found.bytes, name), name);
}

/** The key that a journal names: read from the vault again and checked, since the journal lies in the store, unsigned. */
async function keyOf(vault: VaultClient, { to }: Journal): Promise<VaultKey> {
  const parsed = parseKeyId(to);
  if (!('keyName' in parsed)) throw new SecureTrainingError('CONFIG_INVALID', `rotation.json: ${to} is no vault key`);
  const key = await safeKey(vault, parsed.keyName, parsed.keyVersion);
  if (key.kid === to) return key;
  throw new SecureTrainingError('CONFIG_INVALID', `rotation.json names ${to}, which is not in this vault`);
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` when there is no such key, or it may not be relied on */
export async function safeKey(vault: VaultClient, name: string, version?: string): Promise<VaultKey> {
  const key = await vault.getKey(name, version);
  if (key === undefined) throw new SecureTrainingError('CONFIG_INVALID', `the vault has no key ${name}`);
  checkSealingKey(name, key);
  return key;
}

/** Beside the manifest, one for each key rotated to; an unchanged dataset keeps the record it has. */
async function writeRecord(
  store: BlobStore,
  prefix: string,
  keys: LocalKeys,
  { manifest, manifestDigest, to, from, rewrapped, slotsSha256 }: RotatedDataset,
  now: Date,
): Promise<void> {
  const name = `${prefix}/rotations/${to.keyId.slice(to.keyId.lastIndexOf('/') + 1)}.dsse.json`;
  if (rewrapped === 0 && (await store.properties(name)) !== undefined) return;
  const { dataset, version, objects } = manifest;
  const record = {
    dataset,
    version,
    manifestDigest,
    objects: objects.length,
    from,
    to: to.keyId,
    toThumbprint: thumbprint(to.jwk),
    slotsSha256,
    rotatedAt: now.toISOString(),
  };
  await store.put(name, serialiseEnvelope(signRotation(record, keys.signing)));
}
