import { blobStore } from '../../runtime/azure/blob-store.ts';
import { type VaultClient, type VaultKey, vaultClient } from '../../runtime/azure/vault.ts';
import type { BlobCopy, BlobStore } from '../../runtime/data/blob-store.ts';
import type { OnDataProgress } from '../../runtime/data/progress.ts';
import { type ReencryptedDataset, reencryptDataset } from '../../runtime/data/reencrypt-dataset.ts';
import { KEYS_FILE, MANIFEST_FILE } from '../../runtime/data/sealed-folder.ts';
import { checkSealingKey } from '../../runtime/data/sealing-key.ts';
import { nextFreeVersion } from '../../runtime/data/upload-dataset.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { type EscrowKey, escrowSlot } from '../../runtime/keys/escrow.ts';
import { parseKeyId, parseKeySlots } from '../../runtime/keys/slots.ts';
import { readBlob } from '../../runtime/queue.ts';
import { serialiseEnvelope } from '../../runtime/statements/dsse.ts';
import { verifyManifest } from '../../runtime/statements/manifest.ts';
import {
  type PlannedDataset,
  type ReencryptionPlan,
  signPlan,
  verifyPlan,
} from '../../runtime/statements/reencryption.ts';
import type { Context } from '../context.ts';
import type { LocalKeys } from '../local-keys.ts';
import type { EscrowPair } from './escrow-key.ts';
import { agreedDataset, knownAgreements, type RenewedAgreement, renewAgreements } from './renew-agreements.ts';
import { datasetPrefixes, type RotateKeysOptions, safeKey } from './rotate-keys.ts';

export interface ReencryptKeysOptions extends RotateKeysOptions {
  /** What the new objects get the owner's slot of. */
  readonly escrow: EscrowPair;
}

/** What still holds rows under content keys that somebody may have. */
export interface OldCopies {
  /** Folder of an older version of a dataset. */
  readonly prefix: string;
  readonly copies: Readonly<Record<BlobCopy['kind'], number>>;
}

export interface ReencryptedKeys {
  readonly to: string;
  readonly datasets: readonly (ReencryptedDataset & { readonly from: number })[];
  readonly agreements: readonly RenewedAgreement[];
  readonly old: readonly OldCopies[];
}

/**
 * Seals the newest version of this owner's datasets anew, for content keys that somebody may have seen. What is to be done
 * is signed and stored first, so that a rerun after a kill, or a second one beside it, does the same and no more.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when the key may not be relied on, or nothing is there
 */
export async function reencryptKeys(
  context: Context,
  keys: LocalKeys,
  options: ReencryptKeysOptions,
): Promise<ReencryptedKeys> {
  const { deployment, network, credential } = context;
  const store = blobStore(network, credential, deployment.storage.blobEndpoint, 'datasets');
  const vault = vaultClient(network, credential, deployment.owner.vaultHost);
  const { plan, key } = await readOrMakePlan(store, vault, keys, options);
  const datasets: (ReencryptedDataset & { from: number })[] = [];
  for (const planned of plan.datasets) {
    const done = await reencryptDataset({
      store,
      plan: planned,
      ownerKey: keys.signing,
      escrowKeys: options.escrowKeys,
      to: { keyId: key.kid, jwk: key.jwk },
      escrow: options.escrow.sealTo,
      ...progressOf(options.onProgress),
    });
    datasets.push({ ...done, from: planned.from });
  }
  const moved = datasets.map(({ manifest, manifestDigest, from }) => ({
    prefix: `${keys.ownerId}/${manifest.dataset}/${from}`,
    now: agreedDataset(manifest, manifestDigest),
  }));
  const agreements = await renewAgreements(await knownAgreements(context, keys, options.agreementFiles), keys, {
    to: key,
    vaultHost: deployment.owner.vaultHost,
    moved,
    folder: options.proposals,
    now: options.now,
  });
  const old = await oldCopies(store, keys, datasets);
  // Last: until then a rerun makes nothing new.
  await store.delete(planName(keys));
  return { to: key.kid, datasets, agreements, old };
}

/**
 * Deletes an older version of a dataset, once nothing refers to it any more. What the store keeps of deleted blobs stays
 * until its retention ends.
 * @param confirm shows what is about to be deleted, and throws where it is not agreed to
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` listing everything that still needs it
 */
