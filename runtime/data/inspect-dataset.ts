import { toBase64 } from '../crypto/bytes.ts';
import { ENCRYPTION_DATA, parseEncryptionData } from '../crypto/encryption-data.ts';
import type { EcPublicJwk } from '../crypto/jwk.ts';
import { HASH_LENGTH } from '../crypto/merkle.ts';
import { SecureTrainingError } from '../errors.ts';
import { type KeySlots, parseKeySlots } from '../keys/slots.ts';
import { parseEnvelope, readStatement } from '../statements/dsse.ts';
import {
  type DatasetSchema,
  type Manifest,
  type ManifestObject,
  parseManifest,
  SPLITS,
  type Split,
  verifyManifest,
} from '../statements/manifest.ts';
import { type RotationRecord, readRotation, verifyRotation } from '../statements/rotation-record.ts';
import type { DatasetSource } from './dataset-source.ts';
import { leavesName } from './open-shard.ts';
import { KEYS_FILE, MANIFEST_FILE } from './sealed-folder.ts';
import { checkRegions } from './upload-dataset.ts';

export interface InspectOptions {
  /**
   * Whose signature the manifest must carry.
   * @default - nobody's: what it says is shown as somebody's word
   */
  readonly ownerKey?: EcPublicJwk;
  /**
   * Reads every object and checks each region against the signed root; costs the whole traffic.
   * @default false
   */
  readonly deep?: boolean;
  /** Called as an object was looked at. */
  readonly onObject?: (name: string, done: number, total: number) => void;
}

interface SplitSummary {
  readonly split: Split;
  readonly objects: number;
  readonly rows: number;
  readonly plaintextBytes: number;
  readonly sealedBytes: number;
}

/** What can be said of a dataset without any key. */
export interface DatasetReport {
  readonly ownerId: string;
  readonly dataset: string;
  readonly version: number;
  readonly manifestDigest: string;
  /** Key ids that the envelope claims, as hints; what was verified says {@link signature}. */
  readonly signedBy: readonly string[];
  readonly signature: 'verified' | 'not checked against anybody';
  readonly schema: DatasetSchema;
  readonly splits: readonly SplitSummary[];
  /** Keys that can open objects, by how many. */
  readonly keys: readonly { readonly keyId: string; readonly objects: number }[];
  readonly rotations: readonly RotationRecord[];
  readonly checked: 'sizes' | 'every region';
  /** What is missing, of another size, or altered; empty: nothing found. */
  readonly problems: readonly string[];
}

/**
 * Looks at a dataset from outside: who signed what, which keys open it, and whether all of it is there.
 * @throws {@link SecureTrainingError} `CONSENT_MISSING` when an owner was named who did not sign, `EVIDENCE_MALFORMED` for
 * what is no manifest, `CONFIG_INVALID` when there is none
 */
export async function inspectDataset(source: DatasetSource, options: InspectOptions = {}): Promise<DatasetReport> {
  const bytes = await source.read(MANIFEST_FILE);
  if (bytes === undefined) throw new SecureTrainingError('CONFIG_INVALID', `there is no ${MANIFEST_FILE}`);
  const { manifest, digest } = readManifest(bytes, options.ownerKey);
  const sizes = await source.sizes();
  const problems = manifest.objects.flatMap((object) => sizeProblems(object, sizes));
  const slots = await readSlots(source, problems);
  for (const { name } of manifest.objects) {
    if (slots !== undefined && slots.objects[name] === undefined) problems.push(`${name}: no key slot in ${KEYS_FILE}`);
  }
  for (const [index, object] of manifest.objects.entries()) {
    if (options.deep === true && sizes.get(object.name) === object.ciphertextSize)
      problems.push(...(await contentProblems(source, object, slots)));
    options.onObject?.(object.name, index + 1, manifest.objects.length);
  }
  return {
    ownerId: manifest.ownerId,
    dataset: manifest.dataset,
    version: manifest.version,
    manifestDigest: digest,
    signedBy: parseEnvelope(bytes).signatures.map(({ keyid }) => keyid),
    signature: options.ownerKey === undefined ? 'not checked against anybody' : 'verified',
    schema: manifest.schema,
    splits: SPLITS.map((split) => summary(manifest, split)).filter(({ objects }) => objects > 0),
    keys: keysOf(manifest, slots),
    rotations: await readRotations(source, sizes, options.ownerKey, problems),
    checked: options.deep === true ? 'every region' : 'sizes',
    problems,
  };
}

