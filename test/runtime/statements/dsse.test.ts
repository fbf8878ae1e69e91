import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fromBase64, toBase64Url, utf8 } from '../../../runtime/crypto/bytes.ts';
import { ecPublicJwk, thumbprint } from '../../../runtime/crypto/jwk.ts';
import {
  addSignature,
  type Envelope,
  preAuthEncoding,
  type Statement,
  serialiseEnvelope,
  signersOf,
  signStatement,
  statementDigest,
  verifyEnvelope,
} from '../../../runtime/statements/dsse.ts';
import { rejection } from '../rejection.ts';

const [alice, bob, carol] = [0, 1, 2].map(() => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey) as [
  import('node:crypto').KeyObject,
  import('node:crypto').KeyObject,
  import('node:crypto').KeyObject,
];
const name = (key: typeof alice) => thumbprint(ecPublicJwk(key));
const STATEMENT: Statement = {
  _type: 'https://in-toto.io/Statement/v1',
  subject: [{ name: 'a', digest: { sha256: 'ab'.repeat(32) } }],
  predicateType: 'urn:example:v1',
  predicate: { hello: 'wörld' },
};
const signed = signStatement(STATEMENT, [alice, bob]);
const read = (envelope: unknown, ...keys: (typeof alice)[]) =>
  verifyEnvelope(utf8(JSON.stringify(envelope)), keys.length > 0 ? keys : [alice]);

// github.com/secure-systems-lab/dsse protocol.md, test vector (facts/training.md 4.2).
test('the vector of the DSSE specification', () => {
  const pae = preAuthEncoding('http://example.com/HelloWorld', utf8('hello world'));
  expect(new TextDecoder().decode(pae)).toBe('DSSEv1 29 http://example.com/HelloWorld 11 hello world');
  const coordinate = (decimal: bigint) => toBase64Url(Buffer.from(decimal.toString(16).padStart(64, '0'), 'hex'));
  const x = coordinate(46950820868899156662930047687818585632848591499744589407958293238635476079160n);
  const y = coordinate(5640078356564379163099075877009565129882514886557779369047442380624545832820n);
  const key = createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' });
  const sig = fromBase64('A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==');
  expect(verify('sha256', pae, { key, dsaEncoding: 'ieee-p1363' }, sig)).toBe(true);
});

test('lengths are of bytes, not of characters', () => {
  expect(new TextDecoder().decode(preAuthEncoding('ü', utf8('ä')))).toBe('DSSEv1 2 ü 2 ä');
});

test('signs, verifies, and names the payload by its digest', () => {
  const { statement, digest, payload } = verifyEnvelope(serialiseEnvelope(signed), [alice, ecPublicJwk(bob)]);
  expect(statement).toEqual(STATEMENT);
  expect(JSON.parse(new TextDecoder().decode(payload))).toEqual(STATEMENT);
  expect(digest).toBe(statementDigest(signed));
  expect(statementDigest(addSignature(signed, carol))).toBe(digest);
});

test('keyid is a hint that decides nothing, and payloads may be URL-safe base64', () => {
  const bare = {
    ...signed,
    payload: toBase64Url(fromBase64(signed.payload)),
    signatures: signed.signatures.map(({ sig }) => ({ sig })),
  };
  expect(read(bare, alice, bob).statement).toEqual(STATEMENT);
  const lying = { ...signed, signatures: [{ keyid: name(carol), sig: signed.signatures[0]?.sig }] };
  expect(() => read(lying, carol)).toThrow(rejection('CONSENT_MISSING', name(carol)));
});

test('lists every missing signer; one key counts once', () => {
  const failures = [bob, carol].map((key) => `no valid signature of key ${name(key)}`);
  const twice = addSignature(addSignature(signStatement(STATEMENT, []), alice), alice);
  expect(twice.signatures).toHaveLength(1);
  expect(() => read(twice, alice, bob, carol, bob)).toThrow(
    expect.objectContaining({ code: 'CONSENT_MISSING', failures }),
  );
  expect(signersOf(signed, [alice, bob, carol].map(ecPublicJwk))).toEqual([name(alice), name(bob)]);
  expect(() => verifyEnvelope(serialiseEnvelope(signed), [])).toThrow(TypeError);
});

