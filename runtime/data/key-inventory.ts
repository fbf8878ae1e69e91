import { ENCRYPTION_DATA, parseEncryptionData } from '../crypto/encryption-data.ts';
import { SecureTrainingError } from '../errors.ts';
import { type KeySlots, parseKeySlots, serialiseKeySlots } from '../keys/slots.ts';
import type { BlobCopy, BlobStore } from './blob-store.ts';
import { KEYS_FILE, REENCRYPTION_FOLDER } from './sealed-folder.ts';

/** Where a key's id was found. Zero everywhere: nothing below the prefix refers to it. */
interface KeyUses {
  /** Copies whose metadata names the key, by kind of copy. */
  readonly metadata: Readonly<Record<BlobCopy['kind'], number>>;
  /** Objects with a slot of the key in a `keys.json` of today. */
  readonly slots: number;
}

export interface KeyInventory {
  /** Copies of all kinds that were looked at. */
  readonly copies: number;
  /** By key id. */
  readonly keys: Readonly<Record<string, KeyUses>>;
  /** Older, snapshot or deleted `keys.json`, and records of a re-encryption, which nobody reads here: any may hold slots of any key. */
  readonly oldSlotFiles: number;
}

/**
 * Everything below `prefix` that refers to a key: live blobs, older versions, snapshots and deleted ones that can come back.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` for metadata or slots that cannot be read: then nothing is proved
 */
export async function takeInventory(store: BlobStore, prefix: string): Promise<KeyInventory> {
  const keys = new Map<string, { metadata: Record<BlobCopy['kind'], number>; slots: number }>();
  const usesOf = (keyId: string) => {
    const uses = keys.get(keyId) ?? { metadata: { live: 0, version: 0, snapshot: 0, deleted: 0 }, slots: 0 };
    keys.set(keyId, uses);
    return uses;
  };
  let copies = 0;
  let oldSlotFiles = 0;
  for await (const { name, kind, metadata } of store.copies(prefix)) {
    copies++;
    const json = metadata[ENCRYPTION_DATA];
    if (json !== undefined) usesOf(parseEncryptionData(json, `${ENCRYPTION_DATA} of ${name}`).keyId).metadata[kind]++;
    const isRecord = name.includes(`/${REENCRYPTION_FOLDER}/`);
    if (!isSlotFile(name) && !isRecord) continue;
    if (kind !== 'live' || isRecord) {
      oldSlotFiles++;
      continue;
    }
    const { slots } = await readSlotFile(store, name);
    for (const own of Object.values(slots.objects)) for (const { keyId } of own) usesOf(keyId).slots++;
  }
  return { copies, keys: Object.fromEntries([...keys].sort(([a], [b]) => (a < b ? -1 : 1))), oldSlotFiles };
}

/** Keys that live objects are sealed to. */
export function keysInUse({ keys }: KeyInventory): ReadonlySet<string> {
  return new Set(Object.keys(keys).filter((keyId) => (keys[keyId]?.metadata.live ?? 0) > 0));
}

/**
 * What stands in the way of retiring a key, one line each; empty: nothing refers to it.
 * @param slots whether slots count, which {@link removeSlots} can take away
 */
export function stillInUse(
  inventory: KeyInventory,
  keyId: string,
  slots: 'slots count' | 'slots do not count' = 'slots count',
): readonly string[] {
  const uses = inventory.keys[keyId];
  const { live = 0, version = 0, snapshot = 0, deleted = 0 } = uses?.metadata ?? {};
  return [
    live === 0 ? undefined : `${live} objects are still sealed to it: rotate them first`,
    slots === 'slots do not count' || (uses?.slots ?? 0) === 0
      ? undefined
      : `${uses?.slots} objects still have a key slot of it`,
    version === 0 ? undefined : `${version} older versions name it, until their retention ends`,
    snapshot === 0 ? undefined : `${snapshot} snapshots name it`,
    deleted === 0 ? undefined : `${deleted} deleted blobs name it, until their retention ends`,
    inventory.oldSlotFiles === 0
      ? undefined
      : `${inventory.oldSlotFiles} older copies of ${KEYS_FILE} or records of a re-encryption may have slots of it`,
  ].filter((line) => line !== undefined);
}

/**
 * Takes a key's slots out of every `keys.json` below `prefix`. An object that no other key is left for keeps them.
 * @param inUse keys that live objects are sealed to, by {@link takeInventory}: an escrow key in a vault is none of them
 * @returns objects that lost a slot
 * @throws {@link SecureTrainingError} `UNAVAILABLE` when somebody else wrote in between
 */
export async function removeSlots(
  store: BlobStore,
  prefix: string,
  keyId: string,
  inUse: ReadonlySet<string>,
): Promise<number> {
  let removed = 0;
  for await (const { name } of store.list(prefix)) {
    if (!isSlotFile(name)) continue;
    const { slots, etag } = await readSlotFile(store, name);
    const objects = Object.entries(slots.objects).map(([object, own]) => {
      const left = own.filter((slot) => slot.keyId !== keyId);
      const isNeeded = !left.some((slot) => inUse.has(slot.keyId));
      if (left.length === own.length || isNeeded) return [object, own] as const;
      removed++;
      return [object, left] as const;
    });
    const next: KeySlots = { version: 1, objects: Object.fromEntries(objects) };
    if (objects.every(([object, own]) => own === slots.objects[object])) continue;
    if ((await store.put(name, serialiseKeySlots(next), { ifMatch: etag })) === undefined) {
      throw new SecureTrainingError('UNAVAILABLE', `${name} was changed meanwhile: is a rotation running? try again`);
    }
  }
  return removed;
}

async function readSlotFile(store: BlobStore, name: string): Promise<{ slots: KeySlots; etag: string }> {
  const found = await store.get(name);
  if (found === undefined) throw new SecureTrainingError('UNAVAILABLE', `${name} was removed meanwhile: try again`);
  return { slots: parseKeySlots(found.bytes, name), etag: found.etag };
}

function isSlotFile(name: string): boolean {
  return name.endsWith(`/${KEYS_FILE}`);
}
