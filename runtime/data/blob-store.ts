/** What the project needs of blob storage, defined here so that its users import no Azure. `runtime/azure/blob-store.ts` implements it. */

export interface BlobProperties {
  readonly size: number;
  /** Opaque, with its quotes: changes with every write. */
  readonly etag: string;
  /** Names in lower case. */
  readonly metadata: Readonly<Record<string, string>>;
}

export interface BlobContent extends BlobProperties {
  readonly bytes: Uint8Array;
}

export interface BlobListing {
  readonly name: string;
  readonly size: number;
  readonly lastModified: Date;
}

/** Anything that still holds a blob's metadata: the blob, an older version, a snapshot, or one of these deleted and not gone yet. */
export interface BlobCopy {
  readonly name: string;
  readonly kind: 'live' | 'version' | 'snapshot' | 'deleted';
  /** Names in lower case. */
  readonly metadata: Readonly<Record<string, string>>;
}

export interface BlobReadOptions {
  readonly abortSignal?: AbortSignal;
}

export interface BlobWriteOptions {
  /**
   * `*`: write only where there is no blob yet.
   * @default - written whether or not there is one
   */
  readonly ifNoneMatch?: '*';
  /**
   * Write only over the version with this ETag.
   * @default - written over any version
   */
  readonly ifMatch?: string;
  /** @default {} */
  readonly metadata?: Readonly<Record<string, string>>;
  /**
   * Lease that the writer holds on the blob.
   * @default - none: a leased blob refuses the write
   */
  readonly leaseId?: string;
  /**
   * Bytes sent so far; never decreases.
   * @default - not told
   */
  readonly onProgress?: (sentBytes: number) => void;
  readonly abortSignal?: AbortSignal;
}

/**
 * One container. A blob is committed whole or not at all, however it was sent.
 * Expected outcomes are values (`undefined`, `false`); everything else throws `UNAVAILABLE` after retries, or at once.
 */
export interface BlobStore {
  /** The whole blob in memory: for small ones. `undefined` when there is none. */
  get(name: string, options?: BlobReadOptions): Promise<BlobContent | undefined>;
  /** Exactly `length` bytes. `undefined` when there is no blob, it is shorter, or its ETag is no longer `etag`. */
  getRange(
    name: string,
    offset: number,
    length: number,
    etag?: string,
    options?: BlobReadOptions,
  ): Promise<Uint8Array | undefined>;
  properties(name: string, options?: BlobReadOptions): Promise<BlobProperties | undefined>;
  /** The new ETag, or `undefined` when the condition did not hold. */
  put(name: string, bytes: Uint8Array, options?: BlobWriteOptions): Promise<string | undefined>;
  /** As {@link put}, from a file, in staged blocks, memory flat. */
  putFile(name: string, path: string, options?: BlobWriteOptions): Promise<string | undefined>;
  /** As {@link put}, from chunks of any size, in staged blocks, memory flat. */
  putStream(name: string, chunks: AsyncIterable<Uint8Array>, options?: BlobWriteOptions): Promise<string | undefined>;
  /**
   * Replaces all metadata of the version with this ETag; the bytes stay. The new ETag, or `undefined` when the condition did
   * not hold.
   */
  setMetadata(
    name: string,
    metadata: Readonly<Record<string, string>>,
    ifMatch: string,
    options?: BlobReadOptions,
  ): Promise<string | undefined>;
  /** Every copy of every blob below `prefix`: versions, snapshots and what is deleted but not gone. */
  copies(prefix: string, options?: BlobReadOptions): AsyncIterable<BlobCopy>;
  /** In the order of names. */
  list(prefix: string, options?: BlobReadOptions): AsyncIterable<BlobListing>;
  /** `false` when there was none. */
  delete(name: string): Promise<boolean>;
  /** `leaseId` is a UUID of the caller's; `false` when somebody else holds the lease. Taking one's own again is allowed. 15 to 60 seconds. */
  acquireLease(name: string, leaseId: string, seconds: number): Promise<boolean>;
  /** `false` when the lease is lost. */
  renewLease(name: string, leaseId: string): Promise<boolean>;
  /** A lease already lost is no failure. */
  releaseLease(name: string, leaseId: string): Promise<void>;
}
