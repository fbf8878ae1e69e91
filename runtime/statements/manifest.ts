import type { KeyObject } from 'node:crypto';
import { equalBytes, fromHex, toHex } from '../crypto/bytes.ts';
import { type EcPublicJwk, ecPublicJwk, thumbprint } from '../crypto/jwk.ts';
import { keyBinding } from '../crypto/key-binding.ts';
import { SecureTrainingError } from '../errors.ts';
import {
  type Check,
  checkShape,
  fileName,
  finite,
  hexSha256,
  integer,
  keyThumbprint,
  label,
  list,
  mapOf,
  members,
  oneOf,
  where,
} from '../shape.ts';
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
import { consistentSizes, expectedObject, type SealedDescription, sealedMembers } from './sealed-description.ts';

export const SPLITS = ['train', 'validation', 'test'] as const;
export type Split = (typeof SPLITS)[number];

/** What becomes of a feature before the model sees it: `(x - mean) / deviation`, or `x / divisor`. */
export type Normalisation =
  | { readonly kind: 'none' }
  | { readonly kind: 'scale'; readonly divisor: number }
  /** One value for each feature. */
  | { readonly kind: 'standard'; readonly mean: readonly number[]; readonly deviation: readonly number[] };

/**
 * How columns of the owner's table became features, where that is more than a number as it stands. Without it a feature is the
 * column of its name.
 */
export interface RowCoding {
  /** One-hot: a feature `COLUMN=NAME` for each name. Ordinal: the name's place in the list, from 1. A name that is not listed is 0. */
  readonly names: 'one-hot' | 'ordinal';
  /** By column: the names known. */
  readonly categories: Readonly<Record<string, readonly string[]>>;
  /** By column: what stands for a missing number; a column that is not here must have one. */
  readonly fill: Readonly<Record<string, number>>;
}

/** How the rows of a dataset look; the same in every split. */
export interface DatasetSchema {
  /** Names of the features, in order. */
  readonly columns: readonly string[];
  readonly featureCount: number;
  readonly dtype: 'uint8' | 'float32';
  /** Name of the label column. */
  readonly label: string;
  /** Names of the classes; a row's label is an index into this list. Empty: labels are values, float32. */
  readonly classes: readonly string[];
  readonly normalisation: Normalisation;
  /** @default - features are the columns of their names, and none may be missing */
  readonly coding?: RowCoding | undefined;
}

/** One sealed shard. */
export interface ManifestObject extends SealedDescription {
  readonly split: Split;
  readonly rows: number;
  /** Hex of {@link keyBinding}. */
  readonly keyBinding: string;
}

/** An owner's list of what a version of a dataset consists of. Nothing in it changes when keys are wrapped anew. */
export interface Manifest {
  /** Thumbprint of the owner's key. */
  readonly ownerId: string;
  readonly dataset: string;
  readonly version: number;
  readonly schema: DatasetSchema;
  /** Shards, in the order in which a split is read. */
  readonly objects: readonly ManifestObject[];
}

const MANIFEST_TYPE = 'urn:confidential-training:dataset-manifest:v1';

const MAXIMUM_FEATURES = 1_000_000;
const MAXIMUM_CLASSES = 65_536;
const MAXIMUM_CATEGORIES = 65_536;
const MAXIMUM_OBJECTS = 100_000;

const perFeature = list(finite, { minimum: 1, maximum: MAXIMUM_FEATURES });
const positive = where(finite, (value) => (value > 0 ? undefined : `found ${value}, wanted a number above 0`));

const NORMALISATIONS: { readonly [K in Normalisation['kind']]: Check<Normalisation> } = {
  none: members<{ kind: 'none' }>({ kind: oneOf('none') }),
  scale: members<{ kind: 'scale'; divisor: number }>({ kind: oneOf('scale'), divisor: positive }),
  standard: members<{ kind: 'standard'; mean: readonly number[]; deviation: readonly number[] }>({
    kind: oneOf('standard'),
    mean: perFeature,
    deviation: list(positive, { minimum: 1, maximum: MAXIMUM_FEATURES }),
  }),
};

const normalisation: Check<Normalisation> = (value, path, failures) => {
  const kind = (value as { kind?: unknown } | null | undefined)?.kind;
  const known = oneOf('none', 'scale', 'standard')(kind, `${path}.kind`, failures);
  return known === kind ? NORMALISATIONS[known](value, path, failures) : { kind: 'none' };
};

const rowCoding = members<RowCoding>({
  names: oneOf('one-hot', 'ordinal'),
  categories: mapOf(
    label,
    list(label, { minimum: 1, maximum: MAXIMUM_CATEGORIES, keyOf: (name) => name }),
    MAXIMUM_FEATURES,
  ),
  fill: mapOf(label, finite, MAXIMUM_FEATURES),
});

