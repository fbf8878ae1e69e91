import type { KeyObject } from 'node:crypto';
import type { EcPublicJwk } from '../crypto/jwk.ts';
import { checkShape, fileName, hexSha256, integer, keyThumbprint, list, members, text } from '../shape.ts';
import {
  checkSubjects,
  type Envelope,
  parseEnvelope,
  predicateOf,
  readStatement,
  STATEMENT_TYPE,
  type Statement,
  type Subject,
  signStatement,
  verifyEnvelope,
} from './dsse.ts';

/** What an owner states after wrapping a dataset's content keys to another key. */
export interface RotationRecord {
  readonly dataset: string;
  readonly version: number;
  /** Hex SHA-256 of the manifest's payload, which a rotation leaves as it is. */
  readonly manifestDigest: string;
  readonly objects: number;
  /** Ids of the keys that the objects named before; empty when an earlier, interrupted rotation had done all of them. */
  readonly from: readonly string[];
  readonly to: string;
  /** RFC 7638 thumbprint of the key wrapped to. */
  readonly toThumbprint: string;
  /** Hex SHA-256 of `keys.json` as the rotation left it. */
  readonly slotsSha256: string;
  /** RFC 3339, by the owner's clock. */
  readonly rotatedAt: string;
}

const ROTATION_TYPE = 'urn:confidential-training:key-rotation:v1';

const keyId = text(/^[\x21-\x7e]{1,512}$/, 'a key id');

const recordShape = members<RotationRecord>({
  dataset: fileName,
  version: integer(1),
  manifestDigest: hexSha256,
  objects: integer(1),
  from: list(keyId, { maximum: 64, keyOf: (id) => id }),
  to: keyId,
  toThumbprint: keyThumbprint,
  slotsSha256: hexSha256,
  rotatedAt: text(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$/, 'a time such as 2026-01-31T00:00:00Z'),
});

/** @throws {@link SecureTrainingError} `CONFIG_INVALID`, every wrong member listed */
export function signRotation(record: RotationRecord, ownerKey: KeyObject): Envelope {
  const predicate = checkShape(recordShape, record, 'rotation record', 'CONFIG_INVALID');
  const statement = {
    _type: STATEMENT_TYPE,
    subject: subjectsOf(record),
    predicateType: ROTATION_TYPE,
    predicate: { ...predicate },
  } as const;
  return signStatement(statement, [ownerKey]);
}

/** @throws {@link SecureTrainingError} `CONSENT_MISSING` unless the owner signed it, `EVIDENCE_MALFORMED` when it is no rotation record */
export function verifyRotation(bytes: Uint8Array, ownerKey: EcPublicJwk, what = 'rotation record'): RotationRecord {
  return parseRotation(verifyEnvelope(bytes, [ownerKey], what).statement, what);
}

/**
 * Reads a record whose signature nobody has checked: for display.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` when it is no rotation record
 */
export function readRotation(bytes: Uint8Array, what = 'rotation record'): RotationRecord {
  return parseRotation(readStatement(parseEnvelope(bytes, what), what).statement, what);
}

function parseRotation(statement: Statement, what: string): RotationRecord {
  const record = checkShape(recordShape, predicateOf(statement, ROTATION_TYPE, what), what);
  checkSubjects(statement.subject, subjectsOf(record), what);
  return record;
}

function subjectsOf({ dataset, version, manifestDigest }: RotationRecord): Subject[] {
  return [{ name: `${dataset}/${version}`, digest: { sha256: manifestDigest } }];
}
