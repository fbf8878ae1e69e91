import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { certificatePem } from '../../../emulator/amd-certificate.ts';
import { reissueVcek, vcekChain } from '../../../emulator/amd-pki.ts';
import { parseVcekChain } from '../../../runtime/attestation/certificates.ts';
import { derByte } from '../../../runtime/attestation/der.ts';
import { type Evidence, parseEvidence, serialiseEvidence } from '../../../runtime/attestation/evidence.ts';
import { HCL_OFFSETS, parseHclReport } from '../../../runtime/attestation/hcl-report.ts';
import { UNSUPPORTED } from '../../../runtime/attestation/malformed.ts';
import { parseQuote, verifyQuote } from '../../../runtime/attestation/quote.ts';
import {
  decodeTcb,
  encodeTcb,
  parseSnpReport,
  SNP_OFFSETS,
  SNP_REPORT_SIZE,
} from '../../../runtime/attestation/snp-report.ts';
import { examineUnverified } from '../../../runtime/attestation/verify.ts';
import { GENERATIONS } from '../../../runtime/catalogue.ts';
import { concat, fromHex, toBase64, toHex, utf8 } from '../../../runtime/crypto/bytes.ts';
import { damaged, RUNS } from '../hostile.ts';
import {
  createMachine,
  evidenceOf,
  flipBit,
  type Machine,
  NONCE,
  PCRS,
  quoteMessage,
  signQuote,
  VM_ID,
} from './machine.ts';

let machine: Machine;
let good: Evidence;

beforeAll(async () => {
  machine = await createMachine();
  good = evidenceOf(machine);
}, 60_000);

const malformed = (message: string) => expect.objectContaining({ code: 'EVIDENCE_MALFORMED', message });

/** Passes or throws EVIDENCE_MALFORMED; anything else is a bug of the parser. */
function never(parse: () => unknown): void {
  try {
    parse();
  } catch (error) {
    expect(error).toMatchObject({ name: 'SecureTrainingError', code: 'EVIDENCE_MALFORMED' });
  }
}

function patched(bytes: Uint8Array, at: number, patch: readonly number[]): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy.set(patch, at);
  return copy;
}

describe('no evidence makes a verifier throw anything but EVIDENCE_MALFORMED', () => {
  test('damaged evidence as a whole: no check throws either', () => {
    const options = { trust: machine.trust, at: new Date() };
    fc.assert(
      fc.property(
        damaged(good.hclReport),
        damaged(good.quote.message),
        fc.uint8Array(),
        (hclReport, message, signature) => {
          never(() => examineUnverified({ ...good, hclReport }, options));
          never(() => examineUnverified({ ...good, quote: { ...good.quote, message, signature } }, options));
        },
      ),
      RUNS,
    );
  });

  test('any modulus of 2048 bits', () => {
    const modulus = fc.uint8Array({ minLength: 256, maxLength: 256 });
    fc.assert(
      fc.property(modulus, (n) => {
        n[0] = 0xff;
        n[255] = (n[255] ?? 0) | 1;
        const akKey = { kty: 'RSA', n: Buffer.from(n).toString('base64url'), e: 'AQAB' } as const;
        const rejected = expect.objectContaining({ failures: ['quote is signed by the attestation key'] });
        expect(() => verifyQuote(good.quote, akKey)).toThrow(rejected);
      }),
      { numRuns: 20 },
    );
  });
});

