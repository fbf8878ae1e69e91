import { Readable } from 'node:stream';
import { createHttpHeaders, type PipelineRequest } from '@azure/core-rest-pipeline';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { managedIdentity } from '../../../runtime/azure/identity.ts';
import { readThimCertificates, readVmId } from '../../../runtime/azure/metadata.ts';
import { METADATA_ENDPOINT, send } from '../../../runtime/azure/network.ts';
import { utf8 } from '../../../runtime/crypto/bytes.ts';
import { OPERATOR, SmallAzure } from '../../emulator/small-azure.ts';

const SCOPE = 'https://vault.azure.net/.default';
const VM_ID = '0E6F2A10-3C1D-4A52-9B0E-6F1F1C0A7D11';
const azure = new SmallAzure(['unused']);

beforeAll(() =>
  azure.addMetadata({
    vmId: VM_ID,
    certification: () => ({ vcekCert: 'VCEK\n', certificateChain: 'ASK\nARK', tcbm: '' }),
  }),
);
afterEach(() => azure.faults.clear('metadata'));
afterAll(() => azure.stop());

test('a token is genuine, for the resource of the scope, and fetched once', async () => {
  const credential = managedIdentity(azure.network, OPERATOR.clientId);
  const before = azure.requests.length;
  const token = await credential.getToken(SCOPE);
  expect(azure.issuer.authenticate(`Bearer ${token?.token}`, 'https://vault.azure.net')).toEqual({
    principalId: OPERATOR.principalId,
  });
  expect(azure.issuer.authenticate(`Bearer ${token?.token}`, 'https://storage.azure.com')).toBeUndefined();
  expect((token?.expiresOnTimestamp ?? 0) - Date.now()).toBeGreaterThan(86_000_000);
  expect(await credential.getToken([SCOPE])).toBe(token);
  expect(azure.requests.length - before).toBe(1);
});

test('another resource is another token', async () => {
  const credential = managedIdentity(azure.network, OPERATOR.clientId);
  expect(await credential.getToken('https://storage.azure.com/.default')).not.toEqual(await credential.getToken(SCOPE));
});

test('an identity that the machine has not is CONFIG_INVALID, at once', async () => {
  const clientId = '11111111-2222-3333-4444-555555555555';
  await expect(managedIdentity(azure.network, clientId).getToken(SCOPE)).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: `token of identity ${clientId} for https://vault.azure.net: status 400, invalid_request, Identity not found`,
  });
});

test('a metadata service that is busy is asked again', async () => {
  await azure.faults.set('metadata', { kind: 'status', status: 429, retryAfterSeconds: 0, count: 2 });
  expect(await managedIdentity(azure.network, OPERATOR.clientId).getToken(SCOPE)).toMatchObject({
    token: expect.any(String),
  });
});

// Not through the SDK itself: a credential that misses our network asks the real metadata service of wherever this runs.
test('the form in which the SDK’s own credential asks (a slash before the query, x-client headers) is served too', async () => {
  const query = `api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net&client_id=${OPERATOR.clientId}`;
  const url = `${METADATA_ENDPOINT}/metadata/identity/oauth2/token/?${query}`;
  const { status, body } = await send(azure.network, {
    method: 'GET',
    url,
    headers: { metadata: 'true', 'x-client-sku': 'msal.js.node' },
  });
  expect(status).toBe(200);
  expect(JSON.parse(new TextDecoder().decode(body))).toEqual({
    access_token: expect.any(String),
    client_id: OPERATOR.clientId,
    expires_in: '86400',
    expires_on: expect.stringMatching(/^[0-9]+$/),
    ext_expires_in: '86400',
    not_before: expect.stringMatching(/^[0-9]+$/),
    resource: 'https://vault.azure.net',
    token_type: 'Bearer',
  });
});

test('the machine’s id is lower case', async () => {
  expect(await readVmId(azure.network)).toBe(VM_ID.toLowerCase());
});

test('certificates are one PEM text, VCEK first', async () => {
  expect(await readThimCertificates(azure.network)).toBe('VCEK\nASK\nARK\n');
});

test.each(['null', '[]', '"x"', '{"vcekCert":1}', 'x'])('certificates that are %s are malformed', async (text) => {
  const body = utf8(text);
  const network = {
    httpClient: {
      sendRequest: async (request: PipelineRequest) => ({
        request,
        status: 200,
        headers: createHttpHeaders(),
        readableStreamBody: Readable.from([body]),
      }),
    },
  };
  await expect(readThimCertificates(network)).rejects.toMatchObject({
    code: 'EVIDENCE_MALFORMED',
    message: expect.stringMatching(/^certificates of this chip/),
  });
});

test.each([
  ['no Metadata header', {}, '?api-version=2021-02-01'],
  ['a forwarded request', { metadata: 'true', 'x-forwarded-for': '10.0.0.1' }, '?api-version=2021-02-01'],
  ['no api-version', { metadata: 'true' }, ''],
])('the metadata service refuses %s', async (_name, headers, query) => {
  const url = `${METADATA_ENDPOINT}/metadata/instance/compute/vmId${query}`;
  expect(await send(azure.network, { method: 'GET', url, headers })).toMatchObject({ status: 400 });
});

test.each([
  ['another audience', (token: string) => [token, 'https://other'] as const],
  [
    'a changed payload',
    (token: string) =>
      [token.replace(/\.(.)/, (_, c) => `.${c === 'e' ? 'f' : 'e'}`), 'https://vault.azure.net'] as const,
  ],
  ['no signature', (token: string) => [token.slice(0, token.lastIndexOf('.')), 'https://vault.azure.net'] as const],
])('a token with %s is nobody’s', (_name, change) => {
  const { token } = azure.issuer.issue(OPERATOR, 'https://vault.azure.net');
  const [changed, audience] = change(token);
  expect(azure.issuer.authenticate(`Bearer ${changed}`, audience)).toBeUndefined();
});
