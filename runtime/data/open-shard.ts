import type { KeyObject } from 'node:crypto';
import { fromHex } from '../crypto/bytes.ts';
import { checkLeaf, checkLeaves, openRegion, sealedRange } from '../crypto/sealed-object.ts';
import { SecureTrainingError } from '../errors.ts';
import type { ManifestObject } from '../statements/manifest.ts';
import type { BlobProperties, BlobStore } from './blob-store.ts';

/** Regions of one shard fetched at the same time: 16 MiB in flight. */
const CONCURRENT_REGIONS = 4;

export interface OpenShardOptions {
  /**
   * Throws where what lies beside the blob does not fit; called before any region is read, and again for every version of
   * the blob that turns up while it is read.
   * @default - nothing is looked at
   */
  readonly checkProperties?: (properties: BlobProperties) => void | Promise<void>;
  readonly abortSignal?: AbortSignal;
}

/** A rotation writes metadata once a blob, so more new versions than this within one read are not one. */
const NEW_VERSIONS = 3;

/** Name of the leaf hashes that lie beside an object. */
export function leavesName(objectName: string): string {
  return `${objectName}.leaves`;
}

/**
 * Reads one sealed shard in ranges and returns its Arrow bytes. Every region is checked against its leaf, and the leaves
 * against the signed root, before it is decrypted; plaintext leaves only when all of it is good. A blob whose metadata is
 * rewritten meanwhile (a rotation) is read on from where it was; what it holds is in the signed root, not in its version.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` naming the object
 */
export async function openShard(
  store: BlobStore,
  prefix: string,
  object: ManifestObject,
  cek: KeyObject,
  options: OpenShardOptions = {},
): Promise<Uint8Array> {
  const blob = `${prefix}/${object.name}`;
  const current = async () => {
    const properties = await store.properties(blob, options);
    if (properties === undefined) throw rejected(object, 'it is not in the store');
    if (properties.size !== object.ciphertextSize) {
      throw rejected(object, `found ${properties.size} sealed bytes, wanted ${object.ciphertextSize}`);
    }
    await options.checkProperties?.(properties);
    return properties.etag;
  };
  const [etag, leaves] = await Promise.all([current(), store.get(`${prefix}/${leavesName(object.name)}`, options)]);
  if (leaves === undefined) throw rejected(object, 'its leaf hashes are not in the store');
  checkLeaves(leaves.bytes, { name: object.name, merkleRoot: fromHex(object.merkleRoot), shape: object });
  const plaintext = new Uint8Array(object.plaintextSize);
  let version = { etag, count: 0 };
  const readRange = async (offset: number, length: number): Promise<Uint8Array> => {
    for (;;) {
      const asked = version;
      const region = await store.getRange(blob, offset, length, asked.etag, options);
      if (region !== undefined) return region;
      if (asked.count === NEW_VERSIONS) throw rejected(object, 'it was changed or removed while it was read');
      const fresh = { etag: await current(), count: asked.count + 1 };
      // Another reader may have found the new version first.
      if (version === asked) version = fresh;
    }
  };
  let next = 0;
  const openRegions = async () => {
    while (next < object.regionCount) {
      const index = next++;
      const { offset, length } = sealedRange(object, index);
      const region = await readRange(offset, length);
      if (region.length !== length)
        throw rejected(object, `found ${region.length} bytes of region ${index}, wanted ${length}`);
      checkLeaf(leaves.bytes, index, region, object.name);
      const opened = openRegion(cek, index, region, { name: object.name, nonceScheme: object.nonceScheme });
      plaintext.set(opened, index * object.regionLength);
      opened.fill(0);
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(CONCURRENT_REGIONS, object.regionCount) }, openRegions));
  } catch (error) {
    // The other readers stop at their next region; what was opened so far goes nowhere.
    next = object.regionCount;
    plaintext.fill(0);
    throw error;
  }
  return plaintext;
}

function rejected(object: ManifestObject, message: string): SecureTrainingError {
  return new SecureTrainingError('CIPHERTEXT_REJECTED', `${object.name}: ${message}`);
}