describe('hcl report', () => {
  test('states what the paravisor wrote', () => {
    const report = parseHclReport(good.hclReport);
    expect(report).toMatchObject({
      headerVersion: 2,
      akKey: machine.akKey,
      vmConfiguration: { secureBoot: true, tpmEnabled: true, consoleEnabled: true, vmUniqueId: VM_ID },
      userData: new Uint8Array(64),
    });
    expect(JSON.parse(new TextDecoder().decode(report.runtimeClaims)).keys).toHaveLength(2);
  });

  test.each([
    ['hcl report does not start with HCLA', HCL_OFFSETS.signature, [0]],
    ['hcl header version is 3, wanted 1 or 2', HCL_OFFSETS.headerVersion, [3]],
    ['hcl request type is 1, wanted 2', HCL_OFFSETS.requestType, [1]],
    ['hcl status is 1, wanted 0', HCL_OFFSETS.status, [1]],
    ['hcl request data version is 2, wanted 1', HCL_OFFSETS.dataVersion, [2]],
    ['hcl report is of type 4 (TDX), wanted 2 (SNP)', HCL_OFFSETS.reportType, [4]],
    ['hcl hash type is 2, wanted 1', HCL_OFFSETS.hashType, [2]],
    ['hcl report has 1364 bytes of claims, its header says 4294967295', HCL_OFFSETS.claimsSize, [255, 255, 255, 255]],
    ['hcl data size is 0, wanted 1152', HCL_OFFSETS.dataSize, [0, 0, 0, 0]],
    ['hcl report size is 0, wanted 2368', HCL_OFFSETS.reportSize, [0, 0, 0, 0]],
    ['runtime claims are not JSON', HCL_OFFSETS.claims, [0xff]],
  ])('refuses: %s', (message, at, patch) => {
    expect(() => parseHclReport(patched(good.hclReport, at, patch))).toThrow(malformed(message));
  });

  test('refuses fewer bytes than a header has', () => {
    expect(() => parseHclReport(good.hclReport.slice(0, 1235))).toThrow(
      malformed('hcl report has 1235 bytes, wanted at least 1236'),
    );
  });

  /** The good report with other claims; sizes fit, the digest in the report does not, which is not for the parser to see. */
  function withClaims(change: (claims: Record<string, unknown>) => unknown): Uint8Array {
    const claims = utf8(
      JSON.stringify(change(JSON.parse(new TextDecoder().decode(parseHclReport(good.hclReport).runtimeClaims)))),
    );
    const bytes = concat(good.hclReport.slice(0, HCL_OFFSETS.claims), claims);
    const view = new DataView(bytes.buffer);
    view.setUint32(HCL_OFFSETS.claimsSize, claims.length, true);
    view.setUint32(HCL_OFFSETS.dataSize, 20 + claims.length, true);
    view.setUint32(HCL_OFFSETS.reportSize, 32 + SNP_REPORT_SIZE + 20 + claims.length, true);
    return bytes;
  }

  const ak = (change: object) => ({ kid: 'HCLAkPub', ...machine.akKey, ...change });

  test.each([
    ['runtime claims is not an object', () => []],
    ['runtime claims have no list of keys', (c: object) => ({ ...c, keys: {} })],
    ['runtime claims have 0 HCLAkPub, wanted 1', (c: object) => ({ ...c, keys: [] })],
    ['runtime claims have 2 HCLAkPub, wanted 1', (c: object) => ({ ...c, keys: [ak({}), ak({})] })],
    ['a key of the runtime claims is not an object', (c: object) => ({ ...c, keys: [null] })],
    ['HCLAkPub is not an RSA key with exponent 65537', (c: object) => ({ ...c, keys: [ak({ e: 'AQ' })] })],
    ['modulus of HCLAkPub is not an odd number of 2048 bits', (c: object) => ({ ...c, keys: [ak({ n: 'AQAB' })] })],
    ['modulus of HCLAkPub is not base64', (c: object) => ({ ...c, keys: [ak({ n: '!' })] })],
    ['vm-configuration is not an object', (c: object) => ({ ...c, 'vm-configuration': true })],
    [
      'vm-configuration has no boolean secure-boot',
      (c: object) => ({ ...c, 'vm-configuration': { 'secure-boot': 'true' } }),
    ],
    ['user-data is not 64 bytes of hexadecimal', (c: object) => ({ ...c, 'user-data': '00' })],
  ])('refuses: %s', (message, change) => {
    expect(() => parseHclReport(withClaims(change))).toThrow(malformed(message));
  });

  test('takes claims of 2022: one key, for encryption, and no user data', () => {
    const report = parseHclReport(
      withClaims(({ 'user-data': _, ...claims }) => ({
        ...claims,
        keys: [ak({ key_ops: ['encrypt'] })],
        'a new member': 1,
      })),
    );
    expect(report.akKey).toEqual(machine.akKey);
    expect(report).not.toHaveProperty('userData');
  });

  test('takes user data in both spellings', () => {
    const hex = '0123456789abcdef'.repeat(8);
    for (const spelling of [hex, hex.toUpperCase()]) {
      expect(parseHclReport(withClaims((claims) => ({ ...claims, 'user-data': spelling }))).userData).toEqual(
        fromHex(hex),
      );
    }
  });
});

