import {
  createDefaultHttpClient,
  createHttpHeaders,
  createPipelineRequest,
  type HttpClient,
} from '@azure/core-rest-pipeline';
import { concat } from '../crypto/bytes.ts';
import { HttpFailure, httpFailure } from './http-failure.ts';
import type { RetryOptions } from './retry.ts';

/** The one way out of this process. Every SDK client and every request of our own goes through `httpClient`. */
export interface Network {
  readonly httpClient: HttpClient;
  /**
   * How failed requests are retried.
   * @default - the defaults of {@link RetryOptions}
   */
  readonly retry?: Omit<RetryOptions, 'abortSignal'>;
}

/** The real network: DNS and the system's TLS roots. */
export function azureNetwork(): Network {
  return { httpClient: createDefaultHttpClient() };
}

export interface HttpRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  readonly url: string;
  /** @default {} */
  readonly headers?: Readonly<Record<string, string>>;
  /** @default - no body */
  readonly body?: Uint8Array | string;
  /**
   * For the whole exchange, body included.
   * @default 30000
   */
  readonly timeoutInMs?: number;
  readonly abortSignal?: AbortSignal;
}

export interface HttpResponse {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** No reply that we ask for ourselves comes near this; blobs go through the storage SDK. */
const MAXIMUM_REPLY = 16 * 2 ** 20;

/**
 * Azure Instance Metadata Service: answers only from inside the virtual machine.
 * The only address that is spoken to without TLS: the hypervisor answers, and has no certificate.
 */
export const METADATA_ENDPOINT = 'http://169.254.169.254';

/**
 * One exchange, not retried. Any status is an answer.
 * @throws HttpFailure when there was none
 */
export async function send(network: Network, request: HttpRequest): Promise<HttpResponse> {
  const abortSignal = attemptSignal(request.abortSignal, request.timeoutInMs ?? 30_000);
  try {
    const response = await network.httpClient.sendRequest(
      createPipelineRequest({
        url: request.url,
        method: request.method,
        headers: createHttpHeaders(request.headers ?? {}),
        allowInsecureConnection: request.url.startsWith(`${METADATA_ENDPOINT}/`),
        // Bytes, not text: a reply decoded as UTF-8 could not be hashed or verified any more.
        streamResponseStatusCodes: new Set([Number.POSITIVE_INFINITY]),
        abortSignal,
        ...(request.body === undefined ? {} : { body: request.body }),
      }),
    );
    const body =
      response.readableStreamBody === undefined ? new Uint8Array(0) : await readAll(response.readableStreamBody);
    return { status: response.status, headers: response.headers.toJSON(), body };
  } catch (error) {
    request.abortSignal?.throwIfAborted();
    throw httpFailure(error) ?? error;
  }
}

/** Ends an attempt after a time or when the caller gives up, whichever is first. */
export function attemptSignal(abortSignal: AbortSignal | undefined, timeoutInMs: number): AbortSignal {
  const timeout = AbortSignal.timeout(timeoutInMs);
  return abortSignal === undefined ? timeout : AbortSignal.any([abortSignal, timeout]);
}

async function readAll(stream: NodeJS.ReadableStream): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stream) {
    const bytes = chunk as Uint8Array;
    size += bytes.length;
    if (size > MAXIMUM_REPLY)
      throw new HttpFailure(`reply is longer than ${MAXIMUM_REPLY} bytes`, { retryable: false });
    chunks.push(bytes);
  }
  return concat(...chunks);
}
