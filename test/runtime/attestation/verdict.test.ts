import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { certificatePem } from '../../../emulator/amd-certificate.ts';
import { type AmdPki, issueRevocationList, reissueVcek, vcekChain } from '../../../emulator/amd-pki.ts';
import { emulatedEventLog, pcrsAfter } from '../../../emulator/event-log.ts';
import { APPRAISE_CHECKS, appraise } from '../../../runtime/attestation/appraise.ts';
import { parseVcekChain } from '../../../runtime/attestation/certificates.ts';
import type { Evidence } from '../../../runtime/attestation/evidence.ts';
import { HCL_OFFSETS } from '../../../runtime/attestation/hcl-report.ts';
import { ALG_SHA256 } from '../../../runtime/attestation/quote.ts';
import { SNP_OFFSETS } from '../../../runtime/attestation/snp-report.ts';
import { acceptEvidence, evidenceFailures, type VerdictOptions } from '../../../runtime/attestation/verdict.ts';
import { VERIFY_CHECKS, verifyEvidence } from '../../../runtime/attestation/verify.ts';
import { STRICT_ENVIRONMENT } from '../../../runtime/catalogue.ts';
import { toHex } from '../../../runtime/crypto/bytes.ts';
import {
  createMachine,
  type EvidenceChanges,
  evidenceOf,
  flipBit,
  type Machine,
  NONCE,
  PCRS,
  trustIn,
  VM_ID,
} from './machine.ts';

let machine: Machine;
/** Of another generation. */
let other: Machine;
let options: VerdictOptions;

beforeAll(async () => {
  [machine, other] = await Promise.all([createMachine(), createMachine('Genoa')]);
  options = {
    trust: machine.trust,
    at: new Date(),
    policy: { ...STRICT_ENVIRONMENT, vmIds: [VM_ID] },
    expected: { nonce: NONCE, pcr15: Buffer.from(PCRS['15'] ?? '', 'hex'), vmId: VM_ID },
  };
}, 60_000);

const tcb = STRICT_ENVIRONMENT.minimumTcb.Milan;
const oldTcb = { ...tcb, snp: tcb.snp - 1, microcode: 255 };

/** One change of good evidence, or of what it is held against. */
interface Change {
  readonly evidence?: EvidenceChanges | (() => EvidenceChanges);
  readonly after?: (evidence: Evidence) => Evidence;
  readonly options?: (options: VerdictOptions) => Partial<VerdictOptions>;
}

const hardware = (changes: EvidenceChanges['hardware']): Change => ({ evidence: { hardware: changes ?? {} } });

/** Shows the log, and quotes what it replays to. */
const bootedBy = (eventLog: Uint8Array): Change => ({
  evidence: () => {
    const measured = [...pcrsAfter(eventLog)].map(([pcr, value]) => [String(pcr), toHex(value)]);
    return { quote: { pcrs: { ...Object.fromEntries(measured), 15: PCRS['15'] ?? '' } } };
  },
  after: (evidence) => ({ ...evidence, eventLog }),
});

/** The last byte of a certificate belongs to its signature: the rest of the chain still holds. */
const spoil = (which: 'ark' | 'ask' | 'vcek'): Change => ({
  evidence: () => {
    const raw = parseVcekChain(vcekChain(machine.pki))[which].raw;
    return { pki: { ...machine.pki, [which]: certificatePem(flipBit(raw, raw.length * 8 - 1)) } satisfies AmdPki };
  },
});

const REPORT_SIGNATURE_BIT = 8 * (HCL_OFFSETS.hardwareReport + SNP_OFFSETS.signature);