describe('snp report', () => {
  const report = (): Uint8Array => parseHclReport(good.hclReport).snpReport;

  test.each([
    ['snp report version is 6, wanted 2 to 5', SNP_OFFSETS.version, [6]],
    ['snp signature algorithm is 2, wanted 1', SNP_OFFSETS.signatureAlgorithm, [2]],
    ['snp guest policy has bit 17 clear, which is always one', SNP_OFFSETS.policy, [0x1f, 0, 1]],
    ['snp guest policy has reserved bits set: 1f00030400000000', SNP_OFFSETS.policy, [0x1f, 0, 3, 4]],
    ['snp guest policy has reserved bits set: 1f00030001000000', SNP_OFFSETS.policy + 4, [1]],
    ['snp flags have reserved bits set: 20', SNP_OFFSETS.flags, [0x20]],
    ['snp report byte 0x4c is not zero, but reserved', 0x4c, [1]],
    ['snp report byte 0x18b is not zero, but reserved', 0x18b, [1]],
    ['snp report byte 0x1eb is not zero, but reserved', 0x1eb, [1]],
    ['snp report byte 0x1ef is not zero, but reserved', 0x1ef, [1]],
    ['snp report byte 0x1f8 is not zero, but reserved', 0x1f8, [1]],
    ['snp report byte 0x29f is not zero, but reserved', 0x29f, [1]],
    ['snp report byte 0x2d0 is not zero, but reserved', 0x2d0, [1]],
    ['snp report byte 0x318 is not zero, but reserved', 0x318, [1]],
    ['snp report byte 0x49f is not zero, but reserved', 0x49f, [1]],
  ])('refuses: %s', (message, at, patch) => {
    expect(() => parseSnpReport(patched(report(), at, patch))).toThrow(malformed(message));
  });

  test('refuses another size', () => {
    expect(() => parseSnpReport(new Uint8Array(1183))).toThrow(malformed('snp report has 1183 bytes, wanted 1184'));
  });

  test('an unknown version is marked as unsupported', () => {
    expect(() => parseSnpReport(patched(report(), SNP_OFFSETS.version, [6]))).toThrow(
      expect.objectContaining({ failures: [UNSUPPORTED] }),
    );
  });

  test.each([2, 3, 4, 5])('verifies in version %i', (reportVersion) => {
    const evidence = evidenceOf(machine, { hardware: { reportVersion } });
    const { facts, failures } = examineUnverified(evidence, { trust: machine.trust, at: new Date() });
    expect(failures).toEqual([]);
    expect(facts.reportVersion).toBe(reportVersion);
  });

  test('version 5 has mitigation vectors where older ones have zeros', () => {
    const bytes = patched(
      parseHclReport(evidenceOf(machine, { hardware: { reportVersion: 5 } }).hclReport).snpReport,
      0x1f8,
      [1],
    );
    expect(parseSnpReport(bytes).version).toBe(5);
  });

  test('version 2 has no cpuid, and its bytes must be zero', () => {
    const bytes = parseHclReport(evidenceOf(machine, { hardware: { reportVersion: 2 } }).hclReport).snpReport;
    expect(parseSnpReport(bytes)).not.toHaveProperty('cpuid');
    expect(() => parseSnpReport(patched(bytes, 0x188, [0x19]))).toThrow(
      malformed('snp report byte 0x188 is not zero, but reserved'),
    );
  });

  test('a later change of the input changes nothing', () => {
    const bytes = report().slice();
    const parsed = parseSnpReport(bytes);
    bytes.fill(0);
    expect(parsed.chipId).toEqual(fromHex(machine.pki.chipId));
  });
});

describe('tcb', () => {
  // The value the metadata service gave for a Milan host: "tcbm":"7308000000000003", most significant byte first.
  test('Milan has microcode last and boot loader first', () => {
    expect(decodeTcb(fromHex('0300000000000873'), 'Milan')).toEqual({
      bootloader: 3,
      tee: 0,
      snp: 8,
      microcode: 0x73,
      fmc: 0,
    });
  });

  test('Turin starts with the fmc', () => {
    expect(decodeTcb(fromHex('0102030400000005'), 'Turin')).toEqual({
      fmc: 1,
      bootloader: 2,
      tee: 3,
      snp: 4,
      microcode: 5,
    });
  });

  test.each(GENERATIONS)('%s: encoding inverts decoding, reserved bytes left out', (generation) => {
    const reserved = generation === 'Turin' ? [4, 5, 6] : [2, 3, 4, 5];
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: 8 }), (raw) => {
        const expected = raw.map((byte, at) => (reserved.includes(at) ? 0 : byte));
        expect(encodeTcb(decodeTcb(raw, generation), generation)).toEqual(expected);
      }),
      RUNS,
    );
  });
});

