import { describe, expect, test } from 'vitest';
import { emulatedEventLog } from '../../../emulator/event-log.ts';
import { type BootFacts, examineEventLog } from '../../../runtime/attestation/boot-facts.ts';
import { EVENT, parseEventLog } from '../../../runtime/attestation/event-log.ts';
import { replayPcrs } from '../../../runtime/attestation/event-log-replay.ts';
import { concat, sha256, toHex, utf8 } from '../../../runtime/crypto/bytes.ts';
import { firstEvent, logged, u32, utf16, variable } from './event-logs.ts';

const { variableDriverConfig, separator, ipl, bootServicesApplication } = EVENT;
const ON = variable('SecureBoot', Uint8Array.of(1));
const OFF = variable('SecureBoot', Uint8Array.of(0));
const SEPARATOR = logged(7, separator, new Uint8Array(4));

/** The facts of a log whose PCRs are quoted as it replays. */
function factsOf(...events: readonly Uint8Array[]): BootFacts {
  const log = concat(firstEvent(), ...events);
  return examineEventLog(log, replayPcrs(parseEventLog(log))).facts;
}

const configured = (data: Uint8Array, digest?: Uint8Array) => logged(7, variableDriverConfig, data, digest);
const grub = (text: string, measured = text.replace(/^\w+: /, '')) =>
  logged(8, ipl, utf8(`${text}\0`), sha256(utf8(measured)));
const file = (path: string) => logged(9, ipl, utf8(`${path}\0`), sha256(utf8(`content of ${path}`)));
const digestOf = (path: string) => toHex(sha256(utf8(`content of ${path}`)));

test('a log of nothing states nothing', () => {
  expect(factsOf()).toEqual({ signatureVariables: [], bootLoaders: [], initrds: [] });
});

describe('secure boot', () => {
  test.each<[string, readonly Uint8Array[], BootFacts['secureBoot']]>([
    ['on', [configured(ON), SEPARATOR], { enabled: true, authenticated: true }],
    ['off', [configured(OFF), SEPARATOR], { enabled: false, authenticated: true }],
    [
      'no content at all',
      [configured(variable('SecureBoot', new Uint8Array()))],
      { enabled: false, authenticated: true },
    ],
    [
      'on, in data that were not measured',
      [configured(ON, sha256(OFF)), SEPARATOR],
      { enabled: true, authenticated: false },
    ],
    ['off, then on', [configured(OFF), configured(ON), SEPARATOR], { enabled: false, authenticated: true }],
    ['on, but measured after firmware had ended', [SEPARATOR, configured(ON)], undefined],
    [
      'on after a separator that is called something else',
      [logged(7, variableDriverConfig, utf8('other'), sha256(new Uint8Array(4))), configured(ON)],
      undefined,
    ],
    [
      'on, of a variable that is somebody else’s',
      [configured(variable('SecureBoot', Uint8Array.of(1), 'ab'.repeat(16)))],
      undefined,
    ],
    ['on, of another pcr', [logged(6, variableDriverConfig, ON)], undefined],
    ['on, with a byte too many', [configured(concat(ON, Uint8Array.of(0)))], undefined],
  ])('%s', (_, events, wanted) => {
    expect(factsOf(...events).secureBoot).toEqual(wanted);
  });

  test('is not authenticated where pcr 7 is not quoted, or holds something else', () => {
    const log = concat(firstEvent(), configured(ON), SEPARATOR);
    const state = (quoted: ReadonlyMap<number, Uint8Array>) =>
      examineEventLog(log, quoted).facts.secureBoot?.authenticated;
    expect([state(new Map()), state(new Map([[7, new Uint8Array(32)]]))]).toEqual([false, false]);
    expect(state(replayPcrs(parseEventLog(log)))).toBe(true);
  });
});

describe('signature databases', () => {
  const SECURITY = 'cbb219d73a3d9645a3bcdad00e67656f';
  const value = utf8('no list of signatures');

  test('are named by their owner too', () => {
    const names = factsOf(
      configured(variable('PK', value)),
      configured(variable('KEK', value, SECURITY)),
      configured(variable('db', value)),
      configured(variable('dbx', value, SECURITY)),
    ).signatureVariables.map(({ name }) => name);
    expect(names).toEqual(['PK', 'dbx']);
  });

  test('are told by their digest alone where their content cannot be read', () => {
    const digest = toHex(sha256(value));
    expect(factsOf(configured(variable('PK', value))).signatureVariables).toEqual([
      { name: 'PK', digest, authenticated: true },
    ]);
  });

  const list = (size: number, header: number, entry: number, content = 76 - 28) =>
    concat(new Uint8Array(16).fill(7), u32(size), u32(header), u32(entry), new Uint8Array(content));

  test.each<[string, Uint8Array, number | undefined]>([
    ['one entry', list(76, 0, 48), 1],
    ['two lists', concat(list(76, 0, 48), list(76, 16, 16)), 3],
    ['a list that is longer than the variable', list(76, 0, 48, 47), undefined],
    ['a list of no size', list(0, 0, 28), undefined],
    ['a header longer than its list', list(76, 96, 48), undefined],
    ['half an entry', list(76, 0, 32), undefined],
    ['entries of no size', list(76, 0, 0), undefined],
    ['no entries, of no size', list(28, 0, 0), undefined],
    ['half a header', new Uint8Array(27), undefined],
  ])('are counted: %s', (_, content, hashes) => {
    const [found] = factsOf(configured(variable('PK', content))).signatureVariables;
    expect(found?.hashes).toBe(hashes);
  });

  test('may be empty', () => {
    expect(factsOf(configured(variable('PK', new Uint8Array()))).signatureVariables).toMatchObject([
      { certificates: 0, hashes: 0 },
    ]);
  });
});

