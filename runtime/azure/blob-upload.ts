import { createHash, type Hash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { BlockBlobClient, BlockBlobUploadHeaders } from '@azure/storage-blob';
import { toBase64, utf8 } from '../crypto/bytes.ts';
import type { BlobWriteOptions } from '../data/blob-store.ts';
import { SecureTrainingError } from '../errors.ts';
import type { StoreCall } from './blob-store.ts';
import { httpFailure } from './http-failure.ts';

/** Blob to write, and how. */
export interface PutTarget {
  readonly client: BlockBlobClient;
  readonly what: string;
  readonly call: StoreCall;
}

/** A blob has at most 50,000 blocks: 8 MiB each allow 390 GiB. */
const BLOCK_LENGTH = 8 * 2 ** 20;
/** Blocks in flight; memory is this many blocks and one more. */
const PARALLEL_BLOCKS = 4;

export async function putBytes(
  target: PutTarget,
  bytes: Uint8Array,
  options: BlobWriteOptions = {},
): Promise<string | undefined> {
  if (bytes.length > BLOCK_LENGTH) return putStream(target, once(bytes), options);
  const md5 = createHash('md5').update(bytes);
  const etag = await commit(target, md5, options, (settings) =>
    target.client.upload(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), bytes.length, settings),
  );
  if (etag !== undefined) options.onProgress?.(bytes.length);
  return etag;
}

export async function putFile(
  target: PutTarget,
  path: string,
  options: BlobWriteOptions = {},
): Promise<string | undefined> {
  return putStream(target, createReadStream(path, { highWaterMark: 2 ** 20 }), options);
}

/** Blocks are staged as they fill, several at a time, and committed together: until then the blob is what it was. */
export async function putStream(
  target: PutTarget,
  chunks: AsyncIterable<Uint8Array>,
  options: BlobWriteOptions = {},
): Promise<string | undefined> {
  // Random, so that two uploads of one name cannot mix their blocks.
  const upload = randomBytes(8).toString('hex');
  const blockIds: string[] = [];
  const md5 = createHash('md5');
  const inFlight = new Set<Promise<void>>();
  let sent = 0;
  const stage = async (block: Uint8Array, blockId: string): Promise<void> => {
    const conditions = options.leaseId === undefined ? {} : { conditions: { leaseId: options.leaseId } };
    const body = Buffer.from(block.buffer, block.byteOffset, block.byteLength);
    await target.call(
      target.what,
      (abortSignal) => target.client.stageBlock(blockId, body, body.length, { ...conditions, abortSignal }),
      readOptions(options),
    );
    sent += block.length;
    options.onProgress?.(sent);
  };
  try {
    for await (const block of blocksOf(chunks)) {
      md5.update(block);
      const blockId = toBase64(utf8(`${upload}-${String(blockIds.length).padStart(6, '0')}`));
      blockIds.push(blockId);
      const staged = stage(block, blockId).finally(() => inFlight.delete(staged));
      inFlight.add(staged);
      if (inFlight.size >= PARALLEL_BLOCKS) await Promise.race(inFlight);
    }
    await Promise.all(inFlight);
  } catch (error) {
    // Let the other blocks end first: nothing may still be sending when this returns.
    await Promise.allSettled(inFlight);
    throw error;
  }
  return commit(target, md5, options, (settings) => target.client.commitBlockList(blockIds, settings));
}

interface CommitSettings {
  readonly abortSignal: AbortSignal;
  readonly metadata: Record<string, string>;
  readonly blobHTTPHeaders: { readonly blobContentMD5: Uint8Array };
  readonly conditions: { readonly ifNoneMatch?: string; readonly ifMatch?: string; readonly leaseId?: string };
}

/**
 * The step that makes the blob. When an answer was lost and the attempt after it finds the condition no longer met, the
 * write that is in the way may be our own: the stored MD5 tells.
 */
async function commit(
  { client, what, call }: PutTarget,
  md5: Hash,
  options: BlobWriteOptions,
  write: (settings: CommitSettings) => Promise<BlockBlobUploadHeaders>,
): Promise<string | undefined> {
  const digest = Uint8Array.from(md5.digest());
  const { ifNoneMatch, ifMatch, leaseId } = options;
  const conditions = {
    ...(ifNoneMatch === undefined ? {} : { ifNoneMatch }),
    ...(ifMatch === undefined ? {} : { ifMatch }),
    ...(leaseId === undefined ? {} : { leaseId }),
  };
  return call(
    what,
    async (abortSignal, count) => {
      try {
        const metadata = { ...options.metadata };
        return (await write({ abortSignal, metadata, blobHTTPHeaders: { blobContentMD5: digest }, conditions })).etag;
      } catch (error) {
        const failure = httpFailure(error);
        if (failure?.serviceCode?.startsWith('LeaseId') === true || failure?.serviceCode === 'LeaseLost') {
          throw new SecureTrainingError('UNAVAILABLE', `${what}: somebody else holds its lease`);
        }
        if (!CONDITION_NOT_MET.has(failure?.serviceCode)) throw error;
        return count === 1 ? undefined : await etagIfOurs(client, digest, abortSignal);
      }
    },
    readOptions(options),
  );
}

const CONDITION_NOT_MET: ReadonlySet<string | undefined> = new Set([
  'BlobAlreadyExists',
  'ConditionNotMet',
  'UnauthorizedBlobOverwrite',
]);

async function etagIfOurs(
  client: BlockBlobClient,
  digest: Uint8Array,
  abortSignal: AbortSignal,
): Promise<string | undefined> {
  const { contentMD5, etag } = await client.getProperties({ abortSignal });
  return contentMD5 !== undefined && Buffer.compare(contentMD5, digest) === 0 ? etag : undefined;
}

async function* blocksOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let block = new Uint8Array(BLOCK_LENGTH);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let offset = 0; offset < chunk.length; ) {
      const part = chunk.subarray(offset, offset + BLOCK_LENGTH - filled);
      block.set(part, filled);
      filled += part.length;
      offset += part.length;
      if (filled < BLOCK_LENGTH) continue;
      yield block;
      block = new Uint8Array(BLOCK_LENGTH);
      filled = 0;
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

function readOptions({ abortSignal }: BlobWriteOptions): { readonly abortSignal?: AbortSignal } {
  return abortSignal === undefined ? {} : { abortSignal };
}