describe('certificates', () => {
  test('states what AMD would', () => {
    expect(parseVcekChain(good.vcekChain)).toMatchObject({
      generation: 'Milan',
      product: 'Milan-B0',
      tcb: machine.pki.tcb,
      hardwareId: fromHex(machine.pki.chipId),
    });
  });

  test('takes a hardware id in an OCTET STRING', () => {
    const wrapped = concat(Uint8Array.of(4, 64), fromHex(machine.pki.chipId));
    expect(parseVcekChain(vcekChain(reissueVcek(machine.pki, { hardwareId: wrapped }))).hardwareId).toEqual(
      fromHex(machine.pki.chipId),
    );
  });

  test('refuses what is no such chain', () => {
    const { vcek, ask, ark } = machine.pki;
    const chain = (text: string) => () => parseVcekChain(text);
    expect(chain('')).toThrow(malformed('certificate chain has 0 certificates, wanted 3: VCEK, ASK, ARK'));
    expect(chain(vcek + ask)).toThrow(malformed('certificate chain has 2 certificates, wanted 3: VCEK, ASK, ARK'));
    expect(chain(vcek + ask + ark + ark)).toThrow(
      malformed('certificate chain has 4 certificates, wanted 3: VCEK, ASK, ARK'),
    );
    expect(chain(ask + ark + vcek)).toThrow(malformed('first certificate is of "SEV-Milan", wanted "SEV-VCEK"'));
    expect(chain(vcek + ark + ask)).toThrow(
      malformed('second certificate is of "ARK-Milan", wanted SEV- and one of Milan, Genoa, Turin'),
    );
    expect(chain(certificatePem(new Uint8Array(9)) + ask + ark)).toThrow(malformed('certificate is not X.509'));
    expect(chain(' '.repeat(70_000))).toThrow(malformed('certificate chain has 70000 characters, wanted fewer'));
    expect(chain(vcekChain(reissueVcek(machine.pki, { hardwareId: new Uint8Array(63) })))).toThrow(
      malformed('hardware id of the VCEK has 63 bytes, wanted 64'),
    );
    expect(chain(vcekChain(reissueVcek(machine.pki, { product: '' })))).toThrow(
      malformed('product of the VCEK is not a name'),
    );
  });

  test.each([
    ['020100', 0],
    ['02017f', 127],
    ['02020080', 128],
    ['020200db', 219],
    ['020200ff', 255],
  ])('DER integer %s is %i', (hex, value) => {
    expect(derByte(fromHex(hex), 'x')).toBe(value);
  });

  test.each([
    ['0201ff', 'x is not an integer from 0 to 255'],
    ['0202007f', 'x is not an integer from 0 to 255'],
    ['02020100', 'x is not an integer from 0 to 255'],
    ['0200', 'x is not an integer from 0 to 255'],
    ['', 'x is not a DER integer'],
    ['040100', 'x is not a DER integer'],
    ['020100020100', 'x is not a DER integer'],
    ['0202', 'x ends inside a DER element'],
    ['02', 'x ends inside a DER length'],
    ['0280', 'x has a DER length that is indefinite, too large or longer than it need be'],
    ['02810101', 'x has a DER length that is indefinite, too large or longer than it need be'],
    ['0282000101', 'x has a DER length that is indefinite, too large or longer than it need be'],
  ])('DER integer %s is refused', (hex, message) => {
    expect(() => derByte(fromHex(hex), 'x')).toThrow(malformed(message));
  });
});

