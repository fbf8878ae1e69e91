/**
 * Anybody can seal something to a public key. What tells a run's own checkpoints from a stranger's is a tag that needs every
 * data owner's keys (design section 4), each tag over the one before.
 */
import { createHmac, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import { concat, equalBytes, fromHex, sha256, toHex, uintBe, utf8 } from '../crypto/bytes.ts';
import { SecureTrainingError } from '../errors.ts';
import { type Slot, slotsShape } from '../keys/slots.ts';
import {
  blobPath,
  type Check,
  checkShape,
  fileName,
  hexSha256,
  integer,
  members,
  oneOf,
  parseJson,
  where,
} from '../shape.ts';
import { consistentSizes, type SealedDescription, sealedMembers } from './sealed-description.ts';

/** The sealed bytes of a checkpoint; its name is the blob's path. */
export interface CheckpointObject extends SealedDescription {
  /** Hex SHA-256 of all sealed bytes. */
  readonly sealedSha256: string;
}

/** What lies beside a sealed checkpoint. */
export interface CheckpointRecord {
  readonly version: 1;
  readonly runId: string;
  /** Training steps done. */
  readonly step: number;
  readonly object: CheckpointObject;
  readonly slots: readonly Slot[];
  /** Tag of the checkpoint before, {@link CHAIN_START} for the first. */
  readonly previousTag: string;
  readonly resumeTag: string;
}

/** What the first checkpoint of a run names as the tag before it. */
export const CHAIN_START = '0'.repeat(64);

const KEY_LABEL = 'ctrain/chain/v1';
const OBJECT_LABEL = 'ctrain/checkpoint/v1';
const TAG_LABEL = 'ctrain/resume/v1';
const KEY_LENGTH = 32;

/** A sealed object that is named by its place in the store and its digest. */
export const sealedObjectShape: Check<CheckpointObject> = where(
  members<CheckpointObject>({ ...sealedMembers, name: blobPath, sealedSha256: hexSha256 }),
  consistentSizes,
);

const recordShape = members<CheckpointRecord>({
  version: oneOf(1),
  runId: fileName,
  step: integer(0),
  object: sealedObjectShape,
  slots: slotsShape,
  previousTag: hexSha256,
  resumeTag: hexSha256,
});

/**
 * `HKDF-SHA256(all dataset CEKs in agreement order, info = label | agreement digest | SHA-256(run id))`. Whoever has it was
 * trusted with every dataset of the agreement.
 */
export function chainKey(ceks: readonly KeyObject[], agreementDigest: string, runId: string): KeyObject {
  if (ceks.length === 0) throw new TypeError('a checkpoint chain needs the key of at least one object');
  const raw = ceks.map((cek) => cek.export());
  const joined = concat(...raw);
  for (const each of raw) each.fill(0);
  const info = concat(utf8(KEY_LABEL), fixed(agreementDigest, 'agreement digest'), sha256(utf8(runId)));
  const derived = new Uint8Array(hkdfSync('sha256', joined, new Uint8Array(), info, KEY_LENGTH));
  joined.fill(0);
  try {
    return createSecretKey(derived);
  } finally {
    derived.fill(0);
  }
}

/** Hex digest of what a checkpoint's object is. Its key slots are left out: wrapping anew changes no checkpoint. */
function objectDigest(object: CheckpointObject): string {
  return toHex(
    sha256(
      utf8(OBJECT_LABEL),
      sha256(utf8(object.name)),
      fixed(object.merkleRoot, 'merkle root'),
      fixed(object.sealedSha256, 'sealed digest'),
      uintBe(object.plaintextSize, 8),
      uintBe(object.ciphertextSize, 8),
      uintBe(object.regionLength, 8),
      uintBe(object.regionCount, 8),
    ),
  );
}

/** `HMAC-SHA256(chain key, label | u64be step | object digest | previous tag)`, hex. */
export function resumeTag(key: KeyObject, step: number, digest: string, previousTag: string): string {
  const tagged = concat(
    utf8(TAG_LABEL),
    uintBe(step, 8),
    fixed(digest, 'object digest'),
    fixed(previousTag, 'previous tag'),
  );
  return createHmac('sha256', key).update(tagged).digest('hex');
}

/** Puts a checkpoint into the chain. */
export function linkCheckpoint(
  record: Omit<CheckpointRecord, 'version' | 'resumeTag'>,
  key: KeyObject,
): CheckpointRecord {
  const tag = resumeTag(key, record.step, objectDigest(record.object), record.previousTag);
  return { version: 1, ...record, resumeTag: tag };
}

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`, every wrong member listed */
export function parseCheckpoint(bytes: Uint8Array, what = 'checkpoint'): CheckpointRecord {
  return checkShape(recordShape, parseJson(bytes, what), what);
}

export function serialiseCheckpoint(record: CheckpointRecord): Uint8Array {
  checkShape(recordShape, record, 'checkpoint', 'CONFIG_INVALID');
  return utf8(`${JSON.stringify(record, null, 2)}\n`);
}

/**
 * Checks a record before its object is opened. The run id is in the key: a record of another run fails here too.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` naming the object
 */
export function verifyCheckpoint(record: CheckpointRecord, key: KeyObject): void {
  const wanted = resumeTag(key, record.step, objectDigest(record.object), record.previousTag);
  if (!equalBytes(fromHex(wanted), fromHex(record.resumeTag, 'resume tag'))) {
    throw new SecureTrainingError('CIPHERTEXT_REJECTED', `${record.object.name}: it is no checkpoint of this run`);
  }
}

function fixed(hex: string, what: string): Uint8Array {
  const bytes = fromHex(hex, what);
  if (bytes.length !== 32) throw new RangeError(`${what} is ${bytes.length} bytes, wanted 32`);
  return bytes;
}
