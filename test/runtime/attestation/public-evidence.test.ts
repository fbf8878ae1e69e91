import { createPublicKey, X509Certificate } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { AMD_ROOT_KEYS } from '../../../runtime/attestation/amd-roots.ts';
import { parseVcekChain } from '../../../runtime/attestation/certificates.ts';
import { type Evidence, parseEvidence, serialiseEvidence } from '../../../runtime/attestation/evidence.ts';
import { parseHclReport } from '../../../runtime/attestation/hcl-report.ts';
import { UNSUPPORTED } from '../../../runtime/attestation/malformed.ts';
import { verifyQuote } from '../../../runtime/attestation/quote.ts';
import { parseSnpReport } from '../../../runtime/attestation/snp-report.ts';
import { acceptEvidence, evidenceFailures, type VerdictOptions } from '../../../runtime/attestation/verdict.ts';
import { examineUnverified } from '../../../runtime/attestation/verify.ts';
import { type EnvironmentPolicy, GENERATIONS, STRICT_ENVIRONMENT } from '../../../runtime/catalogue.ts';
import { fromBase64, sha256, toHex, utf8 } from '../../../runtime/crypto/bytes.ts';
import { rsaPublicJwk } from '../../../runtime/crypto/jwk.ts';
import { bincodeQuote, CHALLENGE, milan2023, milan2025, textVector, VECTORS_ABSENT, vector } from './vectors.ts';

const trust = { hardware: 'SEV-SNP', amdRootKeys: AMD_ROOT_KEYS, vaultRoots: [] } as const;

const OF_2025: VerdictOptions = {
  trust,
  at: new Date('2025-10-01T00:00:00Z'),
  policy: STRICT_ENVIRONMENT,
  expected: { nonce: utf8(CHALLENGE) },
};

/** What a machine of 2023 was: version 2 reports had no alias check, and firmware older than EntrySign. */
const POLICY_OF_2023: EnvironmentPolicy = {
  ...STRICT_ENVIRONMENT,
  minimumTcb: { ...STRICT_ENVIRONMENT.minimumTcb, Milan: { bootloader: 3, tee: 0, snp: 8, microcode: 115, fmc: 0 } },
  minimumReportVersion: 2,
  idKeyDigests: ['0356215882a825279a85b300b0b742931d113bf7e32dde2e50ffde7ec743ca491ecdd7f336dc28a6e0b2bb57af7a44a3'],
  minimumGuestSvn: 5,
  requireAliasCheck: false,
};
const OF_2023: VerdictOptions = { ...OF_2025, at: new Date('2024-06-01T00:00:00Z'), policy: POLICY_OF_2023 };

const malformed = (message: string) => expect.objectContaining({ code: 'EVIDENCE_MALFORMED', message });

