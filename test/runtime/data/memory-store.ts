import { readFile } from 'node:fs/promises';
import type {
  BlobContent,
  BlobCopy,
  BlobListing,
  BlobStore,
  BlobWriteOptions,
} from '../../../runtime/data/blob-store.ts';

/** A container in memory that keeps the interface's promises: conditions, ETags, whole blobs. Leases are not needed here. */
export interface MemoryStore extends BlobStore {
  readonly blobs: Map<string, BlobContent>;
  /** Calls in order, as `put NAME`. */
  readonly calls: string[];
  /** Thrown before a call does anything, when it returns an error for it. */
  fail: (call: string) => Error | undefined;
}

export function memoryStore(): MemoryStore {
  const blobs = new Map<string, BlobContent>();
  const calls: string[] = [];
  let writes = 0;
  const called = (method: string, name: string) => {
    const call = `${method} ${name}`;
    const error = store.fail(call);
    if (error !== undefined) throw error;
    calls.push(call);
  };
  const write = (name: string, bytes: Uint8Array, options: BlobWriteOptions = {}): string | undefined => {
    called('put', name);
    const there = blobs.get(name);
    if (options.ifNoneMatch === '*' && there !== undefined) return undefined;
    if (options.ifMatch !== undefined && there?.etag !== options.ifMatch) return undefined;
    const etag = `"${++writes}"`;
    blobs.set(name, { bytes: bytes.slice(), size: bytes.length, etag, metadata: { ...options.metadata } });
    options.onProgress?.(bytes.length);
    return etag;
  };
  const store: MemoryStore = {
    blobs,
    calls,
    fail: () => undefined,
    async get(name) {
      called('get', name);
      return blobs.get(name);
    },
    async getRange(name, offset, length, etag) {
      called('getRange', name);
      const blob = blobs.get(name);
      if (blob === undefined || blob.size < offset + length || (etag !== undefined && etag !== blob.etag))
        return undefined;
      return blob.bytes.slice(offset, offset + length);
    },
    async properties(name) {
      called('properties', name);
      return blobs.get(name);
    },
    put: async (name, bytes, options) => write(name, bytes, options),
    putFile: async (name, path, options) => write(name, await readFile(path), options),
    async putStream(name, chunks, options) {
      const parts: Uint8Array[] = [];
      for await (const chunk of chunks) parts.push(chunk);
      return write(name, Buffer.concat(parts), options);
    },
    async setMetadata(name, metadata, ifMatch) {
      called('setMetadata', name);
      const there = blobs.get(name);
      if (there?.etag !== ifMatch) return undefined;
      const etag = `"${++writes}"`;
      blobs.set(name, { ...there, etag, metadata: { ...metadata } });
      return etag;
    },
    async *copies(prefix): AsyncGenerator<BlobCopy> {
      for (const [name, { metadata }] of blobs) if (name.startsWith(prefix)) yield { name, kind: 'live', metadata };
    },
    async *list(prefix): AsyncGenerator<BlobListing> {
      for (const [name, { size }] of [...blobs].sort(([a], [b]) => (a < b ? -1 : 1))) {
        if (name.startsWith(prefix)) yield { name, size, lastModified: new Date(0) };
      }
    },
    delete: async (name) => blobs.delete(name),
    acquireLease: async () => true,
    renewLease: async () => true,
    releaseLease: async () => undefined,
  };
  return store;
}
