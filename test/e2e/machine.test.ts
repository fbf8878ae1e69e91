import { generateKeyPairSync } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createAmdPki } from '../../emulator/amd-pki.ts';
import { emulatedEventLog } from '../../emulator/event-log.ts';
import type { Claims, MachineChanges } from '../../emulator/firmware.ts';
import { EMULATED_BOOT_PCRS } from '../../emulator/vtpm/pcrs.ts';
import { toBase64 } from '../../runtime/crypto/bytes.ts';
import { type RsaPublicJwk, rsaPublicJwk } from '../../runtime/crypto/jwk.ts';
import { leftBehind, opened, type Place, startPlace, train } from './place.ts';

let place: Place;
let genuineReport: Uint8Array | undefined;

beforeAll(async () => {
  place = await startPlace({ machine: { hclReport: (report) => (genuineReport ??= report) }, training: { epochs: 1 } });
});
afterAll(() => place?.stop());
beforeEach(() => place.emulator.firmware.change({}));

/** As an attestation key of a vTPM is: RSA with 2048 bits. */
function anotherKey(): RsaPublicJwk {
  return rsaPublicJwk(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey);
}

/** TPM2_Quote: command code 0x158 at offset 6. */
function isQuote(command: Uint8Array): boolean {
  return new DataView(command.buffer, command.byteOffset).getUint32(6) === 0x158;
}

/** The selection is the end of the command: three octets of PCRs. */
function overFewerPcrs(command: Uint8Array): Uint8Array {
  const changed = command.slice();
  changed.set([0xff, 0x00, 0x00], changed.length - 3);
  return changed;
}

const noTcb = { bootloader: 0, tee: 0, snp: 0, microcode: 0, fmc: 0 };

const MACHINES: readonly [string, MachineChanges | (() => Promise<MachineChanges>), readonly string[]][] = [
  ['debug mode', { hardware: { debug: true } }, ['debug is off']],
  ['vmpl 2', { hardware: { vmpl: 2 } }, ['vmpl is 0']],
  ['an old launch tcb', { hardware: { launchTcb: noTcb } }, ['launch tcb is new enough']],
  ['an old committed tcb', { hardware: { committedTcb: noTcb } }, ['committed tcb is new enough']],
  ['a migration agent allowed', { hardware: { migration: true } }, ['migration is not allowed']],
  ['secure boot off', { hardware: { secureBoot: false } }, ['secure boot is on']],
  [
    'an event log that does not replay',
    { eventLog: () => emulatedEventLog({ secureBoot: false }) },
    ['event log replays to the quoted pcrs', 'event log agrees on secure boot'],
  ],
  [
    'pcrs that are not those of its event log',
    { pcrs: new Map([...EMULATED_BOOT_PCRS, [4, new Uint8Array(32).fill(4)]]) },
    ['event log replays to the quoted pcrs'],
  ],
  ['an unknown id key', { hardware: { idKeyDigest: 'ab'.repeat(48) } }, ['id key is accepted']],
  ['memory not checked for aliases', { hardware: { platformInfo: 0x04 } }, ['memory was checked for aliases']],
  ['two faults at once', { hardware: { debug: true, vmpl: 1 } }, ['debug is off', 'vmpl is 0']],
  [
    'a foreign root',
    async () => ({ amd: await createAmdPki('Genoa', { modulusLength: 2048 }) }),
    ['root is the pinned key'],
  ],
  [
    'another attestation key than the one reported',
    () => Promise.resolve({ akKey: anotherKey() }),
    ['quote is signed by the attestation key'],
  ],
  [
    'a quote over fewer pcrs',
    { command: (command) => (isQuote(command) ? overFewerPcrs(command) : command) },
    ['quote does not match pcr'],
  ],
  [
    'pcr 15 that holds something else',
    { pcrs: new Map([...EMULATED_BOOT_PCRS, [15, new Uint8Array(32).fill(7)]]) },
    ['pcr 15 already holds something else'],
  ],
];

test.each(MACHINES)(
  'a machine with %s is refused with every failed check, and the vault is never asked',
  async (_, changes, wanted) => {
    place.emulator.firmware.change(typeof changes === 'function' ? await changes() : changes);
    const seen = place.emulator.requests.length;
    const refused = await train(place).then(
      () => undefined,
      (error: unknown) => error as { code: string; message: string; failures: readonly string[] },
    );
    expect(refused?.code).toBe('ATTESTATION_REJECTED');
    const told = [refused?.message, ...(refused?.failures ?? [])].join('\n');
    for (const check of wanted) expect(told).toContain(check);
    const since = place.emulator.requests.slice(seen);
    expect(since.filter(({ service }) => service === 'vault' || service === 'attestation')).toEqual([]);
  },
);

test('the report of another machine, replayed, is refused', async () => {
  // Boots once to have a report of an earlier machine, whose attestation key is not this one's.
  place.emulator.firmware.change({ akKey: anotherKey(), hclReport: (report) => (genuineReport = report) });
  await expect(train(place)).rejects.toMatchObject({ code: 'ATTESTATION_REJECTED' });
  const replayed = genuineReport as Uint8Array;
  place.emulator.firmware.change({ hclReport: () => replayed });
  await expect(train(place)).rejects.toMatchObject({
    code: 'ATTESTATION_REJECTED',
    message: expect.stringContaining('quote'),
  });
});

test('a token with another nonce is refused, and the vault is never asked', async () => {
  place.emulator.firmware.change({
    claims: (claims) => ({
      ...claims,
      'x-ms-runtime': { ...(claims['x-ms-runtime'] as object), 'client-payload': { nonce: 'bm90IHRoZSBub25jZQ==' } },
    }),
  });
  const seen = place.emulator.requests.length;
  await expect(train(place)).rejects.toMatchObject({
    code: 'ATTESTATION_REJECTED',
    message: expect.stringContaining('nonce'),
  });
  expect(place.emulator.requests.slice(seen).filter(({ service }) => service === 'vault')).toEqual([]);
});

test('the token of an earlier boot, replayed, is refused with every failed check', async () => {
  let earlier: Claims | undefined;
  place.emulator.firmware.change({
    claims: (claims) => {
      earlier ??= claims;
      return earlier;
    },
  });
  await train(place);
  const seen = place.emulator.requests.length;
  const refused = await train(place).catch((error: unknown) => error as { code: string; failures: readonly string[] });
  expect(refused).toMatchObject({ code: 'ATTESTATION_REJECTED' });
  expect((refused as { failures: readonly string[] }).failures.length).toBeGreaterThanOrEqual(2);
  expect(place.emulator.requests.slice(seen).filter(({ service }) => service === 'vault')).toEqual([]);
});

test('the unchanged machine is accepted afterwards', async () => {
  const runId = await train(place);
  expect(await leftBehind(place, runId)).toContain(`${runId}/receipt.dsse.json`);
  const { evidence } = await opened(place, runId);
  expect(evidence).toMatchObject({ eventLog: toBase64(emulatedEventLog()) });
});