/** Shape of {@link DatasetSchema}, for whoever else stores one. */
export const datasetSchemaShape: Check<DatasetSchema> = where(
  members<DatasetSchema>({
    columns: list(label, { minimum: 1, maximum: MAXIMUM_FEATURES, keyOf: (name) => name }),
    featureCount: integer(1, MAXIMUM_FEATURES),
    dtype: oneOf('uint8', 'float32'),
    label,
    classes: list(label, { minimum: 0, maximum: MAXIMUM_CLASSES, keyOf: (name) => name }),
    normalisation,
    coding: (value, path, failures) => (value === undefined ? undefined : rowCoding(value, path, failures)),
  }),
  ({ columns, featureCount, normalisation: rule }) => {
    if (columns.length !== featureCount) return `found ${columns.length} columns, wanted ${featureCount}`;
    if (rule.kind !== 'standard') return undefined;
    const { mean, deviation } = rule;
    return mean.length === featureCount && deviation.length === featureCount
      ? undefined
      : `found ${mean.length} means and ${deviation.length} deviations, wanted ${featureCount} of each`;
  },
);

/** Shape of {@link ManifestObject}, for whoever else states one. */
export const manifestObjectShape: Check<ManifestObject> = where(
  members<ManifestObject>({ ...sealedMembers, split: oneOf(...SPLITS), rows: integer(1), keyBinding: hexSha256 }),
  consistentSizes,
);

const manifestShape = members<Manifest>({
  ownerId: keyThumbprint,
  dataset: fileName,
  version: integer(1),
  schema: datasetSchemaShape,
  objects: list(manifestObjectShape, { minimum: 1, maximum: MAXIMUM_OBJECTS, keyOf: ({ name }) => name }),
});

/**
 * The statement to sign. Its subjects are the objects by their Merkle roots.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`, every wrong member listed
 */
export function manifestStatement(manifest: Manifest): Statement {
  const predicate = checkShape(manifestShape, manifest, 'manifest', 'CONFIG_INVALID');
  return {
    _type: STATEMENT_TYPE,
    subject: subjectsOf(manifest),
    predicateType: MANIFEST_TYPE,
    predicate: { ...predicate },
  };
}

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`, every wrong member listed */
export function parseManifest(statement: Statement, what = 'manifest'): Manifest {
  const manifest = checkShape(manifestShape, predicateOf(statement, MANIFEST_TYPE, what), what);
  checkSubjects(statement.subject, subjectsOf(manifest), what);
  return manifest;
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` when the key is not the one that the manifest names as its owner */
export function signManifest(manifest: Manifest, ownerKey: KeyObject): Envelope {
  const signer = thumbprint(ecPublicJwk(ownerKey));
  if (signer !== manifest.ownerId) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `manifest is of owner ${manifest.ownerId}, the signing key is ${signer}`,
    );
  }
  return signStatement(manifestStatement(manifest), [ownerKey]);
}

/**
 * @throws {@link SecureTrainingError} `CONSENT_MISSING` unless the owner signed it, `EVIDENCE_MALFORMED` when it is no manifest or
 * says it is somebody else's
 */
export function verifyManifest(
  bytes: Uint8Array,
  ownerKey: EcPublicJwk,
  what = 'manifest',
): { readonly manifest: Manifest; readonly digest: string } {
  const { statement, digest } = verifyEnvelope(bytes, [ownerKey], what);
  const manifest = parseManifest(statement, what);
  const signer = thumbprint(ownerKey);
  if (manifest.ownerId !== signer) {
    throw new SecureTrainingError(
      'EVIDENCE_MALFORMED',
      `${what}: it names owner ${manifest.ownerId}, but ${signer} signed it`,
    );
  }
  return { manifest, digest };
}

/** Hex of the binding that a manifest states for an object: whoever seals computes it with the key still at hand. */
export function bindObject(cek: KeyObject, ownerId: string, description: SealedDescription): string {
  const { name, merkleRoot, shape } = expectedObject(description);
  return toHex(keyBinding(cek, { ownerId, name: name ?? '', merkleRoot, shape, nonceScheme: description.nonceScheme }));
}

/**
 * Checks, before anything is opened, that an unwrapped key is the one that this owner sealed this object with.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` naming the object
 */
export function checkKeyBinding(cek: KeyObject, ownerId: string, object: ManifestObject): void {
  if (!equalBytes(fromHex(bindObject(cek, ownerId, object)), fromHex(object.keyBinding))) {
    throw new SecureTrainingError(
      'CIPHERTEXT_REJECTED',
      `${object.name}: its key is not the one that its owner bound to it`,
    );
  }
}

function subjectsOf({ objects }: Manifest): Subject[] {
  return objects.map(({ name, merkleRoot }) => ({ name, digest: { sha256: merkleRoot } }));
}
