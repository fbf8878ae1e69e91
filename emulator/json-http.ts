import type { IncomingMessage, ServerResponse } from 'node:http';
import { SecureTrainingError } from '../runtime/errors.ts';

/** What an emulated service is: mounted behind TLS by the host. */
export type RequestHandler = (request: IncomingMessage, response: ServerResponse) => void;

/** An answer that is not a success, in the form all Azure services share. */
export class HttpFailure extends Error {
  readonly status: number;
  readonly body: object;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    code: string,
    message: string,
    more: { innerCode?: string; headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(message);
    this.status = status;
    this.headers = more.headers ?? {};
    const innererror = more.innerCode === undefined ? {} : { innererror: { code: more.innerCode } };
    this.body = { error: { code, message, ...innererror } };
  }
}

/** Largest body taken; an attestation request with its event log is about 130 kB. */
const MAXIMUM_BODY = 4 * 1024 * 1024;

/** Turns a function from request to JSON into a handler. What it throws becomes the failure it is, or 500. */
export function jsonHandler(answer: (request: JsonRequest) => Promise<object>): RequestHandler {
  return (request, response) => {
    void respond(request, response, answer);
  };
}

export interface JsonRequest {
  readonly method: string;
  /** Without a slash at its end. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly authorization: string | undefined;
  /** Parsed body; clients send none with their first, unauthenticated request. */
  json(): Record<string, unknown>;
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  answer: (request: JsonRequest) => Promise<object>,
): Promise<void> {
  try {
    const body = await readBody(request);
    // The host does not matter here: routing by name has happened. A client may write `?api%2Dversion=`.
    const url = new URL(request.url ?? '/', 'https://service');
    const result = await answer({
      method: request.method ?? 'GET',
      path: url.pathname.replace(/\/+$/, ''),
      query: url.searchParams,
      authorization: request.headers.authorization,
      json: () => parseBody(body),
    });
    send(response, 200, result);
  } catch (error) {
    if (error instanceof HttpFailure) send(response, error.status, error.body, error.headers);
    else
      send(response, 500, {
        error: { code: 'InternalError', message: error instanceof Error ? error.message : 'unknown' },
      });
  }
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAXIMUM_BODY) throw new HttpFailure(413, 'RequestTooLarge', `body is larger than ${MAXIMUM_BODY} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parseBody(body: Buffer): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // The same answer as for JSON that is no object.
  }
  throw new HttpFailure(400, 'BadParameter', 'The request body is not a JSON object.');
}

function send(
  response: ServerResponse,
  status: number,
  body: object,
  headers: Readonly<Record<string, string>> = {},
): void {
  if (response.destroyed) return;
  const bytes = Buffer.from(JSON.stringify(body));
  response.writeHead(status, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': bytes.length,
    ...headers,
  });
  response.end(bytes);
}

/** Runs `work`; an error of ours about what the client sent becomes a failure with this status and code. */
export function asFailure<T>(status: number, code: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof SecureTrainingError) throw new HttpFailure(status, code, error.message);
    throw error;
  }
}
