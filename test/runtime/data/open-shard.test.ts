import { randomBytes } from 'node:crypto';
import { beforeEach, expect, test } from 'vitest';
import { sha256, toHex } from '../../../runtime/crypto/bytes.ts';
import { generateCek, sealBytes } from '../../../runtime/crypto/sealed-object.ts';
import type { BlobContent } from '../../../runtime/data/blob-store.ts';
import { openShard } from '../../../runtime/data/open-shard.ts';
import { bindObject, type ManifestObject } from '../../../runtime/statements/manifest.ts';
import { describeSealed } from '../../../runtime/statements/sealed-description.ts';
import { type MemoryStore, memoryStore } from './memory-store.ts';

const OWNER = 'qS3uJAeWTmvC3OVxeS9EhDV8XxSh_0aAIsGZVGsW9Zg';
const BLOB = 'p/train.enc';
const plaintext = randomBytes(1000);
const cek = generateCek();
let store: MemoryStore;
let object: ManifestObject;

beforeEach(async () => {
  const sealed = await sealBytes(plaintext, cek, 256);
  const description = describeSealed('train.enc', sealed);
  object = { ...description, split: 'train', rows: 10, keyBinding: bindObject(cek, OWNER, description) };
  store = memoryStore();
  await store.put(BLOB, sealed.sealed);
  await store.put(`${BLOB}.leaves`, sealed.leaves);
});

const rejected = (message: string) => expect.objectContaining({ code: 'CIPHERTEXT_REJECTED', message });

function replace(name: string, change: (bytes: Uint8Array) => Uint8Array): Promise<unknown> {
  return store.put(name, change(store.blobs.get(name)?.bytes.slice() ?? new Uint8Array()));
}

test('opens what was sealed, in ranges of one version', async () => {
  expect(toHex(sha256(await openShard(store, 'p', object, cek)))).toBe(toHex(sha256(plaintext)));
  expect(store.calls.filter((call) => call.startsWith('getRange'))).toHaveLength(4);
});

test.each([
  [
    'a flipped byte of ciphertext',
    () => replace(BLOB, flip(600)),
    'train.enc: region 2 is altered, or sealed under another key',
  ],
  [
    'a flipped byte of a nonce',
    () => replace(BLOB, flip(0)),
    'train.enc: region 0 is altered, or sealed under another key',
  ],
  [
    'a region cut off',
    () => replace(BLOB, (bytes) => bytes.slice(0, 852)),
    'train.enc: found 852 sealed bytes, wanted 1112',
  ],
  ['an empty body', () => replace(BLOB, () => new Uint8Array()), 'train.enc: found 0 sealed bytes, wanted 1112'],
  [
    'a byte too many',
    () => replace(BLOB, (bytes) => Uint8Array.of(...bytes, 0)),
    'train.enc: found 1113 sealed bytes, wanted 1112',
  ],
  ['two regions swapped', () => replace(BLOB, swap), 'train.enc: region 0 is altered, or sealed under another key'],
  [
    'altered leaves',
    () => replace(`${BLOB}.leaves`, flip(5)),
    'train.enc: its leaf hashes do not add up to the signed root',
  ],
  [
    'leaves cut off',
    () => replace(`${BLOB}.leaves`, (bytes) => bytes.slice(32)),
    'train.enc: its leaf hashes do not add up to the signed root',
  ],
  ['no leaves', () => store.delete(`${BLOB}.leaves`), 'train.enc: its leaf hashes are not in the store'],
  ['no object', () => store.delete(BLOB), 'train.enc: it is not in the store'],
])('refuses %s', async (_, change, message) => {
  await change();
  await expect(openShard(store, 'p', object, cek)).rejects.toThrow(rejected(message));
});

test('refuses another key', async () => {
  await expect(openShard(store, 'p', object, generateCek())).rejects.toThrow(
    rejected('train.enc: region 0 is altered, or sealed under another key'),
  );
});

/** Gives the blob a new version just before each of the first `times` ranges that are read. */
function rewriteMetadata(times: number, change: (blob: BlobContent) => BlobContent = (blob) => blob): void {
  let left = times;
  store.fail = (call) => {
    const there = store.blobs.get(BLOB);
    if (call === `getRange ${BLOB}` && there !== undefined && left-- > 0)
      store.blobs.set(BLOB, { ...change(there), etag: `"new ${left}"` });
    return undefined;
  };
}

test('reads on when the metadata is rewritten meanwhile', async () => {
  rewriteMetadata(1);
  const looked: string[] = [];
  const opened = await openShard(store, 'p', object, cek, {
    checkProperties: ({ etag }) => {
      looked.push(etag);
    },
  });
  expect(toHex(sha256(opened))).toBe(toHex(sha256(plaintext)));
  expect(looked.at(-1)).toBe('"new 0"');
});

test('refuses what the new version has beside it', async () => {
  rewriteMetadata(1);
  const checkProperties = ({ etag }: { etag: string }) => {
    if (etag.startsWith('"new')) throw new Error('not these metadata');
  };
  await expect(openShard(store, 'p', object, cek, { checkProperties })).rejects.toThrow('not these metadata');
});

test('refuses other bytes under a new version', async () => {
  rewriteMetadata(1, (blob) => ({ ...blob, bytes: flip(600)(blob.bytes) }));
  await expect(openShard(store, 'p', object, cek)).rejects.toThrow(
    rejected('train.enc: region 2 is altered, or sealed under another key'),
  );
});

test('refuses an object that changes all the time', async () => {
  rewriteMetadata(1000);
  await expect(openShard(store, 'p', object, cek)).rejects.toThrow(
    rejected('train.enc: it was changed or removed while it was read'),
  );
});

test('passes on what the store says when it is down', async () => {
  const down = new Error('down');
  store.fail = (call) => (call === `getRange ${BLOB}` ? down : undefined);
  await expect(openShard(store, 'p', object, cek)).rejects.toBe(down);
});

function flip(offset: number): (bytes: Uint8Array) => Uint8Array {
  return (bytes) => bytes.map((byte, i) => (i === offset ? byte ^ 1 : byte));
}

function swap(bytes: Uint8Array): Uint8Array {
  return Uint8Array.of(...bytes.slice(284, 568), ...bytes.slice(0, 284), ...bytes.slice(568));
}
