import { createPublicKey, verify } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { concat, fromHex, sha256, toHex } from '../../../runtime/crypto/bytes.ts';
import {
  buildPcrSelection,
  buildRsaPublic,
  extendPolicyPcr,
  objectName,
  parseAttest,
  parsePcrSelections,
  parseRsaPublic,
  pcrDigest,
  pcrPolicy,
  publicAreaJwk,
  type RsaPublicArea,
} from '../../../runtime/tpm/structures.ts';
import { ALGORITHM, Reader, sized, u8, u16, u32, u64 } from '../../../runtime/tpm/wire.ts';

const ephemeral: RsaPublicArea = {
  nameAlgorithm: 0x0b,
  attributes: 0x00020432,
  authPolicy: new Uint8Array(32).fill(1),
  symmetric: { algorithm: ALGORITHM.null },
  scheme: { algorithm: ALGORITHM.null },
  keyBits: 2048,
  exponent: 0,
  unique: new Uint8Array(256).fill(2),
};
const malformed = (message: string) => expect.objectContaining({ code: 'EVIDENCE_MALFORMED', message });

test.each([
  ['an ephemeral key', ephemeral],
  ['a signing key', { ...ephemeral, scheme: { algorithm: ALGORITHM.rsassa, hash: ALGORITHM.sha256 } }],
  ['a storage key', { ...ephemeral, symmetric: { algorithm: ALGORITHM.aes, keyBits: 128, mode: ALGORITHM.cfb } }],
  ['a key for RSAES', { ...ephemeral, scheme: { algorithm: ALGORITHM.rsaes } }],
])('public area of %s survives building and parsing', (_what, area) => {
  expect(parseRsaPublic(buildRsaPublic(area))).toEqual(area);
});

test("public area of an ephemeral key is byte for byte the one of Microsoft's API example", () => {
  // Azure/azure-rest-api-specs, AttestAzureGuestVm.json: size 0x0136, attributes 0x00020432.
  const bytes = buildRsaPublic(ephemeral);
  const wanted = concat(
    fromHex('01360001000b000204320020'),
    ephemeral.authPolicy,
    fromHex('0010001008000000000001' + '00'),
  );
  expect(toHex(bytes.subarray(0, wanted.length))).toBe(toHex(wanted));
  expect(objectName(bytes)).toEqual(concat(fromHex('000b'), sha256(bytes.subarray(2))));
});

test('a modulus becomes a JWK, with the default exponent where the area says 0', () => {
  const n = Buffer.alloc(256, 2).toString('base64url');
  expect(publicAreaJwk(buildRsaPublic(ephemeral))).toEqual({ kty: 'RSA', n, e: 'AQAB' });
  expect(publicAreaJwk(buildRsaPublic({ ...ephemeral, exponent: 3 }))).toEqual({ kty: 'RSA', n, e: 'Aw' });
});

test.each([
  ['another key type', sized(u16(0x23)), 'public area is of type 0x23, wanted RSA (0x1)'],
  ['bytes after it', concat(buildRsaPublic(ephemeral), u8(0)), 'TPM2B_PUBLIC has 1 bytes too many'],
  ['bytes inside it', sized(buildRsaPublic(ephemeral).subarray(2), u8(0)), 'TPMT_PUBLIC has 1 bytes too many'],
])('refuses a public area with %s', (_what, bytes, message) => {
  expect(() => parseRsaPublic(bytes)).toThrow(malformed(message));
});

test('selects pcrs as Azure does', () => {
  expect(toHex(buildPcrSelection([0, 1, 2, 3, 4, 5, 6, 7]))).toBe('00000001000b03ff0000');
  expect(() => buildPcrSelection([24])).toThrow(new RangeError('pcr must be 0 to 23, got 24'));
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 23 })), (pcrs) => {
      const read = parsePcrSelections(new Reader(buildPcrSelection(pcrs), 'selection'));
      expect(read).toEqual([{ algorithm: 0x0b, pcrs: pcrs.sort((a, b) => a - b) }]);
    }),
  );
  expect(() => parsePcrSelections(new Reader(u32(2 ** 31), 'selection'))).toThrow(
    malformed('pcr selection names 2147483648 banks, wanted 16 at the most'),
  );
});

