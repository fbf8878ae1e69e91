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
   * Throws where what lies beside the blob does not fit; called before any region is read.
   * @default - nothing is looked at
   */
  readonly checkProperties?: (properties: BlobProperties) => void;
  readonly abortSignal?: AbortSignal;
}

/** Name of the leaf hashes that lie beside an object. */
export function leavesName(objectName: string): string {
  return `${objectName}.leaves`;
}

/**
 * Reads one sealed shard in ranges of one version of its blob and returns its Arrow bytes. Every region is checked against
 * its leaf, and the leaves against the signed root, before it is decrypted; plaintext leaves only when all of it is good.
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
  const [properties, leaves] = await Promise.all([
    store.properties(blob, options),
    store.get(`${prefix}/${leavesName(object.name)}`, options),
  ]);
  if (properties === undefined) throw rejected(object, 'it is not in the store');
  if (leaves === undefined) throw rejected(object, 'its leaf hashes are not in the store');
  if (properties.size !== object.ciphertextSize) {
    throw rejected(object, `found ${properties.size} sealed bytes, wanted ${object.ciphertextSize}`);
  }
  options.checkProperties?.(properties);
  checkLeaves(leaves.bytes, { name: object.name, merkleRoot: fromHex(object.merkleRoot), shape: object });
  const plaintext = new Uint8Array(object.plaintextSize);
  let next = 0;
  const openRegions = async () => {
    while (next < object.regionCount) {
      const index = next++;
      const { offset, length } = sealedRange(object, index);
      const region = await store.getRange(blob, offset, length, properties.etag, options);
      if (region === undefined) throw rejected(object, 'it was changed or removed while it was read');
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
