import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { vaultClient } from '../../runtime/azure/vault.ts';
import { readStatus } from '../../runtime/queue.ts';
import { diagnose } from '../../scripts/diagnose/diagnose.ts';
import { gatherFacts } from '../../scripts/diagnose/gather.ts';
import { submitRun } from '../../scripts/run/submit.ts';
import { newFolder, run } from './cli-process.ts';
import { off, opened, type Place, startPlace, train } from './place.ts';

let place: Place;

beforeAll(async () => {
  place = await startPlace({ rows: 20_000, training: { epochs: 2, checkpoint_steps: 50 } });
});
afterAll(() => place?.stop());
afterEach(async () => {
  place.emulator.firmware.change({});
  for (const service of ['vault', 'attestation', 'storage'] as const) await place.emulator.faults.clear(service);
  await off(place);
});

/** What is found of the newest run. */
async function findings(runId?: string) {
  const models = join(place.dir, 'models');
  return diagnose(await gatherFacts(place.context, runId, {}, models, new Date()));
}

const command = async (...more: readonly string[]) =>
  run(await newFolder(), 'diagnose', '--deployment', place.emulator.deploymentFile, ...more);

test('no run, no such run, and no such file', async () => {
  expect(await command()).toMatchObject({ code: 2, err: expect.stringContaining('there is no run yet') });
  expect(await command('--run', 'run-none')).toMatchObject({
    code: 2,
    err: expect.stringContaining('there is no run run-none'),
  });
});

const ENDS: readonly [string, string, () => Promise<unknown>, readonly string[]][] = [
  [
    'debug',
    'ATTESTATION_REJECTED',
    async () => place.emulator.firmware.change({ hardware: { debug: true, vmpl: 1 } }),
    ['status', 'trainer'],
  ],
  [
    'secure-boot',
    'ATTESTATION_REJECTED',
    async () => place.emulator.firmware.change({ hardware: { secureBoot: false } }),
    ['status', 'trainer'],
  ],
  [
    'token-rejected',
    'ATTESTATION_REJECTED',
    async () => place.emulator.firmware.change({ claims: (claims) => ({ ...claims, 'x-ms-runtime': { keys: [] } }) }),
    ['status', 'trainer'],
  ],
  [
    'release-refused',
    'RELEASE_DENIED',
    () => place.emulator.faults.set('vault', { kind: 'status', status: 403, match: /\/release/ }),
    ['status', 'trainer'],
  ],
  [
    'shard-refused',
    'CIPHERTEXT_REJECTED',
    async () => {
      const name = `${place.prefix}/${place.manifest.objects[0]?.name}`;
      const blob = await place.datasets.get(name);
      if (blob === undefined) throw new Error(`no blob ${name}`);
      restore = async () => {
        await place.datasets.put(name, blob.bytes, { metadata: blob.metadata });
      };
      const altered = blob.bytes.slice();
      altered[5000] = (altered[5000] ?? 0) ^ 1;
      await place.datasets.put(name, altered, { metadata: blob.metadata });
    },
    ['status', 'trainer'],
  ],
];
let restore = async () => {};
afterEach(async () => {
  await restore();
  restore = async () => {};
});

test.each(ENDS)('%s, as a real run ends', async (wanted, code, provoke, sources) => {
  await provoke();
  await expect(train(place)).rejects.toMatchObject({ code });
  const [finding] = await findings();
  expect(finding).toMatchObject({ cause: wanted, code });
  expect([...new Set(finding?.evidence.map(({ source }) => source))]).toEqual(expect.arrayContaining([...sources]));
  expect(finding?.checks.length).toBeGreaterThan(0);
});

test.each([
  ['vault-away', 'vault', /\/release/],
  ['attestation-away', 'attestation', /./],
  ['storage-away', 'storage', /PUT .*checkpoints/],
] as const)('%s, and the same command finishes later', async (wanted, service, match) => {
  await place.emulator.faults.set(service, { kind: 'status', status: 503, match });
  await expect(train(place)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  expect((await findings())[0]).toMatchObject({ cause: wanted, code: 'UNAVAILABLE' });
  await place.emulator.faults.clear(service);
  const runId = await train(place);
  expect((await findings(runId))[0]).toMatchObject({ cause: 'not-fetched' });
  await opened(place, runId);
});

test('a run that is being done, then told to stop, then finished', async () => {
  const { runId } = await submitRun(place.context, place.agreement, new Date());
  while ((await readStatus(place.runs, runId))?.progress === undefined) await new Promise(setImmediate);
  expect((await findings(runId))[0]).toMatchObject({ cause: 'running' });
  await place.emulator.machine.stop();
  expect((await findings(runId))[0]).toMatchObject({ cause: 'told-to-stop' });
  const finished = await train(place);
  expect(finished).toBe(runId);
});

test('a trainer that is killed again and again', async () => {
  const { machine } = place.emulator;
  const { runId } = await submitRun(place.context, place.agreement, new Date());
  const stopped = machine.reached('stopped');
  const kills = setInterval(() => machine.kill(), 300);
  await stopped;
  clearInterval(kills);
  const [finding] = await findings(runId);
  expect(finding).toMatchObject({ cause: 'trainer-killed', code: 'UNAVAILABLE' });
  expect(finding?.evidence[0]?.what).toBe('boot.stopped signal code KILL');
  expect(await train(place)).toBe(runId);
});

test('a disabled key, told by the command itself: its words, its evidence and its exit code', async () => {
  const { network, credential, deployment } = place.context;
  const { vaultHost, keyNames } = deployment.owner;
  const vault = vaultClient(network, credential, vaultHost);
  const key = await vault.getKey(keyNames[0] ?? '');
  await vault.disableKey(keyNames[0] ?? '', key?.version ?? '');
  await expect(train(place)).rejects.toMatchObject({ code: 'RELEASE_DENIED' });
  const told = await command();
  expect(told.out).toContain('The key version that the agreement names is disabled.');
  expect(told.out).toMatch(/seen: vault \d{4}-.* KeyRelease .*: 403/);
  expect(told.code).toBe(6);
  expect(JSON.parse((await command('--json')).out)).toMatchObject({ findings: [{ cause: 'release-key-disabled' }] });
  // A console that somebody wrote who should not have: nothing that a terminal obeys comes through.
  const file = join(place.dir, 'console.txt');
  await writeFile(
    file,
    'ctrain: boot.open ssh.service\nctrain: failed=\u001b[2J<b>\nctrain: boot.refused \u001b[2Jnode\n',
  );
  const hostile = await command('--console', file);
  expect(hostile.out).toContain('boot.open ssh.service');
  expect(hostile.out).not.toContain('\u001b');
  expect((await command('--console', join(place.dir, 'none'))).code).toBe(2);
});