const ROWS: Readonly<Record<string, Change>> = {
  'root is the pinned key': {
    options: () => ({ trust: { ...machine.trust, amdRootKeys: { Milan: '', Genoa: '', Turin: '' } } }),
  },
  'ark is issued by itself': spoil('ark'),
  'ask is issued by the ark': spoil('ask'),
  'vcek is issued by the ask': spoil('vcek'),
  'certificates are valid at that time': {
    evidence: () => ({ pki: reissueVcek(machine.pki, { notAfter: new Date(Date.now() - 1000) }) }),
  },
  'revocation list is signed by the ark': {
    options: () => ({ revocationLists: [issueRevocationList({ ...machine.pki, arkKey: machine.pki.askKey })] }),
  },
  'revocation list is current at that time': {
    options: () => ({
      revocationLists: [issueRevocationList(machine.pki, { nextUpdate: new Date(Date.now() - 1000) })],
    }),
  },
  'no certificate of the chain is revoked': {
    options: () => ({ revocationLists: [issueRevocationList(machine.pki, { revoked: [machine.pki.ask] })] }),
  },
  'vcek is of the generation of its chain': {
    evidence: () => ({ pki: reissueVcek(machine.pki, { product: 'Genoa' }) }),
  },
  'report is of the generation of its chain': hardware({ cpuid: [0x19, 0x11, 1] }),
  'report is signed with a vcek': hardware({ flags: 1 << 2 }),
  'chip key is not masked': hardware({ flags: 1 << 1 }),
  'report is signed by this vcek': {
    after: (evidence) => ({ ...evidence, hclReport: flipBit(evidence.hclReport, REPORT_SIGNATURE_BIT) }),
  },
  'vcek is of the reporting chip': hardware({ chipId: '5a'.repeat(64) }),
  'vcek is of the reported tcb': { evidence: { tcb: { ...tcb, snp: tcb.snp + 1 } } },
  'claims are the reported ones': hardware({ reportData: new Uint8Array(64).fill(1) }),
  'event log replays to the quoted pcrs': { after: (evidence) => ({ ...evidence, eventLog: emulatedEventLog() }) },
  'event log agrees on secure boot': bootedBy(emulatedEventLog({ secureBoot: false })),
  'quote is signed by the attestation key': {
    after: (evidence) => ({
      ...evidence,
      quote: { ...evidence.quote, signature: flipBit(evidence.quote.signature, 9) },
    }),
  },
  'quote selects one sha-256 bank': {
    evidence: {
      quote: {
        selections: [
          { algorithm: ALG_SHA256, pcrs: Object.keys(PCRS).map(Number) },
          { algorithm: 4, pcrs: [] },
        ],
      },
    },
  },
  'pcr values are the quoted ones': {
    after: (evidence) => ({ ...evidence, quote: { ...evidence.quote, pcrs: { ...PCRS, 4: 'aa'.repeat(32) } } }),
  },
  'debug is off': hardware({ debug: true }),
  'migration is not allowed': hardware({ migration: true }),
  'no migration agent is present': hardware({ reportIdMa: '00'.repeat(32) }),
  'vmpl is 0': hardware({ vmpl: 1 }),
  'generation is accepted': { options: ({ policy }) => ({ policy: { ...policy, generations: ['Genoa'] } }) },
  'revocation list is shown': { options: ({ policy }) => ({ policy: { ...policy, revocationList: 'required' } }) },
  'report version is new enough': hardware({ reportVersion: 2 }),
  'reported tcb is new enough': {
    evidence: () => ({
      pki: reissueVcek(machine.pki, { tcb: oldTcb }),
      hardware: { committedTcb: tcb, launchTcb: tcb },
    }),
  },
  'committed tcb is new enough': hardware({ committedTcb: oldTcb }),
  'launch tcb is new enough': hardware({ launchTcb: oldTcb }),
  'id key is accepted': hardware({ idKeyDigest: 'ab'.repeat(48) }),
  'guest svn is new enough': hardware({ guestSvn: STRICT_ENVIRONMENT.minimumGuestSvn - 1 }),
  'memory was checked for aliases': hardware({ platformInfo: 1 }),
  'secure boot is on': hardware({ secureBoot: false }),
  'tpm is enabled': hardware({ tpmEnabled: false }),
  'virtual machine is accepted': { options: ({ policy }) => ({ policy: { ...policy, vmIds: ['another'] } }) },
  'quote covers the required pcrs': { options: ({ policy }) => ({ policy: { ...policy, quotedPcrs: [0, 16] } }) },
  'quote nonce is the expected one': { evidence: { quote: { nonce: NONCE.slice(1) } } },
  'pcr 15 measures this run': { options: ({ expected }) => ({ expected: { ...expected, pcr15: new Uint8Array(32) } }) },
  'evidence is of this virtual machine': {
    options: ({ expected }) => ({ expected: { ...expected, vmId: VM_ID.replace('0a', '0b') } }),
  },
};

