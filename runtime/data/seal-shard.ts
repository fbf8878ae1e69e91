import { join } from 'node:path';
import { utf8 } from '../crypto/bytes.ts';
import { encryptionDataJson } from '../crypto/encryption-data.ts';
import { importJwk, type RsaPublicJwk, thumbprint } from '../crypto/jwk.ts';
import { wrapCek } from '../crypto/key-wrap.ts';
import { generateCek, REGION_LENGTH, sealBytes } from '../crypto/sealed-object.ts';
import { type Slot, slotOf, thumbprintKeyId } from '../keys/slots.ts';
import { bindObject, type ManifestObject, type Split } from '../statements/manifest.ts';
import { describeSealed } from '../statements/sealed-description.ts';
import { encodeShard, type Rows } from './arrow-shard.ts';
import { writeFileAtomic } from './atomic-file.ts';
import { leavesName } from './open-shard.ts';
import { encryptionDataName } from './sealed-folder.ts';

const PROTOCOL = '2.0';

/** A public key to seal to, and its name in key slots. */
export interface SealingKey {
  /** Versioned URL of a vault key, or `urn:ietf:params:oauth:jwk-thumbprint:sha-256:…`. */
  readonly keyId: string;
  readonly jwk: RsaPublicJwk;
}

/** Everything that sealing one shard needs, and nothing that a thread could not be sent. */
export interface ShardToSeal {
  readonly name: string;
  readonly split: Split;
  /** Zeroed once they are sealed. */
  readonly rows: Rows | RawRows;
  readonly folder: string;
  readonly ownerId: string;
  readonly kek: SealingKey;
  /** @default - no escrow slot */
  readonly escrow?: RsaPublicJwk;
  /** @default - the escrow key's thumbprint */
  readonly escrowKeyId?: string;
}

/** Bytes that only a custom dataset opens, and how many rows it will find in them. */
export interface RawRows {
  readonly bytes: Uint8Array;
  readonly count: number;
}

/** Rows of one shard. */
export function countRows(rows: Rows | RawRows): number {
  return 'bytes' in rows ? rows.count : rows.labels.length;
}

export interface SealedShard {
  readonly object: ManifestObject;
  readonly slots: readonly Slot[];
}

/**
 * Seals one shard into a folder: object, leaf hashes and encryptiondata, each whole or absent. The content key is made
 * here and ends here; only wrapped does it leave.
 */
export async function sealShard(shard: ShardToSeal): Promise<SealedShard> {
  const { name, split, rows, folder, ownerId, kek, escrow } = shard;
  const plaintext = 'bytes' in rows ? rows.bytes : encodeShard(rows, { version: 1, split });
  const cek = generateCek();
  const { sealed, ...summary } = await sealBytes(plaintext, cek);
  plaintext.fill(0);
  if ('features' in rows) rows.features.fill(0);
  const encryptedKey = wrapCek(cek, importJwk(kek.jwk));
  const slots = [slotOf(kek.keyId, encryptedKey)];
  if (escrow !== undefined && thumbprint(escrow) !== thumbprint(kek.jwk)) {
    slots.push(slotOf(shard.escrowKeyId ?? thumbprintKeyId(thumbprint(escrow)), wrapCek(cek, importJwk(escrow))));
  }
  const data = encryptionDataJson({
    keyId: kek.keyId,
    encryptedKey,
    protocol: PROTOCOL,
    regionLength: REGION_LENGTH,
  });
  // The folder was cleaned once for all: looking through it for each of thousands of files would take longer than sealing.
  const write = (file: string, bytes: Uint8Array) => writeFileAtomic(join(folder, file), bytes, { isClean: true });
  const written = await Promise.allSettled([
    write(name, sealed),
    write(leavesName(name), summary.leaves),
    write(encryptionDataName(name), utf8(data)),
  ]);
  for (const result of written) if (result.status === 'rejected') throw result.reason;
  const description = describeSealed(name, summary);
  return {
    object: { ...description, split, rows: countRows(rows), keyBinding: bindObject(cek, ownerId, description) },
    slots,
  };
}
