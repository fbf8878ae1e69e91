import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { logFiles, loggedStorage, loggedVault } from '../../emulator/access-logs.ts';
import { managedIdentity } from '../../runtime/azure/identity.ts';
import { send } from '../../runtime/azure/network.ts';
import { OPERATOR, SmallAzure, STRANGER } from './small-azure.ts';

const [VAULT, STORAGE] = ['kv-owner.vault.azure.net', 'sttraining.blob.core.windows.net'];
const VERSION = 'a'.repeat(32);
const azure = new SmallAzure([VAULT, STORAGE]);
const stateDir = mkdtempSync(join(tmpdir(), 'ctrain-access-'));
const files = logFiles(stateDir);
/** What the service behind the log answers next. */
let status = 200;

beforeAll(async () => {
  await azure.addMetadata();
  const handler: Parameters<typeof loggedVault>[0] = (request, response) => {
    request.resume();
    response.writeHead(status, { etag: '"0x1"', 'x-ms-error-code': 'SomethingWrong' });
    response.end();
  };
  const common = { issuer: azure.issuer, directory: files.directory, resourceId: '/subscriptions/s/place' };
  const newestVersion = (name: string) => (name === 'k' ? VERSION : undefined);
  await azure.add({
    service: 'vault',
    hosts: [VAULT],
    handler: loggedVault(handler, { ...common, host: VAULT, newestVersion }),
  });
  await azure.add({
    service: 'storage',
    hosts: [STORAGE],
    handler: loggedStorage(handler, { ...common, host: STORAGE }),
  });
});
afterAll(async () => {
  await azure.stop();
  rmSync(stateDir, { recursive: true });
});

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

async function ask(
  host: string,
  method: Method,
  path: string,
  who?: typeof OPERATOR,
  audience?: string,
): Promise<void> {
  const scope = `${audience ?? (host === VAULT ? 'https://vault.azure.net' : 'https://storage.azure.com')}/.default`;
  const token = who === undefined ? undefined : await managedIdentity(azure.network, who.clientId).getToken(scope);
  const headers = token === undefined || token === null ? {} : { authorization: `Bearer ${token.token}` };
  await send(azure.network, { method, url: `https://${host}${path}`, headers });
}

const last = (file: string): Record<string, unknown> =>
  JSON.parse(readFileSync(file, 'utf8').trimEnd().split('\n').at(-1) ?? '') as Record<string, unknown>;

test.each<[string, Method, string, string, string]>([
  ['a release', 'POST', `/keys/k/${VERSION}/release`, 'KeyRelease', `/k/${VERSION}`],
  ['a release of the newest version', 'POST', '/keys/k//release', 'KeyRelease', `/k/${VERSION}`],
  ['an unwrap', 'POST', `/keys/k/${VERSION}/unwrapkey`, 'KeyUnwrap', `/k/${VERSION}`],
  ['a wrap', 'POST', `/keys/k/${VERSION}/wrapkey`, 'KeyWrap', `/k/${VERSION}`],
  ['a new version', 'POST', '/keys/k/create', 'KeyCreate', `/k/${VERSION}`],
  ['a look at a key', 'GET', '/keys/k', 'KeyGet', `/k/${VERSION}`],
  ['a look at its versions', 'GET', '/keys/k/versions', 'KeyListVersions', `/k/${VERSION}`],
  ['a key there is none of', 'GET', '/keys/other', 'KeyGet', '/other'],
  ['a backup, which this vault has none of', 'POST', '/keys/k/backup', 'KeyBackup', `/k/${VERSION}`],
  ['a deletion, which it does not do', 'DELETE', '/keys/k', 'KeyDelete', `/k/${VERSION}`],
  ['what nobody knows', 'PUT', '/keys/k/versions', 'Unknown', `/k/${VERSION}`],
])('vault: %s', async (_, method, path, operation, key) => {
  status = 200;
  await ask(VAULT, method, `${path}?api-version=7.4`, OPERATOR);
  expect(last(files.vault)).toMatchObject({
    TimeGenerated: expect.stringMatching(/Z$/),
    OperationName: operation,
    ResultType: 'Success',
    HttpStatusCode: 200,
    CallerIpAddress: '127.0.0.1',
    CorrelationId: expect.stringMatching(/^[0-9a-f-]{36}$/),
    Id: `https://${VAULT}/keys${key}`,
    RequestUri: `https://${VAULT}${path}?api-version=7.4`,
    Identity: { claim: { 'http://schemas.microsoft.com/identity/claims/objectidentifier': OPERATOR.principalId } },
  });
});

test('vault: what was refused has its status, what came without a token no caller', async () => {
  status = 403;
  await ask(VAULT, 'POST', '/keys/k/release', STRANGER);
  expect(last(files.vault)).toMatchObject({ ResultType: 'Failed', ResultSignature: 'Forbidden', HttpStatusCode: 403 });
  status = 401;
  await ask(VAULT, 'POST', '/keys/k/release');
  expect(last(files.vault)).toMatchObject({ OperationName: 'Authentication', Identity: { claim: {} } });
});

test.each<[Method, string, string]>([
  ['GET', '/datasets/o/d/1/train.enc', 'GetBlob'],
  ['PUT', '/datasets/o/d/1/train.enc', 'PutBlob'],
  ['DELETE', '/datasets/o/d/1/train.enc', 'DeleteBlob'],
  ['PUT', '/datasets/o/d/1/train.enc?comp=block&blockid=AA', 'PutBlock'],
  ['PUT', '/datasets/o/d/1/train.enc?comp=blocklist', 'PutBlockList'],
  ['PUT', '/runs/run-1/run.json?comp=lease', 'LeaseBlob'],
  ['GET', '/datasets?restype=container&comp=list', 'ListBlobs'],
  ['PUT', '/datasets?restype=container', 'CreateContainer'],
])('storage: %s %s', async (method, path, operation) => {
  status = 200;
  await ask(STORAGE, method, path, OPERATOR);
  expect(last(files.storage)).toMatchObject({
    OperationName: operation,
    AuthenticationType: 'OAuth',
    StatusCode: '200',
    StatusText: 'Success',
    CallerIpAddress: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
    RequesterObjectId: OPERATOR.principalId,
    Uri: `https://${STORAGE}${path}`,
    ObjectKey: `/sttraining${path.split('?')[0]}`,
    Etag: '"0x1"',
  });
});

test('storage: a token that is not for it is nobody; a request without one leaves no line, as on Azure', async () => {
  status = 401;
  await ask(STORAGE, 'GET', '/datasets/secret', OPERATOR, 'https://vault.azure.net');
  const refused = { StatusCode: '401', StatusText: 'SomethingWrong', RequesterObjectId: '' };
  expect(last(files.storage)).toMatchObject(refused);
  await ask(STORAGE, 'GET', '/datasets/another');
  expect(last(files.storage)).toMatchObject({ ...refused, ObjectKey: '/sttraining/datasets/secret' });
});
