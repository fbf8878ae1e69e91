import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { emulatedEventLog } from '../../../emulator/event-log.ts';
import { examineEventLog } from '../../../runtime/attestation/boot-facts.ts';
import { parseEventLog } from '../../../runtime/attestation/event-log.ts';
import { replayPcrs } from '../../../runtime/attestation/event-log-replay.ts';
import { UNSUPPORTED } from '../../../runtime/attestation/malformed.ts';
import { concat, sha256, toHex, utf8 } from '../../../runtime/crypto/bytes.ts';
import { SecureTrainingError } from '../../../runtime/errors.ts';
import { damaged, RUNS } from '../hostile.ts';
import { firstEvent, locality, logged, u32 } from './event-logs.ts';
import { VECTORS_ABSENT, vector } from './vectors.ts';

const PUBLIC_LOG = 'go-tpm-tools/eventlogs/ubuntu-2404-amd-sevsnp.bin';

function replayed(log: Uint8Array): Readonly<Record<number, string>> {
  return Object.fromEntries([...replayPcrs(parseEventLog(log))].map(([pcr, value]) => [pcr, toHex(value)]));
}

// As tpm2_eventlog 5.4 prints them, and a replay in another language.
const PUBLIC_PCRS = {
  0: '50597a27846e91d025eef597abbc89f72bff9af849094db97b0684d8bc4c515e',
  1: '57344e1cc8c6619413df33013a7cd67915459f967395af41db21c1fa7ca9c307',
  2: '3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969',
  3: '3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969',
  4: 'abe8b3fa6aecb36c2fd93c6f6edde661c21b353d007410a2739d69bfa7e1b9be',
  5: '0b0e1903aeb1bff649b82dba2cdcf5c4ffb75027e54f151ab00b3b989f16a300',
  6: '3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969',
  7: '33ad69850fb2c7f30b4f8b4bc10ed93fc954dc07fa726e84f50f3d192dc1c140',
  8: '6932a3f71dc55ad3c1a6ac2196eeac26a1b7164b6bbfa106625d94088ec3ecc3',
  9: 'ce08798b283c7a0ddc5e9ad1d602304b945b741fc60c20e254eafa0f4782512b',
  13: '00'.repeat(32),
  14: '306f9d8b94f17d93dc6e7cf8f5c79d652eb4c6c4d13de2dddc24af416e13ecaf',
};

describe.skipIf(VECTORS_ABSENT)('the log of a real machine', () => {
  test('replays to what other tools make of it', () => {
    const log = vector(PUBLIC_LOG);
    // The first event is none of the others' kind.
    expect(parseEventLog(log).events.length).toBe(117 - 1);
    expect(replayed(log)).toMatchObject(PUBLIC_PCRS);
  });

  test('says how the machine booted, each fact borne out by a pcr', () => {
    const log = vector(PUBLIC_LOG);
    const { facts, replays } = examineEventLog(log, replayPcrs(parseEventLog(log)));
    expect(replays).toBe(true);
    const authenticated = true;
    const path = '/vmlinuz-6.8.0-1010-gcp';
    expect(facts).toMatchObject({
      secureBoot: { enabled: false, authenticated },
      signatureVariables: [
        { name: 'PK', certificates: 1, hashes: 0, authenticated },
        { name: 'KEK', certificates: 1, hashes: 0, authenticated },
        { name: 'db', certificates: 2, hashes: 0, authenticated },
        { name: 'dbx', certificates: 0, hashes: 371, authenticated },
      ],
      bootLoaders: [
        {
          path: '\\EFI\\ubuntu\\shimx64.efi',
          digest: '724de6844dd0fe618ba5776c7bca0728be38a6544e24e44ef259b987b7abce80',
          authenticated,
        },
        {
          path: '\\EFI\\ubuntu\\grubx64.efi',
          digest: '5e8cb75acdf8e09e5fc14cc2d6ce0c2288af208976d97309851c661e91ec1e03',
          authenticated,
        },
      ],
      kernel: { path, digest: 'a6cdd6ff491ff19d4f940fa8123753b7d423421469001b5f81628323a81f287b', authenticated },
      initrds: [],
      commandLine: {
        text: `${path} root=PARTUUID=8270f3c9-b4e4-4345-80ee-5a62db7ebf3f ro console=ttyS0,115200 panic=-1`,
        authenticated,
      },
    });
    expect(facts.signatureVariables.map(({ digest }) => digest.slice(0, 16))).toEqual([
      '03f8844e4692b98c',
      'fabefc168650d843',
      'ec88486bc8b71985',
      '920e358e0fa61c06',
    ]);
  });
});

