import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createAmdPki } from '../../emulator/amd-pki.ts';
import type { MachineChanges } from '../../emulator/firmware.ts';
import { EMULATED_BOOT_PCRS } from '../../emulator/vtpm/pcrs.ts';
import { rsaPublicJwk } from '../../runtime/crypto/jwk.ts';
import { leftBehind, newKeys, type Place, startPlace, train } from './place.ts';

let place: Place;
let genuineReport: Uint8Array | undefined;

beforeAll(async () => {
  place = await startPlace({ machine: { hclReport: (report) => (genuineReport ??= report) }, training: { epochs: 1 } });
});
afterAll(() => place?.stop());
beforeEach(() => place.emulator.firmware.change({}));

const noTcb = { bootloader: 0, tee: 0, snp: 0, microcode: 0, fmc: 0 };

const MACHINES: readonly [string, MachineChanges | (() => Promise<MachineChanges>), readonly string[]][] = [
  ['debug mode', { hardware: { debug: true } }, ['debug is off']],
  ['vmpl 2', { hardware: { vmpl: 2 } }, ['vmpl is 0']],
  ['an old launch tcb', { hardware: { launchTcb: noTcb } }, ['launch tcb is new enough']],
  ['an old committed tcb', { hardware: { committedTcb: noTcb } }, ['committed tcb is new enough']],
  ['a migration agent allowed', { hardware: { migration: true } }, ['migration is not allowed']],
  ['secure boot off', { hardware: { secureBoot: false } }, ['secure boot is on']],
  ['an unknown id key', { hardware: { idKeyDigest: 'ab'.repeat(48) } }, ['id key is accepted']],
  ['memory not checked for aliases', { hardware: { platformInfo: 0x04 } }, ['memory was checked for aliases']],
  ['two faults at once', { hardware: { debug: true, vmpl: 1 } }, ['debug is off', 'vmpl is 0']],
  ['a foreign root', async () => ({ amd: await createAmdPki('Genoa', { modulusLength: 2048 }) }), ['root is the pinned key']],
  ['another attestation key than the one reported', async () => ({ akKey: rsaPublicJwk(newKeys('x').decryption) }), ['quote is signed by the attestation key']],
  [
    'pcr 15 that holds something else',
    { pcrs: new Map([...EMULATED_BOOT_PCRS, [15, new Uint8Array(32).fill(7)]]) },
    ['pcr 15 already holds something else'],
  ],
];

test.each(MACHINES)('a machine with %s is refused with every failed check, and the vault is never asked', async (_, changes, wanted) => {
  place.emulator.firmware.change(typeof changes === 'function' ? await changes() : changes);
  const seen = place.emulator.requests.length;
  const refused = await train(place).then(
    () => undefined,
    (error: unknown) => error as { code: string; message: string; failures: readonly string[] },
  );
  await place.emulator.machine.reached('deallocated');
  expect(refused?.code).toBe('ATTESTATION_REJECTED');
  const told = [refused?.message, ...(refused?.failures ?? [])].join('\n');
  for (const check of wanted) expect(told).toContain(check);
  const since = place.emulator.requests.slice(seen);
  expect(since.filter(({ service }) => service === 'vault' || service === 'attestation')).toEqual([]);
});

test('the report of another machine, replayed, is refused', async () => {
  // Boots once to have a report of an earlier machine, whose attestation key is not this one's.
  place.emulator.firmware.change({ akKey: rsaPublicJwk(newKeys('other').decryption), hclReport: (report) => (genuineReport = report) });
  await expect(train(place)).rejects.toMatchObject({ code: 'ATTESTATION_REJECTED' });
  await place.emulator.machine.reached('deallocated');
  const replayed = genuineReport as Uint8Array;
  place.emulator.firmware.change({ hclReport: () => replayed });
  await expect(train(place)).rejects.toMatchObject({ code: 'ATTESTATION_REJECTED', message: expect.stringContaining('quote') });
});

test('the unchanged machine is accepted afterwards', async () => {
  await place.emulator.machine.reached('deallocated');
  const runId = await train(place);
  expect(await leftBehind(place, runId)).toContain(`${runId}/receipt.dsse.json`);
});