export async function retireVersion(
  context: Context,
  keys: LocalKeys,
  prefix: string,
  confirm: (blobs: number) => Promise<void>,
): Promise<OldCopies & { readonly deleted: number }> {
  const { deployment, network, credential } = context;
  const store = blobStore(network, credential, deployment.storage.blobEndpoint, 'datasets');
  const [ownerId, dataset = '', version = ''] = prefix.split('/');
  if (ownerId !== keys.ownerId || !/^[1-9]\d{0,8}$/.test(version) || prefix.split('/').length !== 3) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `--retire: found ${prefix}, wanted the id of a vault key's version, or ${keys.ownerId}/DATASET/VERSION`,
    );
  }
  const copies = await copiesOf(store, prefix);
  const newest = await newestVersion(store, keys, dataset);
  const unfinished = await readPlan(store, keys);
  const running = (await knownAgreements(context, keys)).filter(
    ({ agreement, open }) =>
      open > 0 && agreement.owners.some(({ datasets }) => datasets.some((agreed) => agreed.prefix === prefix)),
  );
  const failures = [
    Object.values(copies).every((count) => count === 0) ? 'there is nothing' : undefined,
    newest === undefined || newest.version <= Number(version) ? 'no newer version of it is signed' : undefined,
    unfinished?.datasets.some((planned) => planned.dataset === dataset && planned.from === Number(version)) === true
      ? "it is being sealed anew: run 'ctrain rotate-keys --reencrypt' again first"
      : undefined,
    ...running.map(({ agreement, open }) => `${open} runs of agreement ${agreement.name} are still to be done with it`),
    copies.snapshot === 0 ? undefined : `${copies.snapshot} snapshots hold it: delete them first`,
  ].filter((failure) => failure !== undefined);
  if (failures.length > 0) {
    throw new SecureTrainingError('CONFIG_INVALID', `${prefix} cannot be retired: ${failures.join('; ')}`, {
      failures,
    });
  }
  await confirm(copies.live);
  // The manifest first: nobody finds half a dataset.
  const names = [`${prefix}/${MANIFEST_FILE}`];
  for await (const { name } of store.list(`${prefix}/`)) if (!names.includes(name)) names.push(name);
  let deleted = 0;
  for (const name of names) if (await store.delete(name)) deleted++;
  return { prefix, deleted, copies: await copiesOf(store, prefix) };
}

async function readOrMakePlan(
  store: BlobStore,
  vault: VaultClient,
  keys: LocalKeys,
  { dataset, keyName, existing, escrowKeys, now, log }: ReencryptKeysOptions,
): Promise<{ readonly plan: ReencryptionPlan; readonly key: VaultKey }> {
  const goOn = async (plan: ReencryptionPlan) => {
    log(`going on with the re-encryption that began ${plan.startedAt}`);
    return { plan, key: await keyOf(vault, plan) };
  };
  const unfinished = await readPlan(store, keys);
  if (unfinished !== undefined) return goOn(unfinished);
  const datasets = await planDatasets(store, keys, dataset, escrowKeys);
  let key = await safeKey(vault, keyName);
  if (!existing) {
    key = await vault.createReleaseKey(keyName, key.releasePolicy?.data ?? new Uint8Array());
    checkSealingKey(keyName, key);
  }
  const plan = { to: key.kid, startedAt: now.toISOString(), datasets };
  const bytes = serialiseEnvelope(signPlan(plan, keys.signing));
  if ((await store.put(planName(keys), bytes, { ifNoneMatch: '*' })) !== undefined) return { plan, key };
  const winner = await readPlan(store, keys);
  if (winner === undefined)
    throw new SecureTrainingError('UNAVAILABLE', 'another re-encryption has just ended: try again');
  return goOn(winner);
}

