import { beforeAll, expect, test } from 'vitest';
import { buildHclReport, type HclReportOptions } from '../../emulator/hardware.ts';
import { parseHclReport } from '../../runtime/attestation/hcl-report.ts';
import { parseSnpReport } from '../../runtime/attestation/snp-report.ts';
import { sha256 } from '../../runtime/crypto/bytes.ts';
import { createMachine, VM_ID } from '../runtime/attestation/machine.ts';

let options: HclReportOptions;

beforeAll(async () => {
  const { pki, akKey, ekKey } = await createMachine('Genoa');
  options = { pki, akKey, ekKey, vmId: VM_ID };
}, 60_000);

test('fills the NV index and leaves zeros behind the claims', () => {
  const bytes = buildHclReport(options);
  const { runtimeClaims } = parseHclReport(bytes);
  expect(bytes).toHaveLength(2600);
  expect(bytes.subarray(0x4d4 + runtimeClaims.length).every((byte) => byte === 0)).toBe(true);
});

test('the report hashes the claims as they stand', () => {
  const { runtimeClaims, snpReport } = parseHclReport(buildHclReport(options));
  const { reportData } = parseSnpReport(snpReport);
  expect(reportData.slice(0, 32)).toEqual(sha256(runtimeClaims));
  expect(reportData.slice(32)).toEqual(new Uint8Array(32));
});

test('user data is padded on the right', () => {
  const { userData } = parseHclReport(buildHclReport({ ...options, userData: Uint8Array.of(1, 2, 3) }));
  expect(userData?.subarray(0, 4)).toEqual(Uint8Array.of(1, 2, 3, 0));
  expect(userData).toHaveLength(64);
});

test('both keys are in the claims, under the names of the paravisor', () => {
  const { runtimeClaims } = parseHclReport(buildHclReport(options));
  const { keys } = JSON.parse(new TextDecoder().decode(runtimeClaims));
  expect(keys).toEqual([
    { kid: 'HCLAkPub', key_ops: ['sign'], ...options.akKey },
    { kid: 'HCLEkPub', key_ops: ['encrypt'], ...options.ekKey },
  ]);
});

test('changes are in the report', () => {
  const changes = {
    debug: true,
    migration: true,
    vmpl: 3,
    guestSvn: 7,
    platformInfo: 4,
    headerVersion: 1,
    secureBoot: false,
  };
  const report = parseHclReport(buildHclReport({ ...options, changes }));
  expect(report).toMatchObject({ headerVersion: 1, vmConfiguration: { secureBoot: false } });
  expect(parseSnpReport(report.snpReport)).toMatchObject({
    vmpl: 3,
    guestSvn: 7,
    aliasCheckComplete: false,
    policy: { debug: true, migrationAgent: true, smt: true, raw: 0xf001f },
  });
});

test('refuses claims that do not fit', () => {
  expect(() => buildHclReport({ ...options, vmId: 'x'.repeat(400) })).toThrow(
    /^claims of \d+ bytes do not fit an hcl report of 2600$/,
  );
});
