import { beforeEach, expect, test } from 'vitest';
import { utf8 } from '../../../runtime/crypto/bytes.ts';
import { ENCRYPTION_DATA, encryptionDataJson } from '../../../runtime/crypto/encryption-data.ts';
import type { BlobCopy } from '../../../runtime/data/blob-store.ts';
import { keysInUse, removeSlots, stillInUse, takeInventory } from '../../../runtime/data/key-inventory.ts';
import { parseKeySlots, serialiseKeySlots, slotOf, thumbprintKeyId } from '../../../runtime/keys/slots.ts';
import { type MemoryStore, memoryStore } from './memory-store.ts';

const OLD = `https://kv-owner.vault.azure.net/keys/training-key/${'a'.repeat(32)}`;
const NEW = `https://kv-owner.vault.azure.net/keys/training-key/${'b'.repeat(32)}`;
const ESCROW = thumbprintKeyId('A'.repeat(43));
const VAULT_ESCROW = `https://kv-owner.vault.azure.net/keys/escrow/${'c'.repeat(32)}`;
const wrapped = new Uint8Array(256).fill(7);
const metadata = (keyId: string) => ({
  [ENCRYPTION_DATA]: encryptionDataJson({ keyId, encryptedKey: wrapped, protocol: '2.0', regionLength: 4_194_304 }),
});
const IN_USE = new Set([NEW]);
let store: MemoryStore;
let others: BlobCopy[];

beforeEach(async () => {
  others = [];
  const memory = memoryStore();
  store = {
    ...memory,
    // What a versioned store shows besides the live blobs.
    async *copies(prefix) {
      yield* memory.copies(prefix);
      yield* others;
    },
  };
  await store.put('o/d/1/a.enc', utf8('a'), { metadata: metadata(NEW) });
  await store.put('o/d/1/b.enc', utf8('b'), { metadata: metadata(NEW) });
  await store.put('o/d/1/a.enc.leaves', utf8('l'));
  await putSlots({ 'a.enc': [OLD, NEW, ESCROW], 'b.enc': [NEW, ESCROW] });
});

async function putSlots(objects: Readonly<Record<string, readonly string[]>>): Promise<void> {
  const slots = Object.entries(objects).map(([name, ids]) => [name, ids.map((id) => slotOf(id, wrapped))] as const);
  await store.put('o/d/1/keys.json', serialiseKeySlots({ version: 1, objects: Object.fromEntries(slots) }));
}

test('counts copies by kind and live slots', async () => {
  others = [{ name: 'o/d/1/a.enc', kind: 'version', metadata: metadata(OLD) }];
  const none = { live: 0, version: 0, snapshot: 0, deleted: 0 };
  expect(await takeInventory(store, 'o/')).toEqual({
    copies: 5,
    oldSlotFiles: 0,
    keys: {
      [OLD]: { metadata: { ...none, version: 1 }, slots: 1 },
      [NEW]: { metadata: { ...none, live: 2 }, slots: 2 },
      [ESCROW]: { metadata: none, slots: 2 },
    },
  });
});

test.each([
  [
    'a live object',
    () => store.put('o/d/1/b.enc', utf8('b'), { metadata: metadata(OLD) }),
    '1 objects are still sealed',
  ],
  ['a slot', async () => undefined, '1 objects still have a key slot'],
  [
    'an older version',
    async () => others.push({ name: 'o/x', kind: 'version', metadata: metadata(OLD) }),
    '1 older versions',
  ],
  ['a snapshot', async () => others.push({ name: 'o/x', kind: 'snapshot', metadata: metadata(OLD) }), '1 snapshots'],
  [
    'a deleted blob',
    async () => others.push({ name: 'o/x', kind: 'deleted', metadata: metadata(OLD) }),
    '1 deleted blobs',
  ],
  [
    'an older keys.json',
    async () => others.push({ name: 'o/d/1/keys.json', kind: 'version', metadata: {} }),
    '1 older copies of keys.json',
  ],
  [
    'a re-encryption that has not ended',
    () => store.put('o/d/2/reencrypt/a.enc.dsse.json', utf8('{}')),
    '1 older copies of keys.json or records of a re-encryption',
  ],
])('%s stands in the way of retiring a key', async (_, change, reason) => {
  await change();
  expect(stillInUse(await takeInventory(store, 'o/'), OLD).join('; ')).toContain(reason);
});

test('slots of a key are taken out where another vault key is left, and then nothing refers to it', async () => {
  expect(await removeSlots(store, 'o/', OLD, IN_USE)).toBe(1);
  expect(stillInUse(await takeInventory(store, 'o/'), OLD)).toEqual([]);
  expect(await removeSlots(store, 'o/', OLD, IN_USE)).toBe(0);
});

test('an object keeps the only key that machines get, whatever escrow keys it has', async () => {
  await putSlots({ 'a.enc': [OLD, ESCROW, VAULT_ESCROW], 'b.enc': [NEW, OLD] });
  expect(keysInUse(await takeInventory(store, 'o/'))).toEqual(IN_USE);
  expect(await removeSlots(store, 'o/', OLD, IN_USE)).toBe(1);
  const slots = parseKeySlots(store.blobs.get('o/d/1/keys.json')?.bytes ?? new Uint8Array());
  expect(slots.objects['a.enc']?.map(({ keyId }) => keyId)).toEqual([OLD, ESCROW, VAULT_ESCROW]);
});

test('slots that another writer changed meanwhile are not written over', async () => {
  const racing = { ...store, put: async () => undefined };
  await expect(removeSlots(racing, 'o/', OLD, IN_USE)).rejects.toThrow(
    expect.objectContaining({ code: 'UNAVAILABLE' }),
  );
});

test('metadata that cannot be read prove nothing', async () => {
  await store.put('o/d/1/c.enc', utf8('c'), { metadata: { [ENCRYPTION_DATA]: '{' } });
  await expect(takeInventory(store, 'o/')).rejects.toThrow(
    expect.objectContaining({ code: 'EVIDENCE_MALFORMED', message: expect.stringContaining('o/d/1/c.enc') }),
  );
});
