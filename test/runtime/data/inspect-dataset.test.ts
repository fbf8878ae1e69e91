import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { thumbprint } from '../../../runtime/crypto/jwk.ts';
import { folderSource, storeSource } from '../../../runtime/data/dataset-source.ts';
import { downloadDataset } from '../../../runtime/data/download-dataset.ts';
import { inspectDataset } from '../../../runtime/data/inspect-dataset.ts';
import { type SealResult, sealDataset } from '../../../runtime/data/seal-dataset.ts';
import { uploadDataset } from '../../../runtime/data/upload-dataset.ts';
import { thumbprintKeyId } from '../../../runtime/keys/slots.ts';
import { serialiseEnvelope } from '../../../runtime/statements/dsse.ts';
import { signRotation } from '../../../runtime/statements/rotation-record.ts';
import { rejection } from '../rejection.ts';
import { KEY_ID, makeKeys, preparedFolder, sealOptions } from './dataset.ts';
import { memoryStore } from './memory-store.ts';

const keys = makeKeys();
const stranger = makeKeys();
const store = memoryStore();
let sealed: SealResult;
let prefix: string;

beforeAll(async () => {
  sealed = await sealDataset(sealOptions(await preparedFolder(), keys));
  prefix = (await uploadDataset({ folder: sealed.folder, store, ownerKey: keys.ownerJwk })).prefix;
  const record = {
    dataset: sealed.manifest.dataset,
    version: 1,
    manifestDigest: sealed.digest,
    objects: sealed.manifest.objects.length,
    from: [],
    to: KEY_ID,
    toThumbprint: thumbprint(keys.kekJwk),
    slotsSha256: '0'.repeat(64),
    rotatedAt: '2026-01-31T00:00:00Z',
  };
  await store.put(`${prefix}/rotations/one.dsse.json`, serialiseEnvelope(signRotation(record, keys.owner)));
});

const copy = async (): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'ctrain-inspect-'));
  await cp(sealed.folder, folder, { recursive: true });
  return folder;
};

test.each([
  ['nobody', {}, 'not checked against anybody'],
  ['the owner', { ownerKey: keys.ownerJwk }, 'verified'],
] as const)('the store, checked against %s', async (_, options, signature) => {
  const report = await inspectDataset(storeSource(store, prefix), { ...options, deep: true });
  const objects = sealed.manifest.objects.length;
  expect(report).toMatchObject({
    dataset: 'data',
    version: 1,
    manifestDigest: sealed.digest,
    signedBy: [keys.ownerId],
    signature,
    keys: [
      { keyId: KEY_ID, objects },
      { keyId: thumbprintKeyId(thumbprint(keys.escrowJwk)), objects },
    ],
    rotations: [{ to: KEY_ID }],
    checked: 'every region',
    problems: [],
  });
  expect(report.splits.map(({ split }) => split)).toEqual(['train', 'validation', 'test']);
  expect(report.splits.reduce((sum, { rows }) => sum + rows, 0)).toBe(300);
});

test('a folder is looked at without reading an object, unless asked to', async () => {
  const folder = await copy();
  const name = sealed.manifest.objects[0]?.name ?? '';
  const bytes = await readFile(join(folder, name));
  bytes[100] = (bytes[100] ?? 0) ^ 1;
  await writeFile(join(folder, name), bytes);
  expect(await inspectDataset(folderSource(folder))).toMatchObject({ checked: 'sizes', problems: [] });
  const deep = await inspectDataset(folderSource(folder), { deep: true });
  expect(deep.problems).toEqual([`${name}: region 0 is altered, or sealed under another key`]);
});

test.each<[string, (folder: string, name: string) => Promise<void>, (name: string) => readonly string[]]>([
  ['an object', (folder, name) => rm(join(folder, name)), (name) => [`${name}: it is missing`]],
  [
    'a part of one',
    async (folder, name) => writeFile(join(folder, name), (await readFile(join(folder, name))).subarray(1)),
    (name) => [expect.stringMatching(`^${name}: found \\d+ bytes, wanted \\d+$`)],
  ],
  ['leaf hashes', (folder, name) => rm(join(folder, `${name}.leaves`)), (name) => [`${name}.leaves: it is missing`]],
  ['keys', (folder) => rm(join(folder, 'keys.json')), () => ['keys.json: it is missing']],
  [
    'a key',
    (folder) => writeFile(join(folder, 'keys.json'), '{"version":1,"objects":{}}'),
    (name) => expect.arrayContaining([`${name}: no key slot in keys.json`]),
  ],
  [
    'the sense of the keys',
    (folder) => writeFile(join(folder, 'keys.json'), '{}'),
    () => [expect.stringContaining('keys.json:')],
  ],
])('finds that %s is missing', async (_, change, problems) => {
  const folder = await copy();
  const name = sealed.manifest.objects[0]?.name ?? '';
  await change(folder, name);
  expect((await inspectDataset(folderSource(folder))).problems).toEqual(problems(name));
});

