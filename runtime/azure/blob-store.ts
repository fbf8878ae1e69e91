import type { TokenCredential } from '@azure/core-auth';
import { ContainerClient, newPipeline } from '@azure/storage-blob';
import type { Container } from '../catalogue.ts';
import { concat } from '../crypto/bytes.ts';
import type { BlobContent, BlobListing, BlobProperties, BlobReadOptions, BlobStore } from '../data/blob-store.ts';
import { blobLeases } from './blob-leases.ts';
import { blobMetadata } from './blob-metadata.ts';
import { type PutTarget, putBytes, putFile, putStream } from './blob-upload.ts';
import { httpFailure, toServiceError } from './http-failure.ts';
import { attemptSignal, type Network } from './network.ts';
import { withRetry } from './retry.ts';
import { storageHttpClient } from './storage-http-client.ts';

/** One operation of a store: retried, with whatever an expected status means. */
export type StoreCall = <T>(
  what: string,
  attempt: (signal: AbortSignal, count: number) => Promise<T>,
  options?: BlobReadOptions,
) => Promise<T>;

/** A whole attempt, body included: a block of 8 MiB over a slow line still fits. */
const ATTEMPT_TIMEOUT_IN_MS = 120_000;

/**
 * A container of Azure Blob Storage.
 * @param blobEndpoint `https://ACCOUNT.blob.core.windows.net`
 */
export function blobStore(
  network: Network,
  credential: TokenCredential,
  blobEndpoint: string,
  container: Container,
): BlobStore {
  // One try: withRetry is the retry mechanism, and knows what a repeated conditional write means.
  const pipeline = newPipeline(credential, { httpClient: storageHttpClient(network), retryOptions: { maxTries: 1 } });
  const client = new ContainerClient(`${blobEndpoint}/${container}`, pipeline);
  const call: StoreCall = async (what, attempt, options = {}) => {
    const { abortSignal } = options;
    let count = 0;
    try {
      return await withRetry(
        what,
        () => {
          count++;
          return attempt(attemptSignal(abortSignal, ATTEMPT_TIMEOUT_IN_MS), count);
        },
        { ...network.retry, abortSignal },
      );
    } catch (error) {
      throw toServiceError(what, error, { denied: 'CONFIG_INVALID' });
    }
  };
  const target = (name: string): PutTarget => ({
    client: client.getBlockBlobClient(name),
    what: `write ${container}/${name}`,
    call,
  });
  return {
    get: (name, options) => get(client, name, `read ${container}/${name}`, call, options),
    getRange: (name, offset, length, etag, options) =>
      getRange(client, { name, offset, length, etag }, `read ${container}/${name}`, call, options),
    properties: (name, options) => properties(client, name, `look at ${container}/${name}`, call, options),
    put: (name, bytes, options) => putBytes(target(name), bytes, options),
    putFile: (name, path, options) => putFile(target(name), path, options),
    putStream: (name, chunks, options) => putStream(target(name), chunks, options),
    list: (prefix, options) => list(client, prefix, `list ${container}/${prefix}`, call, options),
    delete: (name) =>
      call(
        `delete ${container}/${name}`,
        async (abortSignal) => (await client.getBlobClient(name).deleteIfExists({ abortSignal })).succeeded,
      ),
    ...blobMetadata(client, container, call),
    ...blobLeases(client, container, call),
  };
}

async function get(
  client: ContainerClient,
  name: string,
  what: string,
  call: StoreCall,
  options?: BlobReadOptions,
): Promise<BlobContent | undefined> {
  return call(
    what,
    async (abortSignal) => {
      try {
        const response = await client.getBlobClient(name).download(0, undefined, { abortSignal, maxRetryRequests: 0 });
        const bytes = await readAll(response.readableStreamBody);
        return { ...describe(response), bytes };
      } catch (error) {
        return undefinedFor(error, [404]);
      }
    },
    options,
  );
}

interface Range {
  readonly name: string;
  readonly offset: number;
  readonly length: number;
  readonly etag: string | undefined;
}

async function getRange(
  client: ContainerClient,
  range: Range,
  what: string,
  call: StoreCall,
  options?: BlobReadOptions,
) {
  const { name, offset, length, etag } = range;
  // No HTTP range is empty (RFC 9110 section 14.1.2).
  if (length === 0) throw new RangeError(`${what}: a range of 0 bytes cannot be asked for`);
  return call(
    what,
    async (abortSignal) => {
      try {
        const conditions = etag === undefined ? {} : { conditions: { ifMatch: etag } };
        const response = await client
          .getBlobClient(name)
          .download(offset, length, { ...conditions, abortSignal, maxRetryRequests: 0 });
        const bytes = await readAll(response.readableStreamBody);
        return bytes.length === length ? bytes : undefined;
      } catch (error) {
        // 412: no longer that version; 416: ends before the offset.
        return undefinedFor(error, [404, 412, 416]);
      }
    },
    options,
  );
}

async function properties(
  client: ContainerClient,
  name: string,
  what: string,
  call: StoreCall,
  options?: BlobReadOptions,
) {
  return call(
    what,
    async (abortSignal): Promise<BlobProperties | undefined> => {
      try {
        return describe(await client.getBlobClient(name).getProperties({ abortSignal }));
      } catch (error) {
        return undefinedFor(error, [404]);
      }
    },
    options,
  );
}

/** Page by page, so that a lost page is asked for again and not the whole list. */
async function* list(
  client: ContainerClient,
  prefix: string,
  what: string,
  call: StoreCall,
  options?: BlobReadOptions,
): AsyncGenerator<BlobListing> {
  let marker: string | undefined;
  do {
    const page = await call(
      what,
      async (abortSignal) => {
        const pages = client.listBlobsFlat({ prefix, abortSignal });
        const { value } = await pages
          .byPage({ maxPageSize: 1000, ...(marker === undefined ? {} : { continuationToken: marker }) })
          .next();
        return value;
      },
      options,
    );
    for (const { name, properties } of page?.segment.blobItems ?? []) {
      yield { name, size: properties.contentLength ?? 0, lastModified: properties.lastModified };
    }
    marker = page?.continuationToken === '' ? undefined : page?.continuationToken;
  } while (marker !== undefined);
}

interface Described {
  readonly contentLength?: number;
  readonly etag?: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

function describe({ contentLength = 0, etag = '', metadata = {} }: Described): BlobProperties {
  const lowered = Object.entries(metadata).map(([name, value]) => [name.toLowerCase(), value] as const);
  return { size: contentLength, etag, metadata: Object.fromEntries(lowered) };
}

/** `undefined` for a failure with one of these statuses; any other is thrown on. */
function undefinedFor(error: unknown, statuses: readonly number[]): undefined {
  const status = httpFailure(error)?.status;
  if (status !== undefined && statuses.includes(status)) return undefined;
  throw error;
}

async function readAll(stream: NodeJS.ReadableStream | undefined): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream ?? []) chunks.push(chunk as Uint8Array);
  return concat(...chunks);
}
