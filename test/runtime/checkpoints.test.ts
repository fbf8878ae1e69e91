import { createSecretKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { beforeEach, expect, test } from 'vitest';
import { CheckpointChain } from '../../runtime/checkpoints.ts';
import { utf8 } from '../../runtime/crypto/bytes.ts';
import { rsaPublicJwk } from '../../runtime/crypto/jwk.ts';
import { type MemoryStore, memoryStore } from './data/memory-store.ts';

const pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
const keyId = 'https://kv-owner.vault.azure.net/keys/training-key-1a2b3c4d/0123456789abcdef0123456789abcdef';
const chainKey = createSecretKey(randomBytes(32));

let runs: MemoryStore;
beforeEach(() => {
  runs = memoryStore();
});

function chain(runId = 'run-1', key = chainKey): CheckpointChain {
  return new CheckpointChain({
    runs,
    runId,
    chainKey: key,
    recipients: [{ keyId, key: rsaPublicJwk(pair.publicKey) }],
    opener: { keyId, key: pair.privateKey },
  });
}

const save = async (steps: readonly number[]) => {
  const writing = chain();
  for (const step of steps) await writing.save({ step, bytes: utf8(`state ${step}`) });
  return writing;
};
const refused = (text: string) =>
  expect.objectContaining({ code: 'CIPHERTEXT_REJECTED', message: expect.stringContaining(text) });

test('the newest checkpoint is found by a reader that knows only the keys, and the chain goes on from it', async () => {
  const writing = await save([20, 40]);
  const reading = chain();
  expect(await reading.newest()).toEqual({ step: 40, bytes: utf8('state 40') });
  expect(reading.head).toBe(writing.head);
});

test('there is none before the first one', async () => {
  expect(await chain().newest()).toBeUndefined();
});

test('three stay, older ones go', async () => {
  await save([10, 20, 30, 40, 50]);
  const names = [...runs.blobs.keys()].map((name) =>
    name.slice('run-1/checkpoints/'.length, 'run-1/checkpoints/'.length + 8),
  );
  expect([...new Set(names)].sort()).toEqual(['00000030', '00000040', '00000050']);
  expect(runs.blobs.size).toBe(6);
});

test('killed between object and record, the one before counts', async () => {
  await save([20]);
  runs.fail = (call) => (/^put .*00000040\.json$/.test(call) ? new Error('killed') : undefined);
  await expect(save([40])).rejects.toThrow('killed');
  runs.fail = () => undefined;
  expect((await chain().newest())?.step).toBe(20);
});

test('a record without its object is passed over', async () => {
  await save([20, 40]);
  const object = [...runs.blobs.keys()].find((name) => /00000040-.*\.sealed$/.test(name)) ?? '';
  runs.blobs.delete(object);
  expect((await chain().newest())?.step).toBe(20);
});

test.each([
  ['another run', () => chain('run-2')],
  ['other dataset keys', () => chain('run-1', createSecretKey(randomBytes(32)))],
])('a checkpoint of %s is refused', async (_, reader) => {
  await save([20]);
  for (const [name, blob] of [...runs.blobs]) runs.blobs.set(name.replace('run-1/', 'run-2/'), blob);
  await expect(reader().newest()).rejects.toThrow(refused('checkpoints'));
});

test('an altered object is refused by name', async () => {
  await save([20]);
  const name = [...runs.blobs.keys()].find((each) => each.endsWith('.sealed')) ?? '';
  const blob = runs.blobs.get(name);
  if (blob === undefined) throw new Error('no object');
  runs.blobs.set(name, { ...blob, bytes: blob.bytes.map((byte, i) => (i === 20 ? byte ^ 1 : byte)) });
  await expect(chain().newest()).rejects.toThrow(refused(name));
});

test('a record under the number of another step is refused', async () => {
  await save([20]);
  const record = runs.blobs.get('run-1/checkpoints/00000020.json');
  if (record === undefined) throw new Error('no record');
  runs.blobs.set('run-1/checkpoints/00000099.json', record);
  await expect(chain().newest()).rejects.toThrow(refused('00000099.json'));
});