describe('quote', () => {
  test('states what the TPM signed', () => {
    expect(parseQuote(good.quote.message)).toMatchObject({
      extraData: NONCE,
      clock: 1234,
      resetCount: 5,
      restartCount: 6,
      clockSafe: true,
      firmwareVersion: '2020031200120003',
      selections: [{ algorithm: 0x0b, pcrs: Object.keys(PCRS).map(Number) }],
    });
  });

  test.each([
    ['quote starts with ff544348, wanted ff544347', { magic: 0xff544348 }],
    ['tpm statement is of type 8017, wanted 8018 (quote)', { type: 0x8017 }],
    ['quote has 1 bytes too many', { tail: new Uint8Array(1) }],
  ])('refuses: %s', (message, content) => {
    expect(() => parseQuote(quoteMessage(content))).toThrow(malformed(message));
  });

  test('refuses counts that its bytes cannot hold', () => {
    // Behind the fixed fields of a quote without nonce: 4 + 2 + 36 + 2 + 8 + 4 + 4 + 1 + 8.
    const empty = quoteMessage({ nonce: new Uint8Array() });
    expect(() => parseQuote(patched(empty, 69, [0xff, 0xff, 0xff, 0xff]))).toThrow(
      malformed('quote has 4294967295 pcr selections, wanted at most 16'),
    );
    expect(() => parseQuote(patched(empty, 75, [5]))).toThrow(malformed('pcr selection has 5 bytes, wanted at most 4'));
    expect(() => parseQuote(empty.slice(0, -1))).toThrow(
      malformed(`quote ends at byte ${empty.length - 1}, inside a field`),
    );
  });

  test('any prefix is refused', () => {
    for (let length = 0; length < good.quote.message.length; length++) {
      expect(() => parseQuote(good.quote.message.slice(0, length))).toThrow(
        expect.objectContaining({ code: 'EVIDENCE_MALFORMED' }),
      );
    }
  });

  test('verifies by the key that signed it, whatever PCRs it selects', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(23)), (selected) => {
        const pcrs = Object.fromEntries(selected.map((pcr) => [String(pcr), toHex(new Uint8Array(32).fill(pcr))]));
        expect(verifyQuote(signQuote(machine.ak, { pcrs }), machine.akKey).selections[0]?.pcrs).toEqual(
          selected.toSorted((a, b) => a - b),
        );
      }),
      { numRuns: 20 },
    );
  });

  test('names every failure', () => {
    const quote = { ...signQuote(machine.ak, { selections: [] }), signature: flipBit(good.quote.signature, 0) };
    const failures = [
      'quote is signed by the attestation key',
      'quote selects one sha-256 bank',
      'pcr values are the quoted ones',
    ];
    expect(() => verifyQuote(quote, machine.akKey)).toThrow(
      expect.objectContaining({
        code: 'ATTESTATION_REJECTED',
        message: `quote rejected: not (${failures.join('; ')})`,
        failures,
      }),
    );
  });
});

describe('evidence', () => {
  test('round trip', () => {
    const full = { ...good, eventLog: Uint8Array.of(1, 2), nonce: NONCE };
    expect(parseEvidence(JSON.parse(JSON.stringify(serialiseEvidence(full))))).toEqual(full);
    expect(parseEvidence(serialiseEvidence(good))).toEqual(good);
  });

  test.each([
    ['evidence is not an object', () => null],
    ['evidence is not an object', () => []],
    ['evidence version is 2, wanted 1', (b: object) => ({ ...b, version: 2 })],
    ['evidence version is undefined, wanted 1', () => ({})],
    ['evidence has an unknown member "extra"', (b: object) => ({ ...b, extra: 1 })],
    ['hclReport is undefined, wanted text', (b: object) => ({ ...b, hclReport: undefined })],
    ['hclReport is not base64', (b: object) => ({ ...b, hclReport: '*' })],
    ['vcekChain is an object, wanted text', (b: object) => ({ ...b, vcekChain: [] })],
    ['nonce is 7, wanted text', (b: object) => ({ ...b, nonce: 7 })],
    ['quote is not an object', (b: object) => ({ ...b, quote: 'quote' })],
    ['quote.pcrs has a member "24", wanted 0 to 23', (b: object) => ({ ...b, quote: { ...pcrs({ 24: '' }) } })],
    ['quote.pcrs has a member "01", wanted 0 to 23', (b: object) => ({ ...b, quote: { ...pcrs({ '01': '' }) } })],
    ['pcr 0 has 1 bytes, wanted 32', (b: object) => ({ ...b, quote: { ...pcrs({ 0: 'aa' }) } })],
    ['pcr 0 is not hexadecimal', (b: object) => ({ ...b, quote: { ...pcrs({ 0: 'xx' }) } })],
  ])('refuses: %s', (message, change) => {
    expect(() => parseEvidence(change(serialiseEvidence(good)))).toThrow(malformed(message));
  });

  function pcrs(values: Record<string, string>): object {
    return { message: toBase64(good.quote.message), signature: '', pcrs: values };
  }
});