describe('programs', () => {
  test.each<[string, Uint8Array]>([
    ['nothing', new Uint8Array()],
    ['a device path that ends too soon', concat(new Uint8Array(32), Uint8Array.of(4, 4, 9, 0))],
    ['a node of no length', concat(new Uint8Array(32), Uint8Array.of(4, 4, 0, 0))],
  ])('with %s for a path have none', (_, data) => {
    const { bootLoaders } = factsOf(logged(4, bootServicesApplication, data));
    expect(bootLoaders).toEqual([{ digest: toHex(sha256(data)), authenticated: true }]);
  });
});

describe('grub', () => {
  const boot = [
    file('/vmlinuz-1'),
    grub('kernel_cmdline: /vmlinuz-1 root=a'),
    grub('grub_cmd: initrd /microcode /initrd'),
    file('/microcode'),
    file('/initrd'),
    file('/grub.cfg'),
  ];

  test('tells kernel, initrds and command line', () => {
    expect(factsOf(...boot)).toMatchObject({
      kernel: { path: '/vmlinuz-1', digest: digestOf('/vmlinuz-1'), authenticated: true },
      initrds: [{ path: '/microcode' }, { path: '/initrd', digest: digestOf('/initrd'), authenticated: true }],
      commandLine: { text: '/vmlinuz-1 root=a', authenticated: true },
    });
  });

  test('a command line that was not measured is not authenticated', () => {
    const { commandLine } = factsOf(grub('kernel_cmdline: /vmlinuz-1 quiet', '/vmlinuz-1 init=/bin/sh'));
    expect(commandLine).toEqual({ text: '/vmlinuz-1 quiet', authenticated: false });
  });

  test('what is measured with its prefix is some other text', () => {
    expect(factsOf(grub('kernel_cmdline: /a', 'kernel_cmdline: /a')).commandLine?.authenticated).toBe(false);
  });
});

test('systemd-stub tells kernel and initrd by section, and what was added to the command line', () => {
  const section = (name: string, content: string) => [
    logged(11, ipl, utf16(`${name}\0`), sha256(utf8(`${name}\0`))),
    logged(11, ipl, utf16(`${name}\0`), sha256(utf8(content))),
  ];
  const line = utf16('init=/bin/evil\0');
  expect(factsOf(...section('.linux', 'kernel'), ...section('.initrd', 'initrd'), logged(12, ipl, line))).toMatchObject(
    {
      kernel: { digest: toHex(sha256(utf8('kernel'))), authenticated: true },
      initrds: [{ digest: toHex(sha256(utf8('initrd'))) }],
      commandLine: { text: 'init=/bin/evil', authenticated: true },
    },
  );
  // A name that was not measured before its content is only a story.
  expect(factsOf(...section('.linux', 'kernel').slice(1))).not.toHaveProperty('kernel');
});

test.each([true, false])('an emulated machine shows secure boot as it was told to: %s', (secureBoot) => {
  const log = emulatedEventLog({ secureBoot });
  const { facts, replays } = examineEventLog(log, replayPcrs(parseEventLog(log)));
  expect(replays).toBe(true);
  expect(facts).toMatchObject({
    secureBoot: { enabled: secureBoot, authenticated: true },
    signatureVariables: [{ name: 'PK' }, { name: 'KEK' }, { name: 'db', certificates: 1 }, { name: 'dbx', hashes: 1 }],
    bootLoaders: [{ path: '\\EFI\\ubuntu\\shimx64.efi' }, { path: '\\EFI\\ubuntu\\grubx64.efi' }],
    kernel: { path: '/vmlinuz-emulated' },
    initrds: [{ path: '/initrd-emulated.img' }],
    commandLine: { text: '/vmlinuz-emulated root=LABEL=emulated ro lockdown=integrity', authenticated: true },
  });
});
