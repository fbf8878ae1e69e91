import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { connect as connectTls } from 'node:tls';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { foreignEnvironment, writeEnvironment } from '../../emulator/foreign-client.ts';
import { type ForwardProxy, startForwardProxy } from '../../emulator/forward-proxy.ts';
import { METADATA_HOST } from '../../emulator/metadata-service.ts';
import { OPERATOR, SmallAzure } from './small-azure.ts';

const HOST = 'kv-owner.vault.azure.net';
const TOKEN_PATH = `/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net&client_id=${OPERATOR.clientId}`;
const azure = new SmallAzure([HOST]);
let proxy: ForwardProxy;

beforeAll(async () => {
  await azure.add({
    service: 'vault',
    hosts: [HOST],
    handler: (incoming, response) => response.end(`asked ${incoming.headers.host} for ${incoming.url}`),
  });
  await azure.addMetadata();
  proxy = await startForwardProxy(azure.routes);
});
afterAll(async () => {
  await proxy.close();
  await azure.stop();
});

const port = () => Number(new URL(proxy.url).port);

/** The answer to CONNECT, and the tunnel. */
async function tunnelTo(authority: string) {
  const socket = connectTcp(port(), '127.0.0.1');
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
  const [head] = (await once(socket, 'data')) as [Buffer];
  return { socket, answer: head.toString() };
}

async function plain(path: string, headers: Record<string, string>) {
  const outgoing = request({ port: port(), path, headers: { connection: 'close', ...headers } });
  outgoing.end();
  const [response] = await once(outgoing, 'response');
  return { status: response.statusCode as number, body: await text(response) };
}

test('a tunnel leads to the service, whose certificate the client checks for the real name', async () => {
  const { socket, answer } = await tunnelTo(`${HOST}:443`);
  expect(answer).toBe('HTTP/1.1 200 Connection Established\r\n\r\n');
  const secure = connectTls({ socket, servername: HOST, ca: azure.tls.ca });
  secure.write(`GET /keys HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`);
  expect(await text(secure)).toContain(`asked ${HOST} for /keys`);
});

test.each([
  ['another host', 'example.com:443'],
  ['another port', `${HOST}:8443`],
  ['an address of this machine', '127.0.0.1:443'],
  ['the metadata service, which speaks no TLS', `${METADATA_HOST}:443`],
  ['a name that every object has', 'constructor:443'],
  ['what is no name with a port', 'constructor'],
])('there is no tunnel to %s', async (_, authority) => {
  const { socket, answer } = await tunnelTo(authority);
  expect(answer).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n/);
  expect(answer).toContain(`${authority} is not part of the emulator: no request leaves this machine`);
  socket.destroy();
});

test.each([
  ['through a proxy', `http://${METADATA_HOST}${TOKEN_PATH}`, '127.0.0.1'],
  ['by a client that believes it is there', TOKEN_PATH, METADATA_HOST],
])('the metadata service is asked %s', async (_, path, host) => {
  const { status, body } = await plain(path, { metadata: 'true', host });
  expect([status, JSON.parse(body)]).toMatchObject([200, { client_id: OPERATOR.clientId, token_type: 'Bearer' }]);
});

test('the metadata service goes on to refuse what somebody else forwarded, and what lacks its header', async () => {
  const url = `http://${METADATA_HOST}${TOKEN_PATH}`;
  expect(await plain(url, { metadata: 'true', 'x-forwarded-for': '10.0.0.1' })).toMatchObject({ status: 400 });
  expect(await plain(url, {})).toMatchObject({ status: 400 });
});

test.each([`http://${HOST}/keys`, 'http://example.com/', 'ftp://169.254.169.254/', '/keys'])(
  'nothing else is asked in plain: %s',
  async (path) => {
    const { status, body } = await plain(path, {});
    expect([status, body]).toEqual([403, `${path} is not part of the emulator: no request leaves this machine\n`]);
  },
);

test('a shell that reads the file knows every variable, whatever is in them', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'ctrain-foreign-test-'));
  const file = join(directory, 'operator.env');
  const caFile = join(directory, "it's $HOME");
  writeFileSync(caFile, '');
  await writeEnvironment(file, foreignEnvironment({ proxyUrl: proxy.url, caFile, clientId: 'c', vtpm: 'v' }));
  const shown = 'echo "$HTTPS_PROXY|$http_proxy|$NO_PROXY|$REQUESTS_CA_BUNDLE|$AZURE_CLIENT_ID|$CTRAIN_VTPM"';
  const { stdout } = await promisify(execFile)('sh', ['-c', `. "$0" && ${shown}`, file], { env: { NO_PROXY: '*' } });
  expect(stdout).toBe(`${proxy.url}|${proxy.url}||${caFile}|c|v\n`);
  rmSync(directory, { recursive: true });
});