test('a pcr policy is the digest of facts/attestation.md 4.1, whatever the order of the values', () => {
  const [zero, two] = [new Uint8Array(32).fill(5), new Uint8Array(32).fill(6)];
  const digest = sha256(zero, two);
  const wanted = sha256(new Uint8Array(32), fromHex('0000017f' + '00000001000b03050000'), digest);
  expect(
    pcrDigest(
      new Map([
        [2, two],
        [0, zero],
      ]),
    ),
  ).toEqual(digest);
  expect(
    pcrPolicy(
      new Map([
        [2, two],
        [0, zero],
      ]),
    ),
  ).toEqual(wanted);
  expect(extendPolicyPcr(new Uint8Array(32), buildPcrSelection([0, 2]), digest)).toEqual(wanted);
});

const clock = concat(u64(5n), u32(1), u32(2), u8(1), u64(0x2020031200120003n));
const quote = concat(
  u32(0xff544347),
  u16(0x8018),
  sized(u8(1)),
  sized(u8(2)),
  clock,
  buildPcrSelection([0]),
  sized(u8(3)),
);

test('reads a quote and refuses anything else', () => {
  expect(parseAttest(quote)).toEqual({
    kind: 'quote',
    qualifiedSigner: Uint8Array.of(1),
    extraData: Uint8Array.of(2),
    clock: 5n,
    resetCount: 1,
    restartCount: 2,
    safe: true,
    firmwareVersion: 0x2020031200120003n,
    selections: [{ algorithm: 0x0b, pcrs: [0] }],
    pcrDigest: Uint8Array.of(3),
  });
  const changed = (offset: number, value: number) => quote.with(offset, value);
  expect(() => parseAttest(changed(0, 0))).toThrow(malformed('TPMS_ATTEST starts with 0x544347, wanted 0xff544347'));
  expect(() => parseAttest(changed(5, 0x14))).toThrow(
    malformed('TPMS_ATTEST is of type 0x8014, wanted quote (0x8018) or certify (0x8017)'),
  );
  expect(() => parseAttest(concat(quote, u8(0)))).toThrow(malformed('TPMS_ATTEST has 1 bytes too many'));
  for (let length = 0; length < quote.length; length++) {
    expect(() => parseAttest(quote.subarray(0, length))).toThrow(
      expect.objectContaining({ code: 'EVIDENCE_MALFORMED' }),
    );
  }
});

const vectors = join(process.env.ATTESTATION_VECTORS ?? '../shared/vectors', 'azure-cvm-tooling');
if (!existsSync(vectors)) console.log(`no attestation vectors at ${vectors}: real quotes are not tested`);

test.skipIf(!existsSync(vectors))('reads a quote of a real Azure vTPM', () => {
  const file = readFileSync(join(vectors, 'quote.bin'));
  let offset = 0;
  const next = (): Uint8Array => {
    const length = Number(file.readBigUInt64LE(offset));
    offset += 8 + length;
    return Uint8Array.from(file.subarray(offset - length, offset));
  };
  const [signature, message] = [next(), next()];
  const count = Number(file.readBigUInt64LE(offset));
  const values = new Map(
    Array.from({ length: count }, (_, i) => [
      i,
      Uint8Array.from(file.subarray(offset + 8 + 32 * i, offset + 40 + 32 * i)),
    ]),
  );
  const akPublic = createPublicKey(readFileSync(join(vectors, 'akpub.pem')));
  expect(verify('sha256', message, akPublic, signature)).toBe(true);
  expect(parseAttest(message)).toMatchObject({
    kind: 'quote',
    extraData: new TextEncoder().encode('challenge'),
    firmwareVersion: 0x2020031200120003n,
    selections: [{ algorithm: 0x0b, pcrs: Array.from({ length: 24 }, (_, i) => i) }],
    pcrDigest: pcrDigest(values),
  });
});