function changed(change: Change): [Evidence, VerdictOptions] {
  const changes = typeof change.evidence === 'function' ? change.evidence() : change.evidence;
  const evidence = evidenceOf(machine, changes);
  return [change.after?.(evidence) ?? evidence, { ...options, ...change.options?.(options) }];
}

test('accepts the weakest machine the strict policy allows, and states what it is', () => {
  const facts = acceptEvidence(evidenceOf(machine), options);
  expect(facts).toMatchObject({
    hardware: 'EMULATED',
    generation: 'Milan',
    reportVersion: 3,
    debug: false,
    vmUniqueId: VM_ID,
    secureBoot: true,
    chipId: machine.pki.chipId,
    reportedTcb: tcb,
    akKey: machine.akKey,
    quoteNonce: NONCE,
    quotedPcrs: Object.keys(PCRS).map(Number),
    resetCount: 5,
  });
  expect(Buffer.from(facts.pcrs.get(15) ?? []).toString('hex')).toBe(PCRS['15']);
});

test('accepts a machine that shows how it booted, and one whose log has no bytes', () => {
  const facts = acceptEvidence(...changed(bootedBy(emulatedEventLog())));
  expect(facts.boot).toMatchObject({ secureBoot: { enabled: true, authenticated: true } });
  const shown = evidenceOf(machine);
  expect(acceptEvidence({ ...shown, eventLog: new Uint8Array() }, options)).not.toHaveProperty('boot');
});

test('what the log says of a pcr that is not quoted is told, and not vouched for', () => {
  const log = emulatedEventLog();
  const pcrs = Object.fromEntries([...pcrsAfter(log)].slice(0, 7).map(([pcr, value]) => [String(pcr), toHex(value)]));
  const evidence = { ...evidenceOf(machine, { quote: { pcrs } }), eventLog: log };
  expect(verifyEvidence(evidence, options).boot).toMatchObject({
    secureBoot: { enabled: true, authenticated: false },
    bootLoaders: [{ authenticated: true }, { authenticated: true }],
    kernel: { authenticated: false },
    commandLine: { authenticated: false },
  });
});

test('a log that cannot be read is malformed evidence', () => {
  const evidence = { ...evidenceOf(machine), eventLog: emulatedEventLog().subarray(0, -1) };
  expect(() => verifyEvidence(evidence, options)).toThrow(
    expect.objectContaining({ code: 'EVIDENCE_MALFORMED', message: expect.stringContaining('event log is truncated') }),
  );
});

test('every check has a row, and every row a check', () => {
  expect(Object.keys(ROWS)).toEqual([...VERIFY_CHECKS, ...APPRAISE_CHECKS]);
});

describe.each(Object.entries(ROWS))('refuses when not: %s', (check, change) => {
  test('and names exactly that', () => {
    expect(evidenceFailures(...changed(change))).toEqual([check]);
  });

  test('by an error that carries it', () => {
    const rejected = expect.objectContaining({
      code: 'ATTESTATION_REJECTED',
      message: `attestation rejected: not (${check})`,
      failures: [check],
    });
    expect(() => acceptEvidence(...changed(change))).toThrow(rejected);
  });
});