describe('replay', () => {
  const digest = sha256(utf8('measured'));
  const zeros = new Uint8Array(32);

  test('hashes every event onto the value before it', () => {
    const event = logged(4, 1, utf8('measured'));
    expect(replayed(concat(firstEvent(), event, event))[4]).toBe(toHex(sha256(sha256(zeros, digest), digest)));
  });

  test.each([0, 3, 4])('starts pcr 0 from locality %i', (value) => {
    const start = zeros.with(31, value);
    const log = concat(firstEvent(), locality(value), logged(0, 8, utf8('measured')));
    expect(replayed(log)).toMatchObject({ 0: toHex(sha256(start, digest)), 1: toHex(zeros) });
  });

  test('passes over what measures nothing, of whichever pcr', () => {
    const log = concat(firstEvent(), logged(6, 3, utf8('note')), logged(0xffffffff, 3, utf8('note')));
    expect(new Set(Object.values(replayed(log)))).toEqual(new Set([toHex(zeros)]));
  });

  test('takes the sha-256 digest wherever it stands among the banks', () => {
    const banks = [
      [4, 20],
      [11, 32],
      [0x7777, 5],
    ] as const;
    const digests = concat(
      Uint8Array.of(0x77, 0x77),
      new Uint8Array(5),
      Uint8Array.of(11, 0),
      digest,
      Uint8Array.of(4, 0),
    );
    const event = concat(u32(2), u32(1), u32(3), digests, new Uint8Array(20), u32(0));
    expect(replayed(concat(firstEvent({ banks }), event))[2]).toBe(toHex(sha256(zeros, digest)));
  });
});

const event = logged(4, 1, utf8('measured'));
const twice = concat(Uint8Array.of(11, 0), new Uint8Array(32));