describe.skipIf(VECTORS_ABSENT)('public evidence', () => {
  test('Milan of 2025 satisfies the strict policy', () => {
    expect(acceptEvidence(milan2025(), OF_2025)).toMatchObject({
      hardware: 'SEV-SNP',
      generation: 'Milan',
      product: 'Milan-B0',
      reportVersion: 3,
      guestSvn: 10,
      reportedTcb: { bootloader: 4, tee: 0, snp: 24, microcode: 219, fmc: 0 },
      vmUniqueId: '26f8bc30-774e-4290-8e7a-535f3b672aee',
      firmwareVersion: '1.55.29',
    });
  });

  test('Milan of 2023 satisfies a policy of its day', () => {
    expect(acceptEvidence(milan2023(), OF_2023)).toMatchObject({
      generation: 'Milan',
      reportVersion: 2,
      vmUniqueId: '911b0ef8-9dba-48b0-b275-4e4df2d39252',
      aliasCheckComplete: false,
    });
  });

  test('both survive the bundle they travel in', () => {
    for (const [evidence, options] of [
      [milan2025(), OF_2025],
      [milan2023(), OF_2023],
    ] as const) {
      const bundle = JSON.parse(JSON.stringify(serialiseEvidence(evidence)));
      expect(evidenceFailures(parseEvidence(bundle), options)).toEqual([]);
    }
  });

  test('Milan of 2023 fails the strict policy in everything that changed since', () => {
    expect(evidenceFailures(milan2023(), { ...OF_2023, policy: STRICT_ENVIRONMENT })).toEqual([
      'report version is new enough',
      'reported tcb is new enough',
      'committed tcb is new enough',
      'launch tcb is new enough',
      'id key is accepted',
      'guest svn is new enough',
      'memory was checked for aliases',
    ]);
  });

  test('quote.bin is the quote of tpm-quote-v1.json', () => {
    const evidence = { ...milan2023(), quote: bincodeQuote(vector('trustee/az-snp-vtpm/quote.bin')) };
    expect(evidenceFailures(evidence, OF_2023)).toEqual([]);
  });

  test.each([
    [
      'a wrong nonce',
      () => milan2025(),
      { expected: { nonce: utf8('Challenge') } },
      ['quote nonce is the expected one'],
    ],
    [
      'a day after the certificates',
      () => milan2025(),
      { at: new Date('2045-10-23T00:00:00Z') },
      ['certificates are valid at that time'],
    ],
    [
      'a day before them',
      () => milan2025(),
      { at: new Date('2020-10-21T00:00:00Z') },
      ['certificates are valid at that time'],
    ],
    [
      'the chain of another chip',
      () => ({ ...milan2025(), vcekChain: milan2023().vcekChain }),
      {},
      ['report is signed by this vcek', 'vcek is of the reporting chip', 'vcek is of the reported tcb'],
    ],
    [
      'the quote of another machine',
      () => ({ ...milan2025(), quote: milan2023().quote }),
      {},
      ['quote is signed by the attestation key'],
    ],
    [
      'pcr values of another machine',
      () => ({ ...milan2025(), quote: { ...milan2025().quote, pcrs: milan2023().quote.pcrs } }),
      {},
      ['pcr values are the quoted ones'],
    ],
    [
      'a root nobody pinned',
      () => milan2025(),
      { trust: { ...trust, amdRootKeys: { ...AMD_ROOT_KEYS, Milan: AMD_ROOT_KEYS.Genoa } } },
      ['root is the pinned key'],
    ],
  ] satisfies [string, () => Evidence, Partial<VerdictOptions>, string[]][])(
    'refuses %s',
    (_, evidence, change, failures) => {
      expect(evidenceFailures(evidence(), { ...OF_2025, ...change })).toEqual(failures);
    },
  );

  test('refuses trustee tpm-quote.msg: another machine made it', () => {
    const quote = {
      message: vector('trustee/az-snp-vtpm/tpm-quote.msg'),
      signature: vector('trustee/az-snp-vtpm/tpm-quote.sig'),
      pcrs: milan2023().quote.pcrs,
    };
    expect(evidenceFailures({ ...milan2023(), quote }, OF_2023)).toContain('quote is signed by the attestation key');
  });

  test('azure-cvm-tooling: report, chain and quote come from three machines', () => {
    const evidence = {
      hclReport: vector('azure-cvm-tooling/hcl-report-snp.bin'),
      vcekChain: textVector('azure-cvm-tooling/certs.pem'),
      quote: bincodeQuote(vector('azure-cvm-tooling/quote.bin')),
    };
    expect(parseHclReport(evidence.hclReport)).toMatchObject({
      headerVersion: 1,
      vmConfiguration: { secureBoot: true },
    });
    expect(evidenceFailures(evidence, OF_2023)).toEqual(
      expect.arrayContaining(['report is signed by this vcek', 'quote is signed by the attestation key']),
    );
  });

  test('azure-cvm-tooling: the quote alone holds by its own key', () => {
    const akKey = rsaPublicJwk(createPublicKey(textVector('azure-cvm-tooling/akpub.pem')));
    const quote = verifyQuote(bincodeQuote(vector('azure-cvm-tooling/quote.bin')), akKey);
    expect(new TextDecoder().decode(quote.extraData)).toBe(CHALLENGE);
    expect(quote.firmwareVersion).toBe('2020031200120003');
  });

  test('a TDX report is of a kind this verifier does not know', () => {
    const report = vector('azure-cvm-tooling/hcl-report-tdx.bin');
    expect(() => parseHclReport(report)).toThrow(malformed('hcl report is of type 4 (TDX), wanted 2 (SNP)'));
    expect(() => parseHclReport(report)).toThrow(expect.objectContaining({ failures: [UNSUPPORTED] }));
  });

  test('go-sev-guest: a report with debug on, and says so', () => {
    const report = parseSnpReport(vector('go-sev-guest/attestation.bin'));
    expect(report).toMatchObject({ version: 2, policy: { debug: true, raw: 0xb0000 } });
  });

  test('azure-samples-maa: genuine report, but the claims are not its own', () => {
    const request = JSON.parse(textVector('azure-samples-maa/attest-sevsnpvm-request.json'));
    const report = JSON.parse(new TextDecoder().decode(fromBase64(request.report)));
    const chain = parseVcekChain(new TextDecoder().decode(fromBase64(report.VcekCertChain)));
    expect(chain.generation).toBe('Milan');
    const hclReport = milan2023().hclReport;
    hclReport.set(fromBase64(report.SnpReport), 0x20);
    const evidence = {
      ...milan2023(),
      hclReport,
      vcekChain: new TextDecoder().decode(fromBase64(report.VcekCertChain)),
    };
    const options = { trust, at: new Date('2023-06-01T00:00:00Z') };
    expect(examineUnverified(evidence, options).failures).toEqual(['claims are the reported ones']);
  });

  test.each(GENERATIONS)('the pinned key of %s is that of AMD’s root', (generation) => {
    const pem = textVector(`trustee/amd-roots/${generation.toLowerCase()}_ask_ark_asvk.pem`);
    const [ask = '', ark = ''] = pem.split(/(?<=-----END CERTIFICATE-----)/);
    const root = new X509Certificate(ark);
    expect(new X509Certificate(ask).verify(root.publicKey)).toBe(true);
    expect(toHex(sha256(root.publicKey.export({ type: 'spki', format: 'der' })))).toBe(AMD_ROOT_KEYS[generation]);
  });
});
