import { randomUUID } from 'node:crypto';
import { appendFileSync, mkdirSync } from 'node:fs';
import { type IncomingMessage, type OutgoingHttpHeaders, type ServerResponse, STATUS_CODES } from 'node:http';
import { join } from 'node:path';
import type { TokenIssuer } from './entra.ts';
import type { RequestHandler } from './service-host.ts';

/**
 * Files of what Azure's diagnostic settings write of requests, one JSON row a line, in the columns of Log Analytics' tables
 * (https://learn.microsoft.com/azure/azure-monitor/reference/tables/azkvauditlogs, .../storagebloblogs).
 */
const FILES = { vault: 'AZKVAuditLogs.jsonl', storage: 'StorageBlobLogs.jsonl' } as const;

/** Where an emulator on this state folder keeps each log. */
export function logFiles(stateDir: string) {
  const directory = join(stateDir, 'logs');
  return {
    directory,
    trainer: join(directory, 'Custom-TrainingSecurity.jsonl'),
    vault: join(directory, FILES.vault),
    storage: join(directory, FILES.storage),
  };
}

/** What a request was answered with. */
interface Answered {
  readonly status: number;
  header(name: string): string;
}

interface AccessLogOptions {
  readonly issuer: TokenIssuer;
  /** Rows are appended to a file in this folder. */
  readonly directory: string;
  /** Host name of the service. */
  readonly host: string;
  readonly resourceId: string;
}

interface VaultLogOptions extends AccessLogOptions {
  /** Version that a request for a key without one is about. */
  readonly newestVersion: (keyName: string) => string | undefined;
}

/** By method and the word after the key's name and version; names of https://learn.microsoft.com/azure/key-vault/general/logging. */
const VAULT_OPERATIONS: Readonly<Record<string, string>> = {
  'GET ': 'KeyGet',
  'GET versions': 'KeyListVersions',
  'POST create': 'KeyCreate',
  'PATCH ': 'KeyUpdate',
  'POST wrapkey': 'KeyWrap',
  'POST unwrapkey': 'KeyUnwrap',
  'POST release': 'KeyRelease',
  // What this vault does not do, it is asked for all the same.
  'POST decrypt': 'KeyDecrypt',
  'POST sign': 'KeySign',
  'POST backup': 'KeyBackup',
  'POST rotate': 'KeyRotate',
  'PUT ': 'KeyImport',
  'DELETE ': 'KeyDelete',
};
const AFTER_KEY = ['create', 'versions', 'wrapkey', 'unwrapkey', 'release', 'decrypt', 'sign', 'backup', 'rotate'];

/** Puts a vault's audit log in front of it: every request, refused ones too, once it was answered. */
export function loggedVault(handler: RequestHandler, options: VaultLogOptions): RequestHandler {
  const { issuer, directory, host, resourceId, newestVersion } = options;
  return logged(handler, directory, FILES.vault, (request, { status }) => {
    const url = addressOf(request, host);
    const [, , name = '', ...rest] = url.pathname.replace(/\/+$/, '').split('/');
    const word = AFTER_KEY.includes(rest.at(-1) ?? '') ? (rest.pop() ?? '') : '';
    const version = rest[0] === undefined || rest[0] === '' ? newestVersion(name) : rest[0];
    const caller = issuer.authenticate(request.headers.authorization, 'https://vault.azure.net');
    // A client's first request, without a token, is logged under this name.
    const known = VAULT_OPERATIONS[`${request.method} ${word}`];
    return {
      OperationName: caller === undefined ? 'Authentication' : (known ?? 'Unknown'),
      OperationVersion: url.searchParams.get('api-version') ?? '',
      ResultType: status < 400 ? 'Success' : 'Failed',
      ResultSignature: STATUS_CODES[status] ?? '',
      HttpStatusCode: status,
      CallerIpAddress: request.socket.remoteAddress ?? '',
      ClientInfo: request.headers['user-agent'] ?? '',
      CorrelationId: randomUUID(),
      Id: `https://${host}/keys/${name}${version === undefined ? '' : `/${version}`}`,
      RequestUri: url.href,
      Identity: {
        claim:
          caller === undefined
            ? {}
            : { 'http://schemas.microsoft.com/identity/claims/objectidentifier': caller.principalId },
      },
      _ResourceId: resourceId,
    };
  });
}