describe('refuses', () => {
  test.each<[string, Uint8Array, string]>([
    ['nothing at all', new Uint8Array(), 'event log is truncated: 4 bytes wanted at 0, 0 left'],
    ['a first event of another pcr', firstEvent().with(0, 1), 'does not start with an event that measures nothing'],
    ['a first event that measures', firstEvent().with(4, 1), 'does not start with an event that measures nothing'],
    ['a first event with a digest', firstEvent().with(8, 1), 'does not start with an event that measures nothing'],
    ['a first event of another name', firstEvent({ name: 'Spec of a kind.\0' }), 'does not start with Spec ID Event03'],
    ['a name without its end', firstEvent({ name: 'Spec ID Event03.' }), 'does not start with Spec ID Event03'],
    [
      'a bank named twice',
      firstEvent({
        banks: [
          [11, 32],
          [11, 32],
        ],
      }),
      'names algorithm 11 twice',
    ],
    ['a sha-256 of another length', firstEvent({ banks: [[11, 20]] }), 'digests of 20 bytes for algorithm 11'],
    [
      'an unknown bank of no length',
      firstEvent({
        banks: [
          [11, 32],
          [99, 0],
        ],
      }),
      'digests of 0 bytes for algorithm 99',
    ],
    ['a first event that goes on', firstEvent({ tail: Uint8Array.of(0, 0) }), 'its first event has 1 bytes too many'],
    ['vendor information that is not there', firstEvent({ tail: Uint8Array.of(9) }), 'truncated: 9 bytes wanted'],
    ['a pcr that is not there', concat(firstEvent(), logged(24, 1, utf8(''))), 'has an event of pcr 24'],
    ['too few digests', concat(firstEvent(), event.with(8, 0)), 'an event with 0 digests, wanted 1'],
    ['too many digests', concat(firstEvent(), event.with(8, 2)), 'an event with 2 digests, wanted 1'],
    ['a digest of a bank not named', concat(firstEvent(), event.with(12, 4)), 'a digest of algorithm 4 too many'],
    [
      'a bank twice, another never',
      concat(
        firstEvent({
          banks: [
            [11, 32],
            [12, 48],
          ],
        }),
        u32(0),
        u32(1),
        u32(2),
        twice,
        twice,
        u32(0),
      ),
      'a digest of algorithm 11 too many',
    ],
    ['an event that ends too soon', concat(firstEvent(), event.slice(0, -1)), 'truncated: 8 bytes wanted'],
    ['zeros after the last event', concat(firstEvent(), event, new Uint8Array(64)), 'an event with 0 digests'],
    ['one byte after the last event', concat(firstEvent(), event, new Uint8Array(1)), 'truncated: 4 bytes wanted'],
    ['two startup localities', concat(firstEvent(), locality(0), locality(3)), 'states the startup locality twice'],
    [
      'a startup locality too late',
      concat(firstEvent(), logged(0, 8, utf8('v')), locality(3)),
      'after an event of pcr 0',
    ],
    ['a startup locality of 1', concat(firstEvent(), locality(1)), 'no startup locality that there is'],
    ['a startup locality of two bytes', concat(firstEvent(), locality(3, 0)), 'no startup locality that there is'],
  ])('%s', (_, log, message) => {
    const malformed = expect.objectContaining({
      code: 'EVIDENCE_MALFORMED',
      message: expect.stringContaining(message),
      failures: [],
    });
    expect(() => parseEventLog(log)).toThrow(malformed);
  });

  test.each<[string, Uint8Array, string]>([
    ['a log without a sha-256 bank', firstEvent({ banks: [[4, 20]] }), 'event log has no sha-256 bank'],
    ['a log of an older kind', firstEvent({ name: 'Spec ID Event02\0' }), 'event log is of kind Spec ID Event02'],
  ])('%s, as unsupported', (_, log, message) => {
    const unsupported = expect.objectContaining({
      code: 'EVIDENCE_MALFORMED',
      message: expect.stringContaining(message),
      failures: [UNSUPPORTED],
    });
    expect(() => parseEventLog(log)).toThrow(unsupported);
  });
});

describe('whatever the bytes', () => {
  const good = emulatedEventLog();
  const pcrs = replayPcrs(parseEventLog(good));

  function isRead(log: Uint8Array): boolean {
    try {
      const { replays } = examineEventLog(log, pcrs);
      expect(typeof replays).toBe('boolean');
      return replays;
    } catch (error) {
      expect(error).toBeInstanceOf(SecureTrainingError);
      expect(error).toMatchObject({ code: 'EVIDENCE_MALFORMED' });
      return false;
    }
  }

  test('they are read, or malformed', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => void isRead(bytes)),
      RUNS,
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => void isRead(concat(firstEvent(), bytes))),
      RUNS,
    );
    fc.assert(
      fc.property(damaged(good), (bytes) => void isRead(bytes)),
      RUNS,
    );
  });

  test('a log cut anywhere is malformed, or lacks an event that a pcr holds', () => {
    for (let end = 0; end < good.length; end++) expect(isRead(good.slice(0, end))).toBe(false);
  });

  test('a byte flipped anywhere is malformed, or changes no fact that stays authenticated', () => {
    const { facts } = examineEventLog(good, pcrs);
    for (let at = 0; at < good.length; at++) {
      const flipped = good.with(at, (good[at] ?? 0) ^ 0xff);
      if (!isRead(flipped)) continue;
      const { secureBoot, commandLine } = examineEventLog(flipped, pcrs).facts;
      if (secureBoot?.authenticated === true) expect(secureBoot).toEqual(facts.secureBoot);
      if (commandLine?.authenticated === true) expect(commandLine).toEqual(facts.commandLine);
    }
  });

  test('a flipped bit of any extended digest changes the replay', () => {
    const { events } = parseEventLog(good);
    const extended = events.filter(({ type }) => type !== 3).map(({ digest }) => digest.byteOffset - good.byteOffset);
    expect(extended.length).toBe(events.length);
    for (const start of extended) {
      for (let at = start; at < start + 32; at++) expect(isRead(good.with(at, (good[at] ?? 0) ^ 1))).toBe(false);
    }
  });
});