describe('further ways to fail a check', () => {
  test.each([
    [
      'quote selects one sha-256 bank',
      { evidence: { quote: { selections: [{ algorithm: 4, pcrs: Object.keys(PCRS).map(Number) }] } } },
    ],
    [
      'pcr values are the quoted ones',
      { after: (e: Evidence) => ({ ...e, quote: { ...e.quote, pcrs: { ...PCRS, 16: '00'.repeat(32) } } }) },
    ],
    [
      'certificates are valid at that time',
      { evidence: () => ({ pki: reissueVcek(machine.pki, { notBefore: new Date(Date.now() + 60_000) }) }) },
    ],
    [
      'vcek is of the reporting chip',
      { evidence: () => ({ pki: reissueVcek(machine.pki, { hardwareId: new Uint8Array(64) }) }) },
    ],
    ['quote nonce is the expected one', { evidence: { quote: { nonce: new Uint8Array() } } }],
    [
      'reported tcb is new enough',
      {
        options: ({ policy }: VerdictOptions) => ({
          policy: { ...policy, minimumTcb: { ...policy.minimumTcb, Milan: { ...tcb, fmc: 1 } } },
        }),
      },
    ],
  ] satisfies [string, Change][])('%s', (check, change) => {
    expect(evidenceFailures(...changed(change))).toContain(check);
  });

  test('a value withheld is no better than a wrong one', () => {
    const evidence = evidenceOf(machine);
    const { 15: _, ...pcrs } = PCRS;
    const failures = evidenceFailures({ ...evidence, quote: { ...evidence.quote, pcrs } }, options);
    expect(failures).toEqual(['pcr values are the quoted ones', 'pcr 15 measures this run']);
  });

  test('report data beyond the digest must be zero', () => {
    const good = evidenceOf(machine).hclReport;
    const start = HCL_OFFSETS.hardwareReport + SNP_OFFSETS.reportData;
    const reportData = good.slice(start, start + 64);
    reportData[63] = 1;
    expect(evidenceFailures(evidenceOf(machine, { hardware: { reportData } }), options)).toEqual([
      'claims are the reported ones',
    ]);
  });
});

test('one refusal names what is wrong with the evidence and with the environment', () => {
  const evidence = evidenceOf(machine, {
    hardware: { debug: true, vmpl: 2, flags: 1 << 1 },
    quote: { nonce: new Uint8Array() },
  });
  expect(evidenceFailures(evidence, options)).toEqual([
    'chip key is not masked',
    'debug is off',
    'vmpl is 0',
    'quote nonce is the expected one',
  ]);
  expect(() => verifyEvidence(evidence, options)).toThrow('evidence is not genuine: not (chip key is not masked)');
});

test('appraisal alone refuses by the same names', () => {
  const facts = verifyEvidence(evidenceOf(machine, { hardware: { debug: true } }), options);
  const rejected = expect.objectContaining({ code: 'ATTESTATION_REJECTED', failures: ['debug is off'] });
  expect(() => appraise(facts, options.policy, options.expected)).toThrow(rejected);
});

test('a nonce of any kind passes only where the caller says so', () => {
  const evidence = evidenceOf(machine, { quote: { nonce: new Uint8Array() } });
  expect(evidenceFailures(evidence, { ...options, expected: { nonce: 'any' } })).toEqual([]);
});

describe('revocation lists', () => {
  const required = (...revocationLists: readonly Uint8Array[]): VerdictOptions => ({
    ...options,
    policy: { ...options.policy, revocationList: 'required' },
    revocationLists,
  });
  const failures = (...lists: readonly Uint8Array[]) => evidenceFailures(evidenceOf(machine), required(...lists));

  test('a clean one is what a policy may require', () => {
    const facts = acceptEvidence(evidenceOf(machine), required(issueRevocationList(machine.pki)));
    expect(facts.revocationListShown).toBe(true);
    expect(acceptEvidence(evidenceOf(machine), options).revocationListShown).toBe(false);
  });

  test.each(['vcek', 'ask', 'ark'] as const)('a revoked %s is named, whichever list says so', (which) => {
    const revoking = issueRevocationList(machine.pki, { revoked: [machine.pki[which]] });
    expect(failures(issueRevocationList(machine.pki), revoking)).toEqual(['no certificate of the chain is revoked']);
  });

  test('the certificates of another machine do not matter', () => {
    const revoked = [other.pki.vcek, other.pki.ask];
    expect(failures(issueRevocationList(machine.pki, { revoked }))).toEqual([]);
  });

  test('one of another generation is none, and neither refuses nor helps', () => {
    const revoking = issueRevocationList(other.pki, { revoked: [machine.pki.vcek] });
    expect(failures(revoking)).toEqual(['revocation list is shown']);
    expect(evidenceFailures(evidenceOf(machine), { ...options, revocationLists: [revoking] })).toEqual([]);
  });

  test('one made after the time in question counts', () => {
    const thisUpdate = new Date(options.at.getTime() + 60_000);
    expect(failures(issueRevocationList(machine.pki, { thisUpdate }))).toEqual([]);
  });

  test('certificates altered anywhere are refused beside a list too', () => {
    const shown = required(issueRevocationList(machine.pki, { revoked: [other.pki.ask] }));
    const evidence = evidenceOf(machine);
    for (const which of ['vcek', 'ask', 'ark'] as const) {
      const { raw } = parseVcekChain(evidence.vcekChain)[which];
      fc.assert(
        fc.property(fc.nat(8 * raw.length - 1), (bit) => {
          const chain = vcekChain({ ...machine.pki, [which]: certificatePem(flipBit(raw, bit)) });
          expect(() => acceptEvidence({ ...evidence, vcekChain: chain }, shown)).toThrow(
            expect.objectContaining({ code: expect.stringMatching(/^(?:EVIDENCE_MALFORMED|ATTESTATION_REJECTED)$/) }),
          );
        }),
        { numRuns: process.env.SLOW === undefined ? 60 : 2000 },
      );
    }
  });

  test('one that is none is malformed, not passed over', () => {
    expect(() => failures(issueRevocationList(machine.pki), new Uint8Array(3))).toThrow(
      expect.objectContaining({ code: 'EVIDENCE_MALFORMED' }),
    );
  });
});

