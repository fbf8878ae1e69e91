import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Ended, run } from './cli-process.ts';
import { off, type Place, startPlace, train } from './place.ts';

let place: Place;

beforeAll(async () => {
  place = await startPlace({ training: { epochs: 1 } });
});
afterAll(() => place?.stop());

const diagnose = (...more: readonly string[]): Promise<Ended> =>
  run(place.dir, 'diagnose', '--deployment', place.emulator.deploymentFile, ...more);

test('no run, and no such run', async () => {
  expect(await diagnose()).toMatchObject({ code: 2, err: expect.stringContaining('there is no run yet') });
  expect(await diagnose('--run', 'run-none')).toMatchObject({
    code: 2,
    err: expect.stringContaining('there is no run run-none'),
  });
});

test('a vault that refuses: what the trainer says and what the vault’s own log says', async () => {
  await place.emulator.faults.set('vault', { kind: 'status', status: 403, match: /\/release/ });
  await expect(train(place)).rejects.toMatchObject({ code: 'RELEASE_DENIED' });
  await place.emulator.faults.clear('vault');
  const { code, out } = await diagnose();
  expect(code).toBe(6);
  expect(out).toMatch(/^run-\S+: it was refused .*: a vault did not give its key, or its answer did not hold\n/);
  expect(out).toMatch(/^ {2}event, \S+: key\.released failed, owner /m);
  expect(out).toMatch(/\nnext: ask the key's owner: /);
  await off(place);
});

test('an outage: the same command goes on, and then nothing is wrong', async () => {
  await place.emulator.faults.set('attestation', { kind: 'status', status: 503 });
  await expect(train(place)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  await place.emulator.faults.clear('attestation');
  const { code, out } = await diagnose();
  expect(code).toBe(3);
  expect(out).toContain('\nnext: start the same command again: the run goes on from its newest checkpoint\n');
  await train(place);
  expect(await diagnose()).toMatchObject({ code: 0, out: expect.stringMatching(/^run-\S+: the run finished on /) });
});

test('an altered object, by its name', async () => {
  const [object] = place.manifest.objects;
  const name = `${place.prefix}/${object?.name}`;
  const bytes = (await place.datasets.get(name))?.bytes ?? new Uint8Array();
  await place.datasets.put(
    name,
    bytes.map((byte, i) => (i === bytes.length - 20 ? byte ^ 1 : byte)),
  );
  await expect(train(place)).rejects.toMatchObject({ code: 'CIPHERTEXT_REJECTED' });
  const { code, out } = await diagnose('--json');
  expect(code).toBe(7);
  expect(JSON.parse(out)).toMatchObject({
    code: 'CIPHERTEXT_REJECTED',
    evidence: expect.arrayContaining([expect.stringMatching(new RegExp(`object\\.opened failed, .*${object?.name}`))]),
  });
  await off(place);
});

test('a console with escape sequences is shown without them', async () => {
  const file = join(place.dir, 'console.log');
  await writeFile(file, 'ctrain: boot.started\nctrain: boot.refused \u001b[2Jnode: digest is not ab\n');
  const { out } = await diagnose('--console', file);
  expect(out).not.toContain('\u001b');
  expect((await diagnose('--console', join(place.dir, 'none'))).code).toBe(2);
});
