import type { ContainerClient } from '@azure/storage-blob';
import type { BlobCopy, BlobReadOptions, BlobStore } from '../data/blob-store.ts';
import type { StoreCall } from './blob-store.ts';
import { httpFailure } from './http-failure.ts';

/** 404: gone; 412: no longer that version. */
const CONDITION_FAILED: ReadonlySet<number | undefined> = new Set([404, 412]);

/** What rotation needs of one container: metadata replaced under a condition, and every copy that still carries some. */
export function blobMetadata(
  client: ContainerClient,
  container: string,
  call: StoreCall,
): Pick<BlobStore, 'setMetadata' | 'copies'> {
  return {
    setMetadata: (name, metadata, ifMatch, options) =>
      call(
        `write metadata of ${container}/${name}`,
        async (abortSignal, attempt) => {
          const blob = client.getBlobClient(name);
          try {
            const { etag } = await blob.setMetadata({ ...metadata }, { conditions: { ifMatch }, abortSignal });
            return etag;
          } catch (error) {
            if (!CONDITION_FAILED.has(httpFailure(error)?.status)) throw error;
            // An earlier attempt whose answer was lost may be what changed the version.
            if (attempt === 1) return undefined;
            const there = await blob.getProperties({ abortSignal }).catch(() => undefined);
            return isSame(there?.metadata, metadata) ? there?.etag : undefined;
          }
        },
        options,
      ),
    copies: (prefix, options) => copies(client, prefix, `list every copy in ${container}/${prefix}`, call, options),
  };
}

async function* copies(
  client: ContainerClient,
  prefix: string,
  what: string,
  call: StoreCall,
  options?: BlobReadOptions,
): AsyncGenerator<BlobCopy> {
  let marker: string | undefined;
  do {
    const page = await call(
      what,
      async (abortSignal) => {
        const everything = {
          includeMetadata: true,
          includeSnapshots: true,
          includeVersions: true,
          includeDeleted: true,
        };
        const { value } = await client
          .listBlobsFlat({ prefix, abortSignal, ...everything })
          .byPage({ maxPageSize: 1000, ...(marker === undefined ? {} : { continuationToken: marker }) })
          .next();
        return value;
      },
      options,
    );
    for (const { name, metadata = {}, deleted, snapshot, versionId, isCurrentVersion } of page?.segment.blobItems ??
      []) {
      const isOld = versionId !== undefined && isCurrentVersion !== true;
      const kind = deleted === true ? 'deleted' : snapshot ? 'snapshot' : isOld ? 'version' : 'live';
      yield { name, kind, metadata: lowered(metadata) };
    }
    marker = page?.continuationToken === '' ? undefined : page?.continuationToken;
  } while (marker !== undefined);
}

function isSame(
  found: Readonly<Record<string, string>> | undefined,
  wanted: Readonly<Record<string, string>>,
): boolean {
  const entries = Object.entries(lowered(wanted));
  const there = lowered(found ?? {});
  return entries.length === Object.keys(there).length && entries.every(([name, value]) => there[name] === value);
}

function lowered(metadata: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(metadata).map(([name, value]) => [name.toLowerCase(), value]));
}
