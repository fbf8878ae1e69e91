import { appendFileSync, mkdirSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { TABLES, type TableColumn, type TableName } from '../runtime/catalogue.ts';
import type { TokenIssuer } from './entra.ts';
import type { RoleAssignments } from './roles.ts';
import type { RequestHandler } from './service-host.ts';

const AUDIENCE = 'https://monitor.azure.com';
/** Largest call the service takes. */
const MAXIMUM_BODY = 2 ** 20;

export interface LogsServiceOptions {
  readonly issuer: TokenIssuer;
  readonly roles: RoleAssignments;
  /** Immutable id, as it stands in URLs. */
  readonly ruleId: string;
  /** Resource id of the data collection rule: the scope of the role. */
  readonly ruleResourceId: string;
  /** Rows go to `STREAM.jsonl` in this folder. */
  readonly directory: string;
}

/**
 * A data collection endpoint. Stricter than Azure's on purpose: that one drops columns it does not know and turns values
 * of the wrong type into nothing, which here would hide a mistake.
 */
export function logsService(options: LogsServiceOptions): RequestHandler {
  mkdirSync(options.directory, { recursive: true });
  return (request, response) => {
    ingest(request, options).then(
      (failure) => {
        response.writeHead(failure?.status ?? 204, { 'content-type': 'application/json' });
        response.end(
          failure === undefined
            ? undefined
            : JSON.stringify({ error: { code: failure.code, message: failure.message } }),
        );
      },
      () => response.destroy(),
    );
  };
}

interface Failure {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

async function ingest(
  request: IncomingMessage,
  { issuer, roles, ruleId, ruleResourceId, directory }: LogsServiceOptions,
): Promise<Failure | undefined> {
  const body = await readBody(request);
  const caller = issuer.authenticate(request.headers.authorization, AUDIENCE);
  if (caller === undefined)
    return { status: 401, code: 'AuthenticationFailed', message: 'the access token is not for this service' };
  if (!roles.allows(caller.principalId, 'Microsoft.Insights/Telemetry/Write', ruleResourceId)) {
    return {
      status: 403,
      code: 'OperationFailed',
      message: 'the caller lacks Monitoring Metrics Publisher on the rule',
    };
  }
  const { pathname } = new URL(request.url ?? '/', 'https://service');
  const [, rule, stream] = /^\/dataCollectionRules\/([^/]+)\/streams\/([^/]+)$/.exec(pathname) ?? [];
  if (request.method !== 'POST' || rule !== ruleId)
    return { status: 404, code: 'NotFound', message: 'no such data collection rule' };
  const table = stream?.replace(/^Custom-/, '') ?? '';
  if (!(table in TABLES)) return { status: 400, code: 'InvalidStream', message: `the rule has no stream ${stream}` };
  if (body === undefined)
    return { status: 413, code: 'ContentLengthLimitExceeded', message: `more than ${MAXIMUM_BODY} bytes` };
  const rows = parseRows(body, TABLES[table as TableName]);
  if (typeof rows === 'string') return { status: 400, code: 'InvalidPayload', message: rows };
  appendFileSync(join(directory, `${stream}.jsonl`), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return undefined;
}

const VALUES: Readonly<Record<TableColumn['type'], (value: unknown) => boolean>> = {
  string: (value) => typeof value === 'string',
  datetime: (value) => typeof value === 'string' && !Number.isNaN(Date.parse(value)),
  int: (value) => Number.isInteger(value),
  long: (value) => Number.isInteger(value),
  real: (value) => typeof value === 'number',
  boolean: (value) => typeof value === 'boolean',
  dynamic: () => true,
};

/** The rows, or what is wrong with them. */
function parseRows(body: string, columns: readonly TableColumn[]): readonly object[] | string {
  let rows: unknown;
  try {
    rows = JSON.parse(body);
  } catch {
    return 'the body is not JSON';
  }
  if (!Array.isArray(rows)) return 'the body is not an array of rows';
  for (const [index, row] of (rows as Record<string, unknown>[]).entries()) {
    for (const [name, value] of Object.entries(row)) {
      const column = columns.find((candidate) => candidate.name === name);
      if (column === undefined) return `row ${index}: the table has no column ${name}`;
      if (!VALUES[column.type](value)) return `row ${index}: ${name} is no ${column.type}`;
    }
  }
  return rows as object[];
}

async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size <= MAXIMUM_BODY) chunks.push(chunk);
  }
  if (size > MAXIMUM_BODY) return undefined;
  const bytes = Buffer.concat(chunks);
  if (request.headers['content-encoding'] !== 'gzip') return bytes.toString('utf8');
  try {
    return gunzipSync(bytes, { maxOutputLength: MAXIMUM_BODY }).toString('utf8');
  } catch (error) {
    // What is no gzip is no JSON either, and is refused as that.
    return (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE' ? undefined : '';
  }
}
