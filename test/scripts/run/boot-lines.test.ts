import { expect, test } from 'vitest';
import { emulatedEventLog, pcrsAfter } from '../../../emulator/event-log.ts';
import { type BootFacts, examineEventLog } from '../../../runtime/attestation/boot-facts.ts';
import { bootLines, unvouched } from '../../../scripts/run/boot-lines.ts';

const log = emulatedEventLog();
const { facts } = examineEventLog(log, pcrsAfter(log));

test('a line for each thing that a log says', () => {
  const lines = bootLines(facts).map((line) => line.replace(/[0-9a-f]{64}/, 'DIGEST'));
  expect(lines).toEqual([
    'secure boot: on',
    'PK: 1 certificates, 0 hashes, sha-256 DIGEST',
    'KEK: 1 certificates, 0 hashes, sha-256 DIGEST',
    'db: 1 certificates, 0 hashes, sha-256 DIGEST',
    'dbx: 0 certificates, 1 hashes, sha-256 DIGEST',
    'boot loader: \\EFI\\ubuntu\\shimx64.efi sha-256 DIGEST',
    'boot loader: \\EFI\\ubuntu\\grubx64.efi sha-256 DIGEST',
    'kernel: /vmlinuz-emulated sha-256 DIGEST',
    'initrd: /initrd-emulated.img sha-256 DIGEST',
    'command line: /vmlinuz-emulated root=LABEL=emulated ro lockdown=integrity',
  ]);
});

test('no log is said to be none', () => {
  expect(bootLines(undefined)).toEqual(['event log: none shown']);
});

test('nothing of rejected evidence is vouched for', () => {
  const lines = bootLines(unvouched(facts));
  expect(lines.length).toBe(10);
  expect(lines.filter((line) => !line.endsWith(' (not authenticated)'))).toEqual([]);
});

test('what a terminal might obey is not shown', () => {
  const hostile: BootFacts = {
    signatureVariables: [{ name: 'PK', digest: 'aa', authenticated: true }],
    bootLoaders: [{ digest: 'bb', path: 'a\u001b[2Jb\u009bc\nd', authenticated: false }],
    initrds: [],
    commandLine: { text: 'quiet\u202eon', authenticated: true },
  };
  expect(bootLines(hostile)).toEqual([
    'PK: ? certificates, ? hashes, sha-256 aa',
    'boot loader: a?[2Jb?c?d sha-256 bb (not authenticated)',
    'command line: quiet?on',
  ]);
});
