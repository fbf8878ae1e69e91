import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type BlobServer, startBlobServer } from '../../../emulator/blobs.ts';
import { provisionContainers } from '../../../emulator/provision.ts';
import { storageService } from '../../../emulator/storage-service.ts';
import { blobStore } from '../../../runtime/azure/blob-store.ts';
import { managedIdentity } from '../../../runtime/azure/identity.ts';
import { sha256, utf8 } from '../../../runtime/crypto/bytes.ts';
import type { BlobStore } from '../../../runtime/data/blob-store.ts';
import { OPERATOR, SmallAzure, STRANGER } from '../../emulator/small-azure.ts';

const HOST = 'sttest.blob.core.windows.net';
const ENDPOINT = `https://${HOST}`;
const azure = new SmallAzure([HOST]);
let directory: string;
let server: BlobServer;
let store: BlobStore;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ctrain-blob-test-'));
  const account = { account: 'sttest', accountKey: randomBytes(64).toString('base64') };
  server = await startBlobServer({ directory: join(directory, 'blobs'), ...account, tls: azure.tls });
  const { issuer, roles } = azure;
  const handler = storageService({
    issuer,
    roles,
    host: HOST,
    accountId: '/subscriptions/s/a',
    backendPort: server.port,
    ca: azure.tls.ca,
  });
  await azure.add({ service: 'storage', hosts: [HOST], handler });
  await azure.addMetadata();
  const credential = managedIdentity(azure.network, OPERATOR.clientId);
  await provisionContainers(azure.network, credential, ENDPOINT);
  store = blobStore(azure.network, credential, ENDPOINT, 'runs');
});
afterEach(() => azure.faults.clear('storage'));
afterAll(async () => {
  await azure.stop();
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});

test('what was put comes back, with its metadata in lower case', async () => {
  const etag = await store.put('folder/a.json', utf8('text'), { metadata: { EncryptionData: 'x' } });
  expect(await store.get('folder/a.json')).toEqual({
    bytes: utf8('text'),
    size: 4,
    etag,
    metadata: { encryptiondata: 'x' },
  });
  expect(await store.properties('folder/a.json')).toEqual({ size: 4, etag, metadata: { encryptiondata: 'x' } });
});

test('what is not there is undefined, and deleting it is false', async () => {
  expect(await store.get('absent')).toBeUndefined();
  expect(await store.properties('absent')).toBeUndefined();
  expect(await store.getRange('absent', 0, 1)).toBeUndefined();
  await store.put('short-lived', utf8('x'));
  expect([await store.delete('short-lived'), await store.delete('short-lived')]).toEqual([true, false]);
});

test('a condition that does not hold writes nothing', async () => {
  const first = await store.put('conditional', utf8('first'), { ifNoneMatch: '*' });
  expect(await store.put('conditional', utf8('second'), { ifNoneMatch: '*' })).toBeUndefined();
  expect(await store.put('conditional', utf8('second'), { ifMatch: '"0x0"' })).toBeUndefined();
  expect((await store.get('conditional'))?.bytes).toEqual(utf8('first'));
  expect(await store.put('conditional', utf8('second'), { ifMatch: first ?? '' })).toMatch(/^"/);
});

test('a range is exact or undefined', async () => {
  const etag = await store.put('ranged', Uint8Array.of(1, 2, 3, 4));
  expect(await store.getRange('ranged', 1, 2, etag)).toEqual(Uint8Array.of(2, 3));
  expect(await store.getRange('ranged', 2, 3)).toBeUndefined();
  expect(await store.getRange('ranged', 9, 1)).toBeUndefined();
  expect(await store.getRange('ranged', 0, 1, '"0x0"')).toBeUndefined();
  await expect(store.getRange('ranged', 0, 0)).rejects.toThrow(RangeError);
});

test('a stream of any chunks is staged in blocks and committed once', async () => {
  const bytes = Uint8Array.from(randomBytes(17 * 2 ** 20));
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for (let offset = 0; offset < bytes.length; offset += 999_983) yield bytes.subarray(offset, offset + 999_983);
  }
  const sent: number[] = [];
  const before = azure.requests.length;
  await store.putStream('streamed', chunks(), { onProgress: (count) => sent.push(count) });
  const puts = azure.requests.slice(before).map(({ path }) => /comp=(\w+)/.exec(path)?.[1]);
  expect(puts).toEqual(['block', 'block', 'block', 'blocklist']);
  expect(sent).toEqual([...sent].sort((a, b) => a - b));
  expect(sent.at(-1)).toBe(bytes.length);
  const found = await store.get('streamed');
  expect(sha256(found?.bytes ?? new Uint8Array(0))).toEqual(sha256(bytes));
});

test('an empty file is an empty blob', async () => {
  const path = join(directory, 'empty');
  await writeFile(path, '');
  await store.putFile('empty', path);
  expect((await store.get('empty'))?.bytes).toEqual(new Uint8Array(0));
});

