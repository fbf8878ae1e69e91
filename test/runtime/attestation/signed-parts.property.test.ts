import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { certificatePem } from '../../../emulator/amd-certificate.ts';
import { AMD_ROOT_KEYS } from '../../../runtime/attestation/amd-roots.ts';
import { parseVcekChain } from '../../../runtime/attestation/certificates.ts';
import type { Evidence } from '../../../runtime/attestation/evidence.ts';
import { HCL_OFFSETS, parseHclReport } from '../../../runtime/attestation/hcl-report.ts';
import { SNP_OFFSETS, SNP_REPORT_SIZE } from '../../../runtime/attestation/snp-report.ts';
import { verifyToken } from '../../../runtime/attestation/token.ts';
import { type VerifyOptions, verifyEvidence } from '../../../runtime/attestation/verify.ts';
import { concat, fromBase64, toBase64, toBase64Url, utf8 } from '../../../runtime/crypto/bytes.ts';
import { parseReleaseReply, replyFailures } from '../../../runtime/keys/release-reply.ts';
import { type Envelope, STATEMENT_TYPE, signStatement, verifyEnvelope } from '../../../runtime/statements/dsse.ts';
import { FEW_RUNS } from '../hostile.ts';
import { createMachine, evidenceOf, flipBit, type Machine } from './machine.ts';
import { createExchange, type SignedExchange } from './signed-exchange.ts';
import { milan2023, milan2025, VECTORS_ABSENT } from './vectors.ts';

/** Bytes under a signature, or a signature, and what is made of them; `accept` throws unless everything holds. */
interface SignedPart {
  readonly bytes: Uint8Array;
  readonly accept: (bytes: Uint8Array) => unknown;
}
type SignedParts = Readonly<Record<string, SignedPart>>;

const REFUSALS = ['EVIDENCE_MALFORMED', 'ATTESTATION_REJECTED', 'RELEASE_DENIED', 'CONSENT_MISSING'];

/** Part by part, so that the small ones are not drowned: good as it is, refused with any one bit flipped. */
function refusesEveryFlip(parts: SignedParts): void {
  const failed: string[] = [];
  for (const [name, { bytes, accept }] of Object.entries(parts)) {
    accept(bytes);
    const flips = fc.integer({ min: 0, max: 8 * bytes.length - 1 });
    const refused = fc.property(flips, (bit) => {
      expect(codeOf(() => accept(flipBit(bytes, bit)))).toBeOneOf(REFUSALS);
    });
    const { failed: found, counterexample } = fc.check(refused, FEW_RUNS);
    if (found) failed.push(`${name}: bit ${counterexample?.[0]}`);
  }
  expect(failed).toEqual([]);
}

function codeOf(work: () => unknown): unknown {
  try {
    work();
    return 'accepted';
  } catch (error) {
    return (error as { code?: unknown }).code ?? error;
  }
}

/** All that is signed in evidence, and all that signs: from the root's certificate to the quote. */
function partsOfEvidence(good: Evidence, options: VerifyOptions): SignedParts {
  const verify = (change: Partial<Evidence>) => verifyEvidence({ ...good, ...change }, options);
  const { hclReport, quote } = good;
  const chain = parseVcekChain(good.vcekChain);
  const inReport = (from: number, length: number): SignedPart => ({
    bytes: hclReport.slice(from, from + length),
    accept: (bytes) => verify({ hclReport: concat(hclReport.slice(0, from), bytes, hclReport.slice(from + length)) }),
  });
  const certificate = (which: 'vcek' | 'ask' | 'ark'): SignedPart => ({
    bytes: Uint8Array.from(chain[which].raw),
    accept: (raw) => {
      const der = { vcek: chain.vcek.raw, ask: chain.ask.raw, ark: chain.ark.raw, [which]: raw };
      return verify({ vcekChain: [der.vcek, der.ask, der.ark].map((each) => certificatePem(each)).join('') });
    },
  });
  const report = HCL_OFFSETS.hardwareReport;
  return {
    report: inReport(report, SNP_OFFSETS.signature),
    'signature of the report': inReport(report + SNP_OFFSETS.signature, SNP_REPORT_SIZE - SNP_OFFSETS.signature),
    'runtime claims': inReport(HCL_OFFSETS.claims, parseHclReport(hclReport).runtimeClaims.length),
    vcek: certificate('vcek'),
    ask: certificate('ask'),
    ark: certificate('ark'),
    quote: { bytes: quote.message, accept: (message) => verify({ quote: { ...quote, message } }) },
    'signature of the quote': {
      bytes: quote.signature,
      accept: (signature) => verify({ quote: { ...quote, signature } }),
    },
  };
}

