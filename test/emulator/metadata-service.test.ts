import { createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { metadataService } from '../../emulator/metadata-service.ts';
import { createVtpmAuthority, issueAkCertificate, renewAkCertificate } from '../../emulator/service-pki.ts';
import { Services } from './services.ts';
import { OPERATOR, SmallAzure } from './small-azure.ts';

const VM_ID = '0a1b2c3d-0001-4002-8003-a0b0c0d0e0f0';
const NOW = new Date();
const LONG_AGO = new Date(NOW.getTime() - 3620 * 86_400_000);
const RENEW = '/metadata/THIM/tvm/certificate/renew?api-version=2023-07-01&vmId=v&requestId=r';
const authority = createVtpmAuthority(LONG_AGO);
const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const old = new X509Certificate(issueAkCertificate(authority, publicKey, VM_ID, LONG_AGO));
const azure = new SmallAzure(['unused.azure.net']);
const services = new Services();
let base: string;

beforeAll(async () => {
  const machine = {
    vmId: VM_ID,
    certification: () => ({ vcekCert: 'VCEK', certificateChain: 'ASK', tcbm: '' }),
    renewAkCertificate: (pem: string) => renewAkCertificate(authority, pem, VM_ID, NOW),
  };
  base = await services.listen(metadataService({ issuer: azure.issuer, identities: [OPERATOR], machine }));
});
afterAll(() => services.close());

async function renew(body: string, headers: Record<string, string> = { metadata: 'true' }) {
  const response = await fetch(base + RENEW, { method: 'POST', body, headers: { connection: 'close', ...headers } });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

/** As the C++ client writes it: base64 in one line. */
const oneLine = (certificate: X509Certificate) =>
  encodeURIComponent(`-----BEGIN CERTIFICATE-----\n${certificate.raw.toString('base64')}\n-----END CERTIFICATE-----`);

test.each([
  ['in one line', oneLine(old)],
  ['in lines of 64', encodeURIComponent(old.toString())],
  ['with the rest of its index', oneLine({ raw: Buffer.concat([old.raw, Buffer.alloc(100)]) } as X509Certificate)],
])('renews a certificate for the same key: %s', async (_, body) => {
  const answer = await renew(body);
  expect(answer).toMatchObject({ status: 200, body: { CertQueryId: expect.any(String) } });
  const renewed = new X509Certificate(String(answer.body.AkCertPem));
  expect(renewed.publicKey.export({ format: 'jwk' })).toEqual(publicKey.export({ format: 'jwk' }));
  expect(renewed.verify(createPublicKey(authority.chain[0] ?? ''))).toBe(true);
  expect(renewed.validToDate.getTime()).toBeGreaterThan(old.validToDate.getTime());
});

const foreign = () => new X509Certificate(issueAkCertificate(createVtpmAuthority(NOW), publicKey, VM_ID, NOW));
test.each([
  ['a certificate of another authority', () => oneLine(foreign()), 'no certificate of this machine’s attestation key'],
  ['no certificate', () => 'AAAA', 'no certificate of this machine’s attestation key'],
  ['nothing', () => '', 'no certificate of this machine’s attestation key'],
  ['a body that is not URL-encoded', () => '%', 'body is not URL-encoded'],
])('renews nothing for %s', async (_, body, error_description) => {
  expect(await renew(body())).toEqual({ status: 400, body: { error: 'Bad request', error_description } });
});

test('renews nothing without the header, nor by GET', async () => {
  const reason = (error_description: string) => ({ status: 400, body: { error_description } });
  expect(await renew(oneLine(old), {})).toMatchObject(reason('header Metadata: true is missing'));
  const got = await fetch(base + RENEW, { headers: { metadata: 'true', connection: 'close' } });
  expect({ status: got.status, body: await got.json() }).toMatchObject(reason('only POST is served'));
});
