import type { KeyObject } from 'node:crypto';
import type { EcPublicJwk } from '../crypto/jwk.ts';
import { type Slot, slotsShape } from '../keys/slots.ts';
import { checkShape, fileName, hexSha256, integer, list, members, text } from '../shape.ts';
import {
  checkSubjects,
  type Envelope,
  predicateOf,
  STATEMENT_TYPE,
  type Statement,
  type Subject,
  signStatement,
  verifyEnvelope,
} from './dsse.ts';
import { type ManifestObject, manifestObjectShape } from './manifest.ts';

/** One dataset of a {@link ReencryptionPlan}. */
export interface PlannedDataset {
  readonly dataset: string;
  /** The version that is sealed anew. */
  readonly from: number;
  /** Hex SHA-256 of its manifest's payload. */
  readonly manifestDigest: string;
  /** The version that comes of it. */
  readonly version: number;
}

/** What an owner's re-encryption that has not ended is to do: a rerun goes on with it. Lies in the store, so it is signed. */
export interface ReencryptionPlan {
  /** Versioned id of the vault key that everything is sealed to. */
  readonly to: string;
  /** RFC 3339, by the owner's clock. */
  readonly startedAt: string;
  readonly datasets: readonly PlannedDataset[];
}

/** One object that was sealed anew, read back and found to hold the same: what is left of it to do is the manifest. */
export interface ReencryptedObject {
  /** Manifest of the old version, by digest, and the object in it. */
  readonly manifestDigest: string;
  readonly from: string;
  /** As the new manifest will list it. */
  readonly object: ManifestObject;
  readonly slots: readonly Slot[];
}

const PLAN_TYPE = 'urn:confidential-training:reencryption-plan:v1';
const OBJECT_TYPE = 'urn:confidential-training:reencrypted-object:v1';

const planShape = members<ReencryptionPlan>({
  to: text(/^[\x21-\x7e]{1,512}$/, 'a key id'),
  startedAt: text(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$/, 'a time such as 2026-01-31T00:00:00Z'),
  datasets: list(
    members<PlannedDataset>({
      dataset: fileName,
      from: integer(1),
      manifestDigest: hexSha256,
      version: integer(2),
    }),
    { minimum: 1, maximum: 100_000, keyOf: ({ dataset }) => dataset },
  ),
});

const objectShape = members<ReencryptedObject>({
  manifestDigest: hexSha256,
  from: fileName,
  object: manifestObjectShape,
  slots: slotsShape,
});

/** @throws {@link SecureTrainingError} `CONFIG_INVALID`, every wrong member listed */
export function signPlan(plan: ReencryptionPlan, ownerKey: KeyObject): Envelope {
  const predicate = checkShape(planShape, plan, 're-encryption plan', 'CONFIG_INVALID');
  return sign(PLAN_TYPE, planSubjects(plan), { ...predicate }, ownerKey);
}

/** @throws {@link SecureTrainingError} `CONSENT_MISSING` unless the owner signed it, `EVIDENCE_MALFORMED` when it is none */
export function verifyPlan(bytes: Uint8Array, ownerKey: EcPublicJwk, what = 're-encryption plan'): ReencryptionPlan {
  const { statement } = verifyEnvelope(bytes, [ownerKey], what);
  const plan = checkShape(planShape, predicateOf(statement, PLAN_TYPE, what), what);
  checkSubjects(statement.subject, planSubjects(plan), what);
  return plan;
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID`, every wrong member listed */
export function signReencrypted(record: ReencryptedObject, ownerKey: KeyObject): Envelope {
  const predicate = checkShape(objectShape, record, 're-encrypted object', 'CONFIG_INVALID');
  return sign(OBJECT_TYPE, objectSubjects(record), { ...predicate }, ownerKey);
}

/** @throws {@link SecureTrainingError} `CONSENT_MISSING` unless the owner signed it, `EVIDENCE_MALFORMED` when it is none */
export function verifyReencrypted(
  bytes: Uint8Array,
  ownerKey: EcPublicJwk,
  what = 're-encrypted object',
): ReencryptedObject {
  const { statement } = verifyEnvelope(bytes, [ownerKey], what);
  const record = checkShape(objectShape, predicateOf(statement, OBJECT_TYPE, what), what);
  checkSubjects(statement.subject, objectSubjects(record), what);
  return record;
}

function sign(
  predicateType: string,
  subject: readonly Subject[],
  predicate: Statement['predicate'],
  ownerKey: KeyObject,
): Envelope {
  return signStatement({ _type: STATEMENT_TYPE, subject, predicateType, predicate }, [ownerKey]);
}

function planSubjects({ datasets }: ReencryptionPlan): Subject[] {
  return datasets.map(({ dataset, from, manifestDigest }) => ({
    name: `${dataset}/${from}`,
    digest: { sha256: manifestDigest },
  }));
}

function objectSubjects({ object }: ReencryptedObject): Subject[] {
  return [{ name: object.name, digest: { sha256: object.merkleRoot } }];
}
