import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { vaultClient } from '../../runtime/azure/vault.ts';
import { parseKeyId } from '../../runtime/keys/slots.ts';
import { agreementStatement } from '../../runtime/statements/agreement.ts';
import { serialiseEnvelope, signStatement } from '../../runtime/statements/dsse.ts';
import { verifyRotation } from '../../runtime/statements/rotation-record.ts';
import { parseTrainingConfig } from '../../runtime/training-config.ts';
import { approveAgreement } from '../../scripts/run/approve.ts';
import { proposeAgreement } from '../../scripts/run/propose.ts';
import { submitRun, watchRun } from '../../scripts/run/submit.ts';
import { type Ended, run, start } from './cli-process.ts';
import { off, opened, type Place, startPlace, train } from './place.ts';

let place: Place;
let keyFile: string;
/** The key that everything was sealed to at first, and still in the agreement. */
let first: string;
let second: string;
/** Requests that a rotation makes: instants are counted in them, so that they hit on a machine of any speed. */
let requestsOfOne: number;

beforeAll(async () => {
  // 30 objects or so.
  place = await startPlace({ rows: 300_000, training: { epochs: 2, batch_size: 512, checkpoint_steps: 500 } });
  keyFile = join(place.dir, 'ctrain-key.json');
  const { signing, decryption, name } = place.keys;
  const keys = [
    { ...signing.export({ format: 'jwk' }), use: 'sig' },
    { ...decryption.export({ format: 'jwk' }), use: 'enc' },
  ];
  await writeFile(keyFile, JSON.stringify({ version: 1, name, keys }));
  first = await keyInUse();
  const before = place.emulator.requests.length;
  expect(await rotate()).toMatchObject({ code: 0 });
  requestsOfOne = place.emulator.requests.length - before;
  second = await keyInUse();
});
afterAll(() => place?.stop());

const command = (...more: readonly string[]) => [
  ...['rotate-keys', '--owner-key', keyFile, '--deployment', place.emulator.deploymentFile, '--json'],
  ...more,
];
const rotate = (...more: readonly string[]): Promise<Ended> => run(place.dir, ...command(...more));

async function keyOf(name: string): Promise<string> {
  const blob = await place.datasets.properties(`${place.prefix}/${name}`);
  const data = JSON.parse(blob?.metadata.encryptiondata ?? '{}') as { WrappedContentKey?: { KeyId: string } };
  return data.WrappedContentKey?.KeyId ?? '';
}

const keyInUse = () => keyOf(place.manifest.objects[0]?.name ?? '');

/** The one key that every object is under. */
async function everyKey(): Promise<string[]> {
  return [...new Set(await Promise.all(place.manifest.objects.map(({ name }) => keyOf(name))))];
}

/** An agreement about the same dataset that names the newest version of the key. */
async function agreeAgain(): Promise<Uint8Array> {
  const { agreement } = await proposeAgreement(place.context, place.keys, {
    name: 'again',
    prefixes: [place.prefix],
    keyName: place.emulator.deployment.owner.keyNames.at(-1) ?? '',
    configuration: () =>
      parseTrainingConfig({ training: { input_size: 8, hidden_size: 16, output_size: 3, epochs: 1 } }),
    maxRuns: 10,
    notAfter: new Date(Date.now() + 86_400_000),
  });
  const proposed = serialiseEnvelope(signStatement(agreementStatement(agreement), []));
  return serialiseEnvelope(await approveAgreement(place.context, place.keys, proposed));
}

test('a rotation leaves every object under the new key, and a record that the owner signed', async () => {
  expect(second).not.toBe(first);
  expect(await everyKey()).toEqual([second]);
  const record = await place.datasets.get(`${place.prefix}/rotations/${second.slice(-32)}.dsse.json`);
  expect(verifyRotation(record?.bytes ?? new Uint8Array(), place.keys.signingJwk)).toMatchObject({
    from: [first],
    to: second,
    objects: place.manifest.objects.length,
  });
});

test('the agreement about the old key still runs, beside a rotation', async () => {
  const { runId } = await submitRun(place.context, place.agreement, new Date());
  const watched = watchRun(place.context, runId, () => undefined);
  const opening = () => place.serial.some((line) => line.includes('step=training'));
  while (!opening()) await delay(5);
  const beside = await rotate('--existing');
  expect(beside).toMatchObject({ code: 0 });
  expect(await rotate()).toMatchObject({ code: 0 });
  await watched;
  await off(place);
  expect((await opened(place, runId)).metrics).toHaveProperty('test_accuracy');
});

test.each([0.2, 0.35, 0.5, 0.65, 0.8])('kill -9 at %f of a rotation: the same command finishes it', async (part) => {
  const before = place.emulator.requests.length;
  const killed = start(place.dir, ...command());
  let isOver = false;
  void killed.ended.then(() => {
    isOver = true;
  });
  while (place.emulator.requests.length - before < part * requestsOfOne && !isOver) await delay(1);
  killed.kill('SIGKILL');
  await killed.ended;
  const versions = new Set(await everyKey());
  const finished = await rotate();
  expect(finished).toMatchObject({ code: 0 });
  const { to } = JSON.parse(finished.out) as { to: string };
  expect(await everyKey()).toEqual([to]);
  expect(versions.size).toBeLessThanOrEqual(2);
});

test('two at once go to one key', async () => {
  const [one, other] = await Promise.all([rotate(), rotate()]);
  expect([one, other].map(({ code, out }) => (code === 0 ? '' : out))).toEqual(['', '']);
  expect(await everyKey()).toHaveLength(1);
});

test('what is rotated trains under a new agreement', async () => {
  expect((await opened(place, await train(place, await agreeAgain()))).metrics).toHaveProperty('test_accuracy');
});

test('a key that objects are under cannot be retired, an old one can, and then its agreement is dead', async () => {
  const current = await keyInUse();
  expect(await rotate('--retire', current)).toMatchObject({
    code: 2,
    out: expect.stringContaining(`${place.manifest.objects.length} objects are still sealed to it: rotate them first`),
  });
  expect(await rotate('--retire', first)).toMatchObject({ code: 0 });
  const parsed = parseKeyId(first);
  const { network, credential, deployment } = place.context;
  const key = await vaultClient(network, credential, deployment.owner.vaultHost).getKey(
    'keyName' in parsed ? parsed.keyName : '',
    first.slice(-32),
  );
  expect(key?.enabled).toBe(false);
  await expect(train(place)).rejects.toThrow(expect.objectContaining({ code: 'RELEASE_DENIED' }));
});

test.each([
  ['another dataset', ['--dataset', 'absent'], 'no dataset absent of owner'],
  [
    'a key of another vault',
    ['--retire', `https://kv-other.vault.azure.net/keys/a/${'0'.repeat(32)}`],
    '--retire: found',
  ],
  ['two things at once', ['--retire', 'x', '--existing'], '--retire rotates nothing'],
])('refuses %s', async (_, more, message) => {
  expect(await rotate(...more)).toMatchObject({ code: 2, out: expect.stringContaining(message) });
});