test('a stream that fails leaves the blob as it was', async () => {
  await store.put('kept', utf8('old'));
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield new Uint8Array(9 * 2 ** 20);
    throw new Error('disk gone');
  }
  await expect(store.putStream('kept', failing())).rejects.toThrow('disk gone');
  expect((await store.get('kept'))?.bytes).toEqual(utf8('old'));
});

test('a list is in the order of names, below its prefix', async () => {
  for (const name of ['list/b', 'list/a', 'other']) await store.put(name, utf8(name));
  const found = [];
  for await (const entry of store.list('list/')) found.push(entry);
  expect(found).toEqual(['list/a', 'list/b'].map((name) => ({ name, size: 6, lastModified: expect.any(Date) })));
});

test('a lease keeps others out, and its holder gets it again', async () => {
  const [ours, theirs] = [randomUUID(), randomUUID()];
  await store.put('leased', utf8('x'));
  expect(await store.acquireLease('leased', ours, 60)).toBe(true);
  expect(await store.acquireLease('leased', ours, 60)).toBe(true);
  expect(await store.acquireLease('leased', theirs, 60)).toBe(false);
  expect([await store.renewLease('leased', ours), await store.renewLease('leased', theirs)]).toEqual([true, false]);
  await expect(store.put('leased', utf8('y'))).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    message: 'write runs/leased: somebody else holds its lease',
  });
  expect(await store.put('leased', utf8('y'), { leaseId: ours })).toMatch(/^"/);
  await store.releaseLease('leased', ours);
  await store.releaseLease('leased', ours);
  expect(await store.acquireLease('leased', theirs, 15)).toBe(true);
  expect(await store.acquireLease('absent', ours, 15)).toBe(false);
});

test('a write whose answer was lost is known for our own', async () => {
  await azure.faults.set('storage', { kind: 'lose-reply', count: 1 });
  expect(await store.put('answer-lost', utf8('mine'), { ifNoneMatch: '*' })).toMatch(/^"/);
  await azure.faults.set('storage', { kind: 'reset', count: 1 });
  expect(await store.put('answer-lost', utf8('other'), { ifNoneMatch: '*' })).toBeUndefined();
});

test.each([
  ['reset', { kind: 'reset', count: 2 }],
  ['500', { kind: 'status', status: 500, count: 2 }],
  ['429', { kind: 'status', status: 429, retryAfterSeconds: 0, count: 2 }],
  ['a lost reply', { kind: 'lose-reply', count: 2 }],
] as const)('%s twice: read, write and list go on', async (_name, fault) => {
  const again = async <T>(work: () => Promise<T>): Promise<T> => {
    await azure.faults.set('storage', fault);
    return work();
  };
  expect(await again(() => store.put('faulty', utf8('x')))).toMatch(/^"/);
  expect((await again(() => store.get('faulty')))?.bytes).toEqual(utf8('x'));
  expect(await again(() => store.list('faulty')[Symbol.asyncIterator]().next())).toMatchObject({
    value: { name: 'faulty' },
  });
});

test('storage that stays away is UNAVAILABLE; a lost right is told at once', async () => {
  await azure.faults.set('storage', { kind: 'status', status: 503 });
  await expect(store.get('x')).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    message: expect.stringMatching(/^read runs\/x: gave up after 3 attempts: status 503/),
  });
  await azure.faults.clear('storage');
  const before = azure.requests.length;
  const stranger = blobStore(azure.network, managedIdentity(azure.network, STRANGER.clientId), ENDPOINT, 'runs');
  await expect(stranger.get('x')).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringMatching(/^read runs\/x: status 403, AuthorizationPermissionMismatch/),
  });
  expect(azure.requests.slice(before).map(({ service }) => service)).toEqual(['metadata', 'storage']);
});

test('metadata is replaced whole, the bytes stay, and another version refuses it', async () => {
  const first = await store.put('m.bin', utf8('bytes'), { metadata: { a: '1', b: '2' } });
  const second = await store.setMetadata('m.bin', { a: '3' }, first ?? '');
  expect(second).not.toBe(first);
  expect(await store.get('m.bin')).toMatchObject({ bytes: utf8('bytes'), metadata: { a: '3' }, etag: second });
  expect(await store.setMetadata('m.bin', { a: '4' }, first ?? '')).toBeUndefined();
  expect(await store.setMetadata('absent', { a: '4' }, first ?? '')).toBeUndefined();
});

test('metadata that was written though the answer was lost counts as written', async () => {
  const etag = await store.put('lost.bin', utf8('bytes'));
  await azure.faults.set('storage', { kind: 'lose-reply', count: 1 });
  expect(await store.setMetadata('lost.bin', { a: '1' }, etag ?? '')).toBe((await store.properties('lost.bin'))?.etag);
});

test('every copy of a blob is found with its metadata', async () => {
  await store.put('copies/a', utf8('1'), { metadata: { KeyId: 'old' } });
  const found = [];
  for await (const copy of store.copies('copies/')) found.push(copy);
  expect(found).toEqual([{ name: 'copies/a', kind: 'live', metadata: { keyid: 'old' } }]);
});
