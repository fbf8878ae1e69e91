import { constants, generateKeyPairSync, privateDecrypt } from 'node:crypto';
import { expect, test } from 'vitest';
import { parseGuestRequest } from '../../../emulator/azure-guest-request.ts';
import { sealToken } from '../../../emulator/guest-token.ts';
import { buildAzureGuestRequest, openAzureGuestResponse } from '../../../runtime/attestation/azure-guest.ts';
import { fromBase64, toBase64, toBase64Url, utf8 } from '../../../runtime/crypto/bytes.ts';
import { rsaPublicJwk } from '../../../runtime/crypto/jwk.ts';

const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const decrypt = async (cipher: Uint8Array) =>
  Uint8Array.from(privateDecrypt({ key: privateKey, padding: constants.RSA_PKCS1_PADDING }, cipher));
const sealed = () => sealToken('a.b.c', rsaPublicJwk(publicKey));
const inner = (body: { token: string }) =>
  JSON.parse(new TextDecoder().decode(fromBase64(body.token))) as Record<string, unknown>;
const outer = (value: object) => ({ token: toBase64(utf8(JSON.stringify(value))) });

const request = {
  akCertificate: Uint8Array.of(1),
  akPublicArea: Uint8Array.of(2),
  pcrQuote: {
    message: Uint8Array.of(3),
    signature: Uint8Array.of(4),
    pcrs: { '1': '11'.repeat(32), '0': '00'.repeat(32) },
  },
  ephemeral: { publicArea: Uint8Array.of(5), certifyInfo: Uint8Array.of(6), certifySignature: Uint8Array.of(7) },
  nonce: 'n',
  snpReport: Uint8Array.of(8),
  runtimeClaims: Uint8Array.of(9),
  vcekChain: 'PEM',
};

test('writes the request as the public client does', () => {
  const { AttestationInfo } = buildAzureGuestRequest(request);
  expect(AttestationInfo).toMatch(/^[A-Za-z0-9_-]+$/);
  const info = JSON.parse(new TextDecoder().decode(fromBase64(AttestationInfo))) as Record<string, unknown>;
  expect(info).toMatchObject({
    AttestationProtocolVersion: '2.0',
    OSType: 'TGludXg=',
    TcgLogs: '',
    ClientPayload: { nonce: 'bg==' },
    TpmInfo: { AikCert: 'AQ==', AikPub: 'Ag==', EncKeyPub: 'BQ==', PcrSet: [0, 1], PCRs: [{ Index: 0 }, { Index: 1 }] },
    IsolationInfo: { Type: 'SevSnp', Evidence: { RunTimeData: 'CQ==' } },
  });
  const { Evidence } = info.IsolationInfo as { Evidence: { Proof: string } };
  expect(JSON.parse(new TextDecoder().decode(fromBase64(Evidence.Proof)))).toEqual({
    SnpReport: 'CA',
    VcekCertChain: 'UEVN',
  });
});

test('what is built is what is read', () => {
  expect(parseGuestRequest(buildAzureGuestRequest(request))).toMatchObject({
    snpReport: request.snpReport,
    vcekChain: 'PEM',
    quote: request.pcrQuote,
    ephemeral: request.ephemeral,
    clientPayload: { nonce: 'bg==' },
  });
});

test('opens the answer in either alphabet', async () => {
  const body = sealed();
  await expect(openAzureGuestResponse(body, decrypt)).resolves.toBe('a.b.c');
  await expect(openAzureGuestResponse({ token: toBase64Url(fromBase64(body.token)) }, decrypt)).resolves.toBe('a.b.c');
});

test.each<[string, string, (value: Record<string, unknown>) => object]>([
  [
    'EVIDENCE_MALFORMED',
    'iv has 12 bytes and tag 4, wanted 12 and 16',
    (value) => ({ ...value, AuthenticationData: 'AAAAAA==' }),
  ],
  [
    'EVIDENCE_MALFORMED',
    'EncryptionParams.BlockMode: wanted ChainingModeGCM',
    (value) => ({
      ...value,
      EncryptionParams: { ...(value.EncryptionParams as object), BlockMode: 'ChainingModeCBC' },
    }),
  ],
  ['EVIDENCE_MALFORMED', 'Jwt is not text', ({ Jwt: _, ...value }) => value],
  [
    'ATTESTATION_REJECTED',
    'the attestation answer was not sealed to this machine',
    (value) => ({ ...value, Jwt: 'AAAAAAA=' }),
  ],
  [
    'ATTESTATION_REJECTED',
    'the attestation answer was not sealed to this machine',
    (value) => ({ ...value, AuthenticationData: toBase64(new Uint8Array(16)) }),
  ],
])('refuses an altered answer: %s, %s', async (code, message, change) => {
  await expect(openAzureGuestResponse(outer(change(inner(sealed()))), decrypt)).rejects.toThrow(
    expect.objectContaining({ code, message }),
  );
});

test.each([[undefined], [{}], [{ token: 1 }], [{ token: 'AAAA' }]])('refuses what is no answer: %j', async (body) => {
  await expect(openAzureGuestResponse(body, decrypt)).rejects.toMatchObject({ code: 'EVIDENCE_MALFORMED' });
});

test('the inner key is zeroed', async () => {
  let key: Uint8Array = new Uint8Array();
  await openAzureGuestResponse(sealed(), async (cipher) => {
    key = await decrypt(cipher);
    return key;
  });
  expect(key).toEqual(new Uint8Array(32));
});