/** A plan that cannot be carried out would be gone on with for ever: so there is none of objects that nothing here opens. */
async function planDatasets(
  store: BlobStore,
  keys: LocalKeys,
  wanted: string | undefined,
  escrowKeys: readonly EscrowKey[],
): Promise<PlannedDataset[]> {
  const prefixes = await datasetPrefixes(store, keys.ownerId, wanted);
  const names = [...new Set(prefixes.map((prefix) => prefix.split('/')[1] ?? ''))];
  const planned: PlannedDataset[] = [];
  for (const dataset of names) {
    const newest = await newestVersion(store, keys, dataset);
    if (newest === undefined) continue;
    const name = `${keys.ownerId}/${dataset}/${newest.version}/${KEYS_FILE}`;
    const slots = parseKeySlots(await readBlob(store, name), name);
    for (const object of newest.objects) escrowSlot(object, slots.objects[object], escrowKeys);
    const version = await nextFreeVersion(store, keys.ownerId, dataset);
    planned.push({ dataset, from: newest.version, manifestDigest: newest.digest, version });
  }
  if (planned.length > 0) return planned;
  const what = wanted === undefined ? 'no dataset' : `no dataset ${wanted}`;
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    `${what} of ${keys.name} (${keys.ownerId.slice(0, 12)}) is in the store`,
  );
}

async function newestVersion(
  store: BlobStore,
  keys: LocalKeys,
  dataset: string,
): Promise<{ readonly version: number; readonly digest: string; readonly objects: readonly string[] } | undefined> {
  const versions = (await datasetPrefixes(store, keys.ownerId, dataset))
    .map((prefix) => Number(prefix.split('/')[2]))
    .filter((version) => Number.isSafeInteger(version));
  if (versions.length === 0) return undefined;
  const version = Math.max(...versions);
  const name = `${keys.ownerId}/${dataset}/${version}/${MANIFEST_FILE}`;
  const { manifest, digest } = verifyManifest(await readBlob(store, name), keys.signingJwk, name);
  if (manifest.dataset === dataset && manifest.version === version)
    return { version, digest, objects: manifest.objects.map((object) => object.name) };
  throw new SecureTrainingError(
    'CIPHERTEXT_REJECTED',
    `${name}: found ${manifest.dataset} version ${manifest.version}, wanted ${dataset} version ${version}`,
  );
}

async function readPlan(store: BlobStore, keys: LocalKeys): Promise<ReencryptionPlan | undefined> {
  const found = await store.get(planName(keys));
  return found === undefined ? undefined : verifyPlan(found.bytes, keys.signingJwk, planName(keys));
}

function planName({ ownerId }: LocalKeys): string {
  return `${ownerId}/reencryption.dsse.json`;
}

/** As it is now, whatever it was when the plan was signed. */
async function keyOf(vault: VaultClient, { to }: ReencryptionPlan): Promise<VaultKey> {
  const parsed = parseKeyId(to);
  const key = 'keyName' in parsed ? await safeKey(vault, parsed.keyName, parsed.keyVersion) : undefined;
  if (key?.kid === to) return key;
  throw new SecureTrainingError('CONFIG_INVALID', `the re-encryption goes to ${to}, which is not in this vault`);
}

/** Older versions of what was sealed anew, and what the store keeps of each. */
async function oldCopies(
  store: BlobStore,
  { ownerId }: LocalKeys,
  datasets: readonly ReencryptedDataset[],
): Promise<OldCopies[]> {
  const old: OldCopies[] = [];
  for (const { manifest } of datasets) {
    const versions = new Map<string, Record<BlobCopy['kind'], number>>();
    for await (const { name, kind } of store.copies(`${ownerId}/${manifest.dataset}/`)) {
      const version = name.split('/')[2] ?? '';
      if (!(Number(version) < manifest.version)) continue;
      const copies = versions.get(version) ?? { live: 0, version: 0, snapshot: 0, deleted: 0 };
      copies[kind]++;
      versions.set(version, copies);
    }
    for (const [version, copies] of versions) old.push({ prefix: `${ownerId}/${manifest.dataset}/${version}`, copies });
  }
  return old;
}

async function copiesOf(store: BlobStore, prefix: string): Promise<OldCopies['copies']> {
  const copies = { live: 0, version: 0, snapshot: 0, deleted: 0 };
  for await (const { kind } of store.copies(`${prefix}/`)) copies[kind]++;
  return copies;
}

function progressOf(onProgress: OnDataProgress | undefined): { readonly onProgress?: OnDataProgress } {
  return onProgress === undefined ? {} : { onProgress };
}
