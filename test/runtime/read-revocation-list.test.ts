import { expect, test } from 'vitest';
import { revocationListBlob } from '../../runtime/catalogue.ts';
import { readRevocationList } from '../../runtime/read-revocation-list.ts';
import { memoryStore } from './data/memory-store.ts';

const NAME = revocationListBlob('Genoa');

test('reads the one of the generation, and no other', async () => {
  const store = memoryStore();
  await store.put(NAME, Uint8Array.of(1, 2, 3));
  expect(NAME).toBe('revocation/Genoa.crl');
  expect(await readRevocationList(store, 'Genoa')).toEqual(Uint8Array.of(1, 2, 3));
  expect(await readRevocationList(store, 'Milan')).toBeUndefined();
});

test.each([0, 65_537])('%i bytes are refused before they are read', async (size) => {
  const store = memoryStore();
  await store.put(NAME, new Uint8Array(size));
  store.calls.length = 0;
  await expect(readRevocationList(store, 'Genoa')).rejects.toMatchObject({
    code: 'EVIDENCE_MALFORMED',
    message: `revocation/Genoa.crl has ${size} bytes, wanted 1 to 65536`,
  });
  expect(store.calls.filter((call) => !call.startsWith('properties'))).toEqual([]);
});

test('one that is replaced meanwhile may be read another time', async () => {
  const store = memoryStore();
  await store.put(NAME, Uint8Array.of(1));
  const properties = store.properties;
  store.properties = async (name) => {
    const seen = await properties(name);
    await store.put(name, Uint8Array.of(2));
    return seen;
  };
  await expect(readRevocationList(store, 'Genoa')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
});