test('empty allow-lists allow nothing', () => {
  const policy = { ...options.policy, generations: [], idKeyDigests: [], vmIds: [] };
  expect(evidenceFailures(evidenceOf(machine), { ...options, policy })).toEqual([
    'generation is accepted',
    'id key is accepted',
    'virtual machine is accepted',
  ]);
});

describe('other generations', () => {
  test.each(['Genoa', 'Turin'] as const)(
    '%s verifies to its own root only',
    async (generation) => {
      const other = await createMachine(generation);
      const policy = { ...STRICT_ENVIRONMENT, generations: [generation] };
      const good = { ...options, trust: other.trust, policy };
      expect(acceptEvidence(evidenceOf(other), good)).toMatchObject({ generation, reportedTcb: other.pki.tcb });
      expect(evidenceFailures(evidenceOf(other), { ...good, trust: machine.trust })).toEqual([
        'root is the pinned key',
      ]);
      expect(trustIn(other.pki)).toEqual(other.trust);
    },
    60_000,
  );
});

describe('flipping any bit of a signed part is refused', () => {
  const refused = expect.objectContaining({
    code: expect.stringMatching(/^(?:EVIDENCE_MALFORMED|ATTESTATION_REJECTED)$/),
  });
  const runs = { numRuns: process.env.SLOW === undefined ? 60 : 2000 };

  function flippedIn(from: number, to: number, flip: (evidence: Evidence, bit: number) => Evidence): void {
    const evidence = evidenceOf(machine);
    fc.assert(
      fc.property(fc.integer({ min: 8 * from, max: 8 * to - 1 }), (bit) => {
        expect(() => verifyEvidence(flip(evidence, bit), options)).toThrow(refused);
      }),
      runs,
    );
  }

  test('report', () => {
    const start = HCL_OFFSETS.hardwareReport;
    flippedIn(start, start + SNP_OFFSETS.signature, (e, bit) => ({ ...e, hclReport: flipBit(e.hclReport, bit) }));
  });

  test('claims', () => {
    const size = new DataView(evidenceOf(machine).hclReport.buffer).getUint32(HCL_OFFSETS.claimsSize, true);
    flippedIn(HCL_OFFSETS.claims, HCL_OFFSETS.claims + size, (e, bit) => ({
      ...e,
      hclReport: flipBit(e.hclReport, bit),
    }));
  });

  test('quote', () => {
    const { message } = evidenceOf(machine).quote;
    flippedIn(0, message.length, (e, bit) => ({ ...e, quote: { ...e.quote, message: flipBit(e.quote.message, bit) } }));
  });

  test.each(['vcek', 'ask', 'ark'] as const)('%s', (which) => {
    const { raw } = parseVcekChain(vcekChain(machine.pki))[which];
    // Header of the certificate, then header and content of what is signed.
    const signedEnd = 4 + 4 + new DataView(raw.buffer, raw.byteOffset).getUint16(6);
    flippedIn(0, signedEnd, (e, bit) => ({
      ...e,
      vcekChain: vcekChain({ ...machine.pki, [which]: certificatePem(flipBit(raw, bit)) }),
    }));
  });
});