/** Puts a storage account's log in front of it. As Azure's, it has no line about a request in nobody's name. */
export function loggedStorage(handler: RequestHandler, options: AccessLogOptions): RequestHandler {
  const { issuer, directory, host, resourceId } = options;
  const account = host.split('.', 1)[0];
  return logged(handler, directory, FILES.storage, (request, { status, header }) => {
    if (request.headers.authorization === undefined) return undefined;
    const caller = issuer.authenticate(request.headers.authorization, 'https://storage.azure.com');
    const url = addressOf(request, host);
    return {
      OperationName: storageOperation(request.method ?? 'GET', url),
      AuthenticationType: 'OAuth',
      StatusCode: String(status),
      StatusText: status < 400 ? 'Success' : header('x-ms-error-code'),
      CallerIpAddress: `${request.socket.remoteAddress}:${request.socket.remotePort}`,
      CorrelationId: randomUUID(),
      RequesterObjectId: caller?.principalId ?? '',
      Uri: url.href,
      ObjectKey: `/${account}${url.pathname}`,
      UserAgentHeader: request.headers['user-agent'] ?? '',
      Etag: header('etag'),
      _ResourceId: resourceId,
    };
  });
}

/** Names of https://learn.microsoft.com/rest/api/storageservices/storage-analytics-logged-operations-and-status-messages, as far as this project's requests go. */
function storageOperation(method: string, { pathname, searchParams }: URL): string {
  const comp = searchParams.get('comp');
  const isContainer = pathname.split('/').filter((part) => part !== '').length < 2;
  if (comp === 'list') return isContainer && pathname !== '/' ? 'ListBlobs' : 'ListContainers';
  const special: Readonly<Record<string, string>> = {
    block: 'PutBlock',
    blocklist: method === 'GET' ? 'GetBlockList' : 'PutBlockList',
    metadata: method === 'PUT' ? 'SetBlobMetadata' : 'GetBlobMetadata',
    lease: 'LeaseBlob',
    properties: 'SetBlobProperties',
    snapshot: 'SnapshotBlob',
  };
  const named = special[comp ?? ''];
  if (named !== undefined) return named;
  if (isContainer) return method === 'PUT' ? 'CreateContainer' : 'GetContainerProperties';
  const plain: Readonly<Record<string, string>> = {
    GET: 'GetBlob',
    HEAD: 'GetBlobProperties',
    PUT: 'PutBlob',
    DELETE: 'DeleteBlob',
  };
  return plain[method] ?? 'Unknown';
}

function addressOf({ url = '/' }: IncomingMessage, host: string): URL {
  // A request line may hold anything: what is no path is logged as none.
  return URL.parse(`https://${host}${url.startsWith('/') ? url : '/'}`) ?? new URL(`https://${host}/`);
}

function logged(
  handler: RequestHandler,
  directory: string,
  name: string,
  row: (request: IncomingMessage, answered: Answered) => object | undefined,
): RequestHandler {
  mkdirSync(directory, { recursive: true });
  return (request, response) => {
    const TimeGenerated = new Date().toISOString();
    const writeHead = response.writeHead.bind(response) as (
      status: number,
      headers?: OutgoingHttpHeaders,
    ) => ServerResponse;
    // Before the client can know its answer, so that whoever has it finds the line.
    response.writeHead = ((status: number, headers: OutgoingHttpHeaders = {}) => {
      const header = (wanted: string) => String(headers[wanted] ?? '');
      const found = row(request, { status, header });
      if (found !== undefined)
        appendFileSync(join(directory, name), `${JSON.stringify({ TimeGenerated, ...found })}\n`);
      return writeHead(status, headers);
    }) as ServerResponse['writeHead'];
    handler(request, response);
  };
}