/** Header and payload are signed as text; the signature is flipped as bytes, for base64 has bits that mean nothing. */
function partsOfJws(text: string, accept: (text: string) => unknown): SignedParts {
  const [header = '', payload = '', signature = ''] = text.split('.');
  // A flipped character may be none: the parsers are to say so.
  const latin1 = (bytes: Uint8Array) => new TextDecoder('latin1').decode(bytes);
  return {
    header: { bytes: utf8(header), accept: (bytes) => accept(`${latin1(bytes)}.${payload}.${signature}`) },
    'decoded header': {
      bytes: fromBase64(header),
      accept: (bytes) => accept(`${toBase64Url(bytes)}.${payload}.${signature}`),
    },
    payload: { bytes: utf8(payload), accept: (bytes) => accept(`${header}.${latin1(bytes)}.${signature}`) },
    'decoded payload': {
      bytes: fromBase64(payload),
      accept: (bytes) => accept(`${header}.${toBase64Url(bytes)}.${signature}`),
    },
    signature: {
      bytes: fromBase64(signature),
      accept: (bytes) => accept(`${header}.${payload}.${toBase64Url(bytes)}`),
    },
  };
}

let machine: Machine;
let exchange: SignedExchange;

beforeAll(async () => {
  machine = await createMachine();
  exchange = await createExchange(machine);
}, 60_000);

describe('flipping any bit of a signed part is refused', () => {
  test('evidence', () => {
    refusesEveryFlip(partsOfEvidence(evidenceOf(machine), { trust: machine.trust, at: new Date() }));
  });

  test('token', () => {
    refusesEveryFlip(partsOfJws(exchange.jwt, (jwt) => verifyToken(jwt, exchange.tokenExpectations)));
  });

  test('release reply', () => {
    refusesEveryFlip(
      partsOfJws(exchange.reply, (text) => {
        const failures = replyFailures(parseReleaseReply(text), exchange.replyExpectations);
        if (failures.length > 0) throw Object.assign(new Error(failures.join('; ')), { code: 'RELEASE_DENIED' });
      }),
    );
  });

  test('statement', () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const statement = { _type: STATEMENT_TYPE, subject: [], predicateType: 'urn:x', predicate: { a: 1 } } as const;
    const envelope = signStatement(statement, [privateKey]);
    const verify = (change: Partial<Envelope>) =>
      verifyEnvelope(utf8(JSON.stringify({ ...envelope, ...change })), [privateKey]);
    refusesEveryFlip({
      payload: { bytes: fromBase64(envelope.payload), accept: (bytes) => verify({ payload: toBase64(bytes) }) },
      'payload type': {
        bytes: utf8(envelope.payloadType),
        accept: (bytes) => verify({ payloadType: new TextDecoder('latin1').decode(bytes) }),
      },
      signature: {
        bytes: fromBase64(envelope.signatures[0]?.sig ?? ''),
        accept: (bytes) => verify({ signatures: [{ keyid: '', sig: toBase64(bytes) }] }),
      },
    });
  });

  describe.skipIf(VECTORS_ABSENT)('public evidence', () => {
    const trust = { hardware: 'SEV-SNP', amdRootKeys: AMD_ROOT_KEYS, vaultRoots: [] } as const;

    test.each([
      ['Milan of 2025', milan2025, '2025-10-01T00:00:00Z'],
      ['Milan of 2023', milan2023, '2024-06-01T00:00:00Z'],
    ])('%s', (_, evidence, at) => {
      refusesEveryFlip(partsOfEvidence(evidence(), { trust, at: new Date(at) }));
    });
  });
});