test('encryptiondata of another key is found by a deep look', async () => {
  const folder = await copy();
  const name = sealed.manifest.objects[0]?.name ?? '';
  const path = join(folder, `${name}.encryptiondata.json`);
  await writeFile(path, (await readFile(path, 'utf8')).replace('0123456789abcdef', 'fedcba9876543210'));
  const { problems } = await inspectDataset(folderSource(folder), { deep: true });
  expect(problems).toEqual([`${name}: its encryptiondata is not what keys.json says`]);
});

test('refuses what somebody else signed, and a folder without a manifest', async () => {
  const source = storeSource(store, prefix);
  await expect(inspectDataset(source, { ownerKey: stranger.ownerJwk })).rejects.toThrow(
    rejection('CONSENT_MISSING', stranger.ownerId),
  );
  await expect(inspectDataset(storeSource(store, 'nothing'))).rejects.toThrow(
    rejection('CONFIG_INVALID', 'there is no manifest.dsse.json'),
  );
});

test('a rotation record of somebody else is a problem', async () => {
  const folder = await copy();
  await mkdir(join(folder, 'rotations'));
  const bytes = (await store.get(`${prefix}/rotations/one.dsse.json`))?.bytes ?? new Uint8Array();
  const { signatures: _, ...unsigned } = JSON.parse(new TextDecoder().decode(bytes));
  await writeFile(join(folder, 'rotations', 'one.dsse.json'), JSON.stringify({ ...unsigned, signatures: [] }));
  const { problems, rotations } = await inspectDataset(folderSource(folder), { ownerKey: keys.ownerJwk });
  expect(rotations).toEqual([]);
  expect(problems).toEqual([expect.stringContaining('rotations/one.dsse.json: no valid signature')]);
});

test('a download leaves what sealing left, and goes on where it was interrupted', async () => {
  const folder = join(await mkdtemp(join(tmpdir(), 'ctrain-download-')), 'data');
  const options = { source: storeSource(store, prefix), folder, ownerKey: keys.ownerJwk };
  const names = sealed.manifest.objects.map(({ name }) => name);
  const last = names.at(-1) ?? '';
  store.fail = (call) => (call === `getRange ${prefix}/${last}` ? new Error('away') : undefined);
  await expect(downloadDataset(options)).rejects.toThrow('away');
  store.fail = () => undefined;
  const left = await readdir(folder);
  expect(left).not.toContain(last);
  expect(left).not.toContain('manifest.dsse.json');
  expect(left.filter((name) => name.endsWith('.partial'))).toEqual([]);
  expect((await downloadDataset(options)).fetched).toEqual([last]);
  const inspected = await inspectDataset(folderSource(folder), { ownerKey: keys.ownerJwk, deep: true });
  expect(inspected.problems).toEqual([]);
  for (const name of await readdir(sealed.folder)) {
    if (name !== 'ctrain-state.json')
      expect(await readFile(join(folder, name))).toEqual(await readFile(join(sealed.folder, name)));
  }
  expect((await downloadDataset(options)).fetched).toEqual([]);
});

test('a download of altered bytes leaves no file under their name', async () => {
  const folder = join(await mkdtemp(join(tmpdir(), 'ctrain-download-')), 'data');
  const name = `${prefix}/${sealed.manifest.objects[0]?.name}`;
  const good = store.blobs.get(name);
  if (good === undefined) throw new Error('nothing was uploaded');
  const bytes = good.bytes.slice();
  bytes[50] = (bytes[50] ?? 0) ^ 1;
  store.blobs.set(name, { ...good, bytes });
  const download = downloadDataset({ source: storeSource(store, prefix), folder, ownerKey: keys.ownerJwk });
  await expect(download).rejects.toThrow(rejection('CIPHERTEXT_REJECTED', 'region 0'));
  store.blobs.set(name, good);
  expect(await readdir(folder)).toEqual([]);
});