function readManifest(bytes: Uint8Array, ownerKey: EcPublicJwk | undefined) {
  if (ownerKey !== undefined) return verifyManifest(bytes, ownerKey, MANIFEST_FILE);
  const { statement, digest } = readStatement(parseEnvelope(bytes, MANIFEST_FILE), MANIFEST_FILE);
  return { manifest: parseManifest(statement, MANIFEST_FILE), digest };
}

function sizeProblems(object: ManifestObject, sizes: ReadonlyMap<string, number>): string[] {
  const wanted = [
    [object.name, object.ciphertextSize],
    [leavesName(object.name), object.regionCount * HASH_LENGTH],
  ] as const;
  return wanted.flatMap(([name, size]) => {
    const found = sizes.get(name);
    if (found === size) return [];
    return [`${name}: ${found === undefined ? 'it is missing' : `found ${found} bytes, wanted ${size}`}`];
  });
}

async function contentProblems(
  source: DatasetSource,
  object: ManifestObject,
  slots: KeySlots | undefined,
): Promise<string[]> {
  const problems: string[] = [];
  try {
    const leaves = await source.read(leavesName(object.name));
    if (leaves !== undefined) await checkRegions(source.chunks(object.name, object.ciphertextSize), leaves, object);
    const json = await source.encryptionData(object.name);
    const data = json === undefined ? undefined : parseEncryptionData(json, `${ENCRYPTION_DATA} of ${object.name}`);
    const own = slots?.objects[object.name] ?? [];
    const isAmong = own.some(
      ({ keyId, encryptedKey }) =>
        data !== undefined && keyId === data.keyId && encryptedKey === toBase64(data.encryptedKey),
    );
    if (!isAmong) problems.push(`${object.name}: its ${ENCRYPTION_DATA} is not what ${KEYS_FILE} says`);
  } catch (error) {
    problems.push(problemOf(error));
  }
  return problems;
}

async function readSlots(source: DatasetSource, problems: string[]): Promise<KeySlots | undefined> {
  const bytes = await source.read(KEYS_FILE);
  try {
    if (bytes !== undefined) return parseKeySlots(bytes);
    problems.push(`${KEYS_FILE}: it is missing`);
  } catch (error) {
    problems.push(problemOf(error));
  }
  return undefined;
}

async function readRotations(
  source: DatasetSource,
  sizes: ReadonlyMap<string, number>,
  ownerKey: EcPublicJwk | undefined,
  problems: string[],
): Promise<RotationRecord[]> {
  const records: RotationRecord[] = [];
  for (const name of sizes.keys()) {
    if (!/^rotations\/[^/]+\.dsse\.json$/.test(name)) continue;
    const bytes = (await source.read(name)) ?? new Uint8Array();
    try {
      records.push(ownerKey === undefined ? readRotation(bytes, name) : verifyRotation(bytes, ownerKey, name));
    } catch (error) {
      problems.push(problemOf(error));
    }
  }
  return records.sort((a, b) => (a.rotatedAt < b.rotatedAt ? -1 : 1));
}

/** What is wrong with the data is a finding; anything else ends the inspection. */
function problemOf(error: unknown): string {
  if (error instanceof SecureTrainingError && error.code !== 'UNAVAILABLE') return error.message;
  throw error;
}

function summary({ objects }: Manifest, split: Split): SplitSummary {
  const own = objects.filter((object) => object.split === split);
  const sum = (of: (object: ManifestObject) => number) => own.reduce((total, object) => total + of(object), 0);
  return {
    split,
    objects: own.length,
    rows: sum(({ rows }) => rows),
    plaintextBytes: sum(({ plaintextSize }) => plaintextSize),
    sealedBytes: sum(({ ciphertextSize }) => ciphertextSize),
  };
}

function keysOf({ objects }: Manifest, slots: KeySlots | undefined): DatasetReport['keys'] {
  const uses = new Map<string, number>();
  for (const { name } of objects) {
    for (const { keyId } of slots?.objects[name] ?? []) uses.set(keyId, (uses.get(keyId) ?? 0) + 1);
  }
  return [...uses].map(([keyId, count]) => ({ keyId, objects: count }));
}