test('a raw r|s signature is none of ours', () => {
  const raw = { ...signed, signatures: [{ keyid: '', sig: 'A'.repeat(86) }] };
  expect(() => read(raw)).toThrow(rejection('CONSENT_MISSING'));
});

test.each<[string, unknown, string]>([
  ['no object', [], 'found a list of 0, wanted an object'],
  ['no payload', { ...signed, payload: undefined }, 'payload: found nothing, wanted base64'],
  ['another payload type', { ...signed, payloadType: 'text/plain' }, 'payloadType: found "text/plain"'],
  ['no signatures', { ...signed, signatures: {} }, 'signatures: found an object, wanted a list'],
  ['a signature that is no base64', { ...signed, signatures: [{ keyid: '', sig: '*' }] }, 'signatures[0].sig'],
])('refuses %s', (_, envelope, message) => {
  expect(() => read(envelope)).toThrow(rejection('EVIDENCE_MALFORMED', message));
});

test.each<[string, object, string]>([
  ['another statement type', { ...STATEMENT, _type: 'https://in-toto.io/Statement/v0.1' }, '_type'],
  ['a subject without a digest', { ...STATEMENT, subject: [{ name: 'a', digest: {} }] }, 'subject[0].digest.sha256'],
  [
    'one subject twice',
    { ...STATEMENT, subject: [...STATEMENT.subject, ...STATEMENT.subject] },
    'subject[1]: a is there twice',
  ],
  ['a predicate that is a list', { ...STATEMENT, predicate: [] }, 'predicate'],
])('does not sign %s', (_, statement, message) => {
  expect(() => signStatement(statement as Statement, [alice])).toThrow(rejection('CONFIG_INVALID', message));
});

test('signed bytes that are no statement are malformed, not missing', () => {
  const envelope = addSignature({ payload: 'aGVsbG8=', payloadType: signed.payloadType, signatures: [] }, alice);
  expect(() => read(envelope)).toThrow(rejection('EVIDENCE_MALFORMED', 'statement is not JSON'));
});

test('any flipped byte and any truncation is refused with one of two codes', () => {
  const bytes = serialiseEnvelope(addSignature({ ...signed, signatures: [] }, alice));
  const keyidAt = new TextDecoder().decode(bytes).indexOf('"keyid"');
  const end = new TextDecoder().decode(bytes).indexOf('"sig"');
  const refused = expect.objectContaining({ code: expect.stringMatching(/^(EVIDENCE_MALFORMED|CONSENT_MISSING)$/) });
  fc.assert(
    fc.property(fc.nat(bytes.length - 2), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      const altered = bytes.map((byte, i) => (i === at ? byte ^ mask : byte));
      // Spaces between members and the hint carry no meaning: what is read must then be exactly what was signed.
      const carriesMeaning = !(at >= keyidAt && at < end) && !/\s/.test(String.fromCharCode(bytes[at] ?? 0));
      try {
        expect(verifyEnvelope(altered, [alice]).statement).toEqual(STATEMENT);
        expect(carriesMeaning && !sameBase64(altered, bytes)).toBe(false);
      } catch (error) {
        expect(error).toEqual(refused);
      }
    }),
    { numRuns: 300 },
  );
  for (const length of [0, 1, 100, bytes.length - 3]) {
    expect(() => verifyEnvelope(bytes.subarray(0, length), [alice])).toThrow(rejection('EVIDENCE_MALFORMED'));
  }
});

/** Base64 has spare bits and two alphabets: text may differ where the decoded bytes do not. */
function sameBase64(a: Uint8Array, b: Uint8Array): boolean {
  const [left, right] = [a, b].map((bytes) => JSON.parse(new TextDecoder().decode(bytes)) as Envelope);
  const bytes = (envelope: Envelope | undefined) =>
    [envelope?.payload, ...(envelope?.signatures ?? []).map(({ sig }) => sig)].map((text) =>
      toBase64Url(fromBase64(text ?? '')),
    );
  return JSON.stringify(bytes(left)) === JSON.stringify(bytes(right));
}
