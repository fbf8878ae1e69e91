import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { ENCRYPTION_DATA } from '../crypto/encryption-data.ts';
import { SecureTrainingError } from '../errors.ts';
import type { BlobStore } from './blob-store.ts';
import { encryptionDataName, readOptional } from './sealed-folder.ts';

/** Where one version of a dataset lies, for those who only look: names are those below its folder, `/` between them. */
export interface DatasetSource {
  /** Bytes by name. */
  sizes(): Promise<ReadonlyMap<string, number>>;
  /** A small file whole; `undefined` when there is none. */
  read(name: string): Promise<Uint8Array | undefined>;
  /** What SDKs would open an object with, as JSON; `undefined` when there is none. */
  encryptionData(objectName: string): Promise<string | undefined>;
  /** An object's sealed bytes, cut anywhere. */
  chunks(objectName: string, size: number): AsyncIterable<Uint8Array>;
}

const CHUNK = 4_194_304;

/** A folder that `encrypt-data` or `download` wrote. */
export function folderSource(folder: string): DatasetSource {
  const read = async (name: string) => readOptional(join(folder, ...name.split('/')));
  return {
    sizes: async () => {
      const sizes = new Map<string, number>();
      for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile()) continue;
        const path = join(entry.parentPath, entry.name);
        sizes.set(path.slice(join(folder, '/').length).split(sep).join('/'), (await stat(path)).size);
      }
      return sizes;
    },
    read,
    encryptionData: async (objectName) => {
      const bytes = await read(encryptionDataName(objectName));
      return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
    },
    chunks: (objectName) => createReadStream(join(folder, objectName), { highWaterMark: CHUNK }),
  };
}

/** A version's folder in container `datasets`. */
export function storeSource(store: BlobStore, prefix: string): DatasetSource {
  return {
    sizes: async () => {
      const sizes = new Map<string, number>();
      for await (const { name, size } of store.list(`${prefix}/`)) sizes.set(name.slice(prefix.length + 1), size);
      return sizes;
    },
    read: async (name) => (await store.get(`${prefix}/${name}`))?.bytes,
    encryptionData: async (objectName) =>
      (await store.properties(`${prefix}/${objectName}`))?.metadata[ENCRYPTION_DATA],
    async *chunks(objectName, size) {
      const blob = `${prefix}/${objectName}`;
      const etag = (await store.properties(blob))?.etag;
      for (let at = 0; at < size; at += CHUNK) {
        const chunk = await store.getRange(blob, at, Math.min(CHUNK, size - at), etag);
        if (chunk === undefined)
          throw new SecureTrainingError('UNAVAILABLE', `${blob} was changed or removed while it was read: try again`);
        yield chunk;
      }
    },
  };
}
