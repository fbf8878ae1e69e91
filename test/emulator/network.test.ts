import { KeyClient } from '@azure/keyvault-keys';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { emulatorNetwork } from '../../emulator/network.ts';
import { createTlsMaterial } from '../../emulator/tls.ts';
import { managedIdentity } from '../../runtime/azure/identity.ts';
import { send } from '../../runtime/azure/network.ts';
import { request } from '../../runtime/azure/request.ts';
import { AT_ONCE, OPERATOR, SmallAzure } from './small-azure.ts';

const HOST = 'kv-owner.vault.azure.net';
const url = `https://${HOST}/keys`;
const azure = new SmallAzure([HOST]);
const seen: { host: string | undefined; body: string; method: string | undefined }[] = [];

beforeAll(async () => {
  await azure.add({
    service: 'vault',
    hosts: [HOST],
    handler: async (incoming, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of incoming) chunks.push(chunk as Buffer);
      seen.push({ host: incoming.headers.host, body: Buffer.concat(chunks).toString(), method: incoming.method });
      response.writeHead(200, { 'x-word': 'yes' });
      response.end(Uint8Array.of(0, 255, 254, 10));
    },
  });
  await azure.addMetadata();
});
afterEach(async () => {
  await azure.faults.clear('vault');
  seen.length = 0;
});
afterAll(() => azure.stop());

test('a real name leads to a port of this machine, and stays what it is on the wire', async () => {
  const response = await send(azure.network, { method: 'POST', url, body: 'text' });
  expect(response).toMatchObject({ status: 200, headers: { 'x-word': 'yes' }, body: Uint8Array.of(0, 255, 254, 10) });
  expect(seen).toEqual([{ host: HOST, body: 'text', method: 'POST' }]);
  expect(azure.requests.at(-1)).toEqual({ service: 'vault', host: HOST, method: 'POST', path: '/keys' });
});

test.each(['https://example.com/', `https://${HOST}:8443/`, 'http://127.0.0.1/'])(
  '%s is refused before any connection',
  async (other) => {
    const message = `host ${new URL(other).host} is not part of the emulator: no request leaves this machine`;
    await expect(send(azure.network, { method: 'GET', url: other })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message,
    });
  },
);

test('a root that is not the emulator’s is refused, once', async () => {
  const { ca } = createTlsMaterial([HOST], new Date());
  const network = emulatorNetwork({ ca, routes: azure.routes, retry: AT_ONCE });
  const failed = request(network, { what: 'ask', denied: 'CONFIG_INVALID', method: 'GET', url });
  await expect(failed).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    message: expect.stringMatching(/^ask: certificate refused: /),
  });
  expect(seen).toEqual([]);
});

test('a certificate for another name is refused', async () => {
  const network = emulatorNetwork({ ca: azure.tls.ca, routes: { 'other.vault.azure.net': azure.routes[HOST] ?? 0 } });
  await expect(send(network, { method: 'GET', url: 'https://other.vault.azure.net/' })).rejects.toMatchObject({
    message: 'certificate refused: ERR_TLS_CERT_ALTNAME_INVALID',
  });
});

test('a name that the service does not have is misdirected', async () => {
  const network = emulatorNetwork({
    ca: azure.tls.ca,
    routes: { ...azure.routes, [HOST]: azure.routes['169.254.169.254'] ?? 0 },
  });
  await expect(send(network, { method: 'GET', url })).rejects.toMatchObject({ name: 'HttpFailure' });
});

test('a proxy of the environment is passed by', async () => {
  process.env.HTTPS_PROXY = 'http://proxy.invalid:3128';
  try {
    const client = new KeyClient(`https://${HOST}`, managedIdentity(azure.network, OPERATOR.clientId), {
      httpClient: azure.network.httpClient,
    });
    await client.getKey('k').catch(() => undefined);
    expect(seen).toHaveLength(1);
  } finally {
    delete process.env.HTTPS_PROXY;
  }
});

test.each([
  ['status 429', { kind: 'status', status: 429, retryAfterSeconds: 0 }],
  ['status 500', { kind: 'status', status: 500 }],
  ['reset', { kind: 'reset' }],
] as const)('%s twice, then the answer', async (_name, fault) => {
  await azure.faults.set('vault', { ...fault, count: 2 });
  const response = await request(azure.network, { what: 'ask', denied: 'CONFIG_INVALID', method: 'GET', url });
  expect(response.status).toBe(200);
  expect(seen).toHaveLength(1);
});

test('a lost reply is a request that was done', async () => {
  await azure.faults.set('vault', { kind: 'lose-reply', count: 1 });
  await request(azure.network, { what: 'ask', denied: 'CONFIG_INVALID', method: 'GET', url });
  expect(seen).toHaveLength(2);
});

test.each([401, 403, 404])('status %i is asked for once', async (status) => {
  await azure.faults.set('vault', { kind: 'status', status });
  const before = azure.requests.length;
  const failed = request(azure.network, { what: 'ask', denied: 'RELEASE_DENIED', method: 'GET', url });
  await expect(failed).rejects.toMatchObject({ code: status === 404 ? 'CONFIG_INVALID' : 'RELEASE_DENIED' });
  expect(azure.requests.length - before).toBe(1);
});

test('a service that is down is UNAVAILABLE, and back when cleared', async () => {
  const options = { what: 'ask', denied: 'CONFIG_INVALID', method: 'GET', url } as const;
  await azure.faults.set('vault', { kind: 'down' });
  await expect(request(azure.network, options)).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    message: 'ask: gave up after 3 attempts: no answer: ECONNREFUSED',
  });
  await azure.faults.clear('vault');
  expect((await request(azure.network, options)).status).toBe(200);
});

test('a slow answer is given up in time, and an abort is the caller’s own', async () => {
  await azure.faults.set('vault', { kind: 'delay', milliseconds: 60_000 });
  await expect(send(azure.network, { method: 'GET', url, timeoutInMs: 50 })).rejects.toMatchObject({
    message: 'no answer in time',
  });
  const reason = new Error('enough');
  const abort = AbortSignal.abort(reason);
  await expect(send(azure.network, { method: 'GET', url, abortSignal: abort })).rejects.toBe(reason);
});

test('a fault hits only what it matches', async () => {
  await azure.faults.set('vault', { kind: 'status', status: 403, match: /^POST \/keys/ });
  expect((await send(azure.network, { method: 'GET', url })).status).toBe(200);
  expect((await send(azure.network, { method: 'POST', url })).status).toBe(403);
});
