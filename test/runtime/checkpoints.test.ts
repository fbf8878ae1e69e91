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

function chain(runId = 'run-1', key = chainKey, kept?: number): CheckpointChain {
  return new CheckpointChain({
    runs,
    runId,
    chainKey: key,
    recipients: [{ keyId, key: rsaPublicJwk(pair.publicKey) }],
    opener: { keyId, key: pair.privateKey },
    kept,
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

test('as many stay as are asked for', async () => {
  const writing = chain('run-1', chainKey, 1);
  for (const step of [10, 20, 30]) await writing.save({ step, bytes: utf8(`state ${step}`) });
  expect([...runs.blobs.keys()].map((name) => name.slice(18, 26))).toEqual(['00000030', '00000030']);
});

const OBJECT = /00000040-.*\.sealed$/;
const RECORD = /00000040\.json$/;

/** What is there of one blob of step 40 after a put that was interrupted. */
function tear(pattern: RegExp, bytes: (whole: Uint8Array) => Uint8Array | undefined): void {
  const name = [...runs.blobs.keys()].find((each) => pattern.test(each)) ?? '';
  const blob = runs.blobs.get(name);
  if (blob === undefined) throw new Error(`no ${pattern}`);
  const left = bytes(blob.bytes);
  if (left === undefined) runs.blobs.delete(name);
  else runs.blobs.set(name, { ...blob, bytes: left, size: left.length });
}

test.each([
  ['object-missing', OBJECT, () => undefined],
  ['object-truncated', OBJECT, (whole: Uint8Array) => whole.subarray(0, -1)],
  ['object-truncated', OBJECT, () => new Uint8Array()],
  ['record-truncated', RECORD, (whole: Uint8Array) => whole.subarray(0, -3)],
  ['record-truncated', RECORD, (whole: Uint8Array) => whole.subarray(0, 10)],
  ['record-truncated', RECORD, () => new Uint8Array()],
] as const)('%s: the one before is taken, which is said, and what is left is removed (%s)', async (why, blob, left) => {
  await save([20, 40]);
  tear(blob, left);
  const going = chain('run-1', chainKey, 1);
  const skipped: unknown[] = [];
  expect((await going.newest((...each) => skipped.push(each)))?.step).toBe(20);
  expect(skipped).toEqual([[40, why]]);
  // An earlier step than the torn one's, and the only one to stay.
  await going.save({ step: 30, bytes: utf8('state 30') });
  expect([...runs.blobs.keys()].map((name) => name.slice(18, 26))).toEqual(['00000030', '00000030']);
  expect((await chain().newest(() => expect.fail('nothing is torn')))?.step).toBe(30);
});

test.each([
  ['a longer object', OBJECT, (whole: Uint8Array) => Uint8Array.of(...whole, 0), 'CIPHERTEXT_REJECTED'],
  ['a wrong tag', RECORD, (whole: Uint8Array) => edited(whole, /("resumeTag": ")./, '$1x'), 'EVIDENCE_MALFORMED'],
  [
    'another tag',
    RECORD,
    (whole: Uint8Array) => edited(whole, /("resumeTag": ").{8}/, '$100000000'),
    'CIPHERTEXT_REJECTED',
  ],
  ['a record that is whole and no JSON', RECORD, (whole: Uint8Array) => edited(whole, /":/, '"'), 'EVIDENCE_MALFORMED'],
  ['another record', RECORD, () => utf8('{}'), 'EVIDENCE_MALFORMED'],
] as const)('%s is refused, whatever lies before it', async (_, blob, change, code) => {
  await save([20, 40]);
  tear(blob, change);
  const skipped = () => expect.fail('it was skipped');
  await expect(chain().newest(skipped)).rejects.toMatchObject({ code });
});

function edited(bytes: Uint8Array, pattern: RegExp, by: string): Uint8Array {
  return utf8(new TextDecoder().decode(bytes).replace(pattern, by));
}

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
