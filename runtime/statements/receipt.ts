/**
 * What a run proves afterwards: a SLSA provenance v1 predicate (slsa.dev/spec/v1.0/provenance) with a build type of our own,
 * signed by a key that was made in the attested machine. {@link ReceiptContent} is what it says; the predicate is how.
 */
import type { KeyObject } from 'node:crypto';
import { fromBase64, sha256, toBase64, toHex, utf8 } from '../crypto/bytes.ts';
import { type EcPublicJwk, ecPublicJwk, thumbprint } from '../crypto/jwk.ts';
import { SecureTrainingError } from '../errors.ts';
import {
  type Check,
  checkShape,
  fileName,
  finite,
  flag,
  hexSha256,
  instant,
  integer,
  jsonObject,
  keyThumbprint,
  label,
  list,
  mapOf,
  members,
  oneOf,
  text,
  where,
} from '../shape.ts';
import type { TrainingConfig } from '../training-config.ts';
import { completeConfiguration } from './complete-configuration.ts';
import {
  checkSubjects,
  type Envelope,
  parseEnvelope,
  predicateOf,
  readStatement,
  STATEMENT_TYPE,
  type Statement,
  type Subject,
  signersOf,
  signStatement,
} from './dsse.ts';
import { ecKey } from './public-keys.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/** A dataset that the run read. */
export interface ReceiptManifest {
  readonly ownerId: string;
  readonly dataset: string;
  readonly version: number;
  /** Hex SHA-256 of the manifest's payload. */
  readonly digest: string;
}

export interface ReceiptModelFile {
  readonly name: string;
  readonly plainSha256: string;
  readonly sealedSha256: string;
}

/** A vault's release of an owner's key; the reply itself is in that owner's annex. */
interface ReceiptRelease {
  readonly ownerId: string;
  readonly replySha256: string;
  /** Whether the vault repeated our nonce in what it signed. */
  readonly nonceEchoed: boolean;
  readonly vaultHost: string;
  readonly keyId: string;
}

export interface ReceiptContent {
  readonly runId: string;
  readonly agreementDigest: string;
  readonly manifests: readonly ReceiptManifest[];
  readonly trainerSha256: string;
  readonly configuration: TrainingConfig;
  /** Those the agreement lets out. */
  readonly metrics: Readonly<Record<string, number>>;
  /**
   * Differential privacy of each row that was learned from, as the broker reckons it from the agreed noise and the steps (Rényi
   * accounting, arXiv:1908.10530).
   * @default - none was asked for
   */
  readonly privacy?: { readonly epsilon: number; readonly delta: number; readonly steps: number };
  readonly model: readonly ReceiptModelFile[];
  /** Resume tag of the last checkpoint. */
  readonly checkpointChainHead: string;
  readonly eventLogHead: string;
  /** The evidence bundle. Nobody has judged it: that is the verifier's work. */
  readonly evidence: JsonObject;
  /** {@link evidenceDigest} of it. */
  readonly evidenceSha256: string;
  readonly releases: readonly ReceiptRelease[];
  /** What kept the worker in. */
  readonly confinement: JsonObject;
  /** What kept the broker's memory to itself. */
  readonly hygiene: JsonObject;
  readonly hardware: 'SEV-SNP' | 'EMULATED';
  readonly engine: { readonly backend: string; readonly versions: Readonly<Record<string, string>> };
  readonly startedOn: string;
  readonly finishedOn: string;
  /** Signs the receipt; the quote in the evidence binds it. */
  readonly receiptKey: EcPublicJwk;
}

const PROVENANCE_TYPE = 'https://slsa.dev/provenance/v1';
const BUILD_TYPE = 'urn:confidential-training:train:v1';
const BUILDER = 'urn:confidential-training:trainer:azure-snp-cvm:v1';

const tools = mapOf(text(/^[\x21-\x7e]{1,100}$/, 'a name of up to 100 characters'), label, 100);

const spentShape = members<NonNullable<ReceiptContent['privacy']>>({
  epsilon: finite,
  delta: finite,
  steps: integer(0),
});
const privacyShape: Check<ReceiptContent['privacy']> = (value, path, failures) =>
  value === undefined ? undefined : spentShape(value, path, failures);

const contentShape = where(
  members<ReceiptContent>({
    runId: fileName,
    agreementDigest: hexSha256,
    manifests: list(
      members<ReceiptManifest>({ ownerId: keyThumbprint, dataset: fileName, version: integer(1), digest: hexSha256 }),
      { minimum: 1, maximum: 64_000, keyOf: ({ ownerId, dataset }) => `${ownerId}/${dataset}` },
    ),
    trainerSha256: hexSha256,
    configuration: completeConfiguration,
    metrics: mapOf(text(/^[A-Za-z][A-Za-z0-9_.]{0,63}$/, 'a metric name'), finite, 64),
    privacy: privacyShape,
    model: list(members<ReceiptModelFile>({ name: fileName, plainSha256: hexSha256, sealedSha256: hexSha256 }), {
      minimum: 1,
      maximum: 64,
      keyOf: ({ name }) => name,
    }),
    checkpointChainHead: hexSha256,
    eventLogHead: hexSha256,
    evidence: jsonObject,
    evidenceSha256: hexSha256,
    releases: list(
      members<ReceiptRelease>({
        ownerId: keyThumbprint,
        replySha256: hexSha256,
        nonceEchoed: flag,
        vaultHost: label,
        keyId: label,
      }),
      { minimum: 1, maximum: 64, keyOf: ({ ownerId }) => ownerId },
    ),
    confinement: jsonObject,
    hygiene: jsonObject,
    hardware: oneOf('SEV-SNP', 'EMULATED'),
    engine: members<ReceiptContent['engine']>({ backend: label, versions: tools }),
    startedOn: instant,
    finishedOn: instant,
    receiptKey: ecKey,
  }),
  ({ evidence, evidenceSha256, startedOn, finishedOn }) => {
    if (Date.parse(finishedOn) < Date.parse(startedOn)) return `it finished at ${finishedOn}, before it started`;
    return evidenceDigest(evidence) === evidenceSha256
      ? undefined
      : 'evidenceSha256: it is not the digest of the evidence';
  },
);

/** Hex SHA-256 over the JSON text of an evidence bundle, members in the order in which they stand. */
export function evidenceDigest(evidence: JsonObject): string {
  return toHex(sha256(utf8(JSON.stringify(evidence))));
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` for content that no verifier would read, or a key other than {@link ReceiptContent.receiptKey} */
export function signReceipt(content: ReceiptContent, key: KeyObject): Envelope {
  const plain: unknown = JSON.parse(JSON.stringify(content));
  const checked = checkShape(contentShape, plain, 'receipt', 'CONFIG_INVALID');
  if (thumbprint(ecPublicJwk(key)) !== thumbprint(checked.receiptKey)) {
    throw new SecureTrainingError('CONFIG_INVALID', 'receipt: the signing key is not the one that it names');
  }
  return signStatement(receiptStatement(checked), [key]);
}

/**
 * Reads a receipt and verifies it with the key that it names. That this key was made in the machine of its evidence is
 * for the verifier to check.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`
 */
export function parseReceipt(bytes: Uint8Array): { readonly content: ReceiptContent; readonly digest: string } {
  const envelope = parseEnvelope(bytes, 'receipt');
  const { statement, digest } = readStatement(envelope, 'receipt');
  const content = readContent(statement);
  if (signersOf(envelope, [content.receiptKey]).length === 0) {
    throw new SecureTrainingError('EVIDENCE_MALFORMED', 'receipt: the key that it names has not signed it');
  }
  return { content, digest };
}

function receiptStatement(content: ReceiptContent): Statement {
  return {
    _type: STATEMENT_TYPE,
    subject: subjectsOf(content),
    predicateType: PROVENANCE_TYPE,
    predicate: { ...predicateFor(content) },
  };
}

/** A member that both the predicate and we need stands once, in SLSA's place for it. */
function predicateFor(content: ReceiptContent) {
  const { agreementDigest, manifests, trainerSha256, configuration, releases } = content;
  const initial = configuration.training.initial_weights;
  return {
    buildDefinition: {
      buildType: BUILD_TYPE,
      externalParameters: { configuration },
      internalParameters: {
        hardware: content.hardware,
        engine: content.engine,
        confinement: content.confinement,
        hygiene: content.hygiene,
        receiptKey: content.receiptKey,
        ...(content.privacy === undefined ? {} : { privacy: content.privacy }),
      },
      resolvedDependencies: [
        { name: 'agreement', digest: { sha256: agreementDigest } },
        { name: 'trainer', digest: { sha256: trainerSha256 } },
        ...(initial === undefined ? [] : [{ name: 'initial-weights', digest: { sha256: initial } }]),
        ...manifests.map(({ digest, ...annotations }) => ({
          name: 'manifest',
          digest: { sha256: digest },
          annotations,
        })),
      ],
    },
    runDetails: {
      builder: { id: BUILDER },
      metadata: { invocationId: content.runId, startedOn: content.startedOn, finishedOn: content.finishedOn },
      byproducts: [
        { name: 'metrics', mediaType: 'application/json', content: toBase64(utf8(JSON.stringify(content.metrics))) },
        { name: 'checkpoint-chain', digest: { sha256: content.checkpointChainHead } },
        { name: 'event-log', digest: { sha256: content.eventLogHead } },
        { name: 'evidence', digest: { sha256: content.evidenceSha256 }, annotations: content.evidence },
        ...releases.map(({ replySha256, ...annotations }) => ({
          name: 'key-release',
          digest: { sha256: replySha256 },
          annotations,
        })),
      ],
    },
  };
}

/**
 * Takes the predicate apart, checks the content, and puts it together again: whatever is not exactly what
 * {@link predicateFor} makes of this content is refused, unknown members and reordered entries included.
 */
function readContent(statement: Statement): ReceiptContent {
  const predicate = predicateOf(statement, PROVENANCE_TYPE, 'receipt');
  const failures: string[] = [];
  const at = (value: unknown, name: string) => jsonObject(value, name, failures);
  const entries: Check<readonly JsonObject[]> = list(jsonObject, { maximum: 65_000 });
  const definition = at(predicate.buildDefinition, 'buildDefinition');
  oneOf(BUILD_TYPE)(definition.buildType, 'buildDefinition.buildType', failures);
  const external = at(definition.externalParameters, 'buildDefinition.externalParameters');
  const internal = at(definition.internalParameters, 'buildDefinition.internalParameters');
  const details = at(predicate.runDetails, 'runDetails');
  const metadata = at(details.metadata, 'runDetails.metadata');
  const dependencies = entries(definition.resolvedDependencies, 'buildDefinition.resolvedDependencies', failures);
  const byproducts = entries(details.byproducts, 'runDetails.byproducts', failures);
  if (failures.length > 0) throw malformed(failures);

  const given = {
    runId: metadata.invocationId,
    agreementDigest: digestOf(named(dependencies, 'agreement')[0]),
    manifests: named(dependencies, 'manifest').map((entry) => ({ ...annotationsOf(entry), digest: digestOf(entry) })),
    trainerSha256: digestOf(named(dependencies, 'trainer')[0]),
    configuration: external.configuration,
    metrics: contentOf(named(byproducts, 'metrics')[0]),
    privacy: internal.privacy,
    model: modelOf(statement.subject),
    checkpointChainHead: digestOf(named(byproducts, 'checkpoint-chain')[0]),
    eventLogHead: digestOf(named(byproducts, 'event-log')[0]),
    evidence: annotationsOf(named(byproducts, 'evidence')[0]),
    evidenceSha256: digestOf(named(byproducts, 'evidence')[0]),
    releases: named(byproducts, 'key-release').map((entry) => ({
      ...annotationsOf(entry),
      replySha256: digestOf(entry),
    })),
    confinement: internal.confinement,
    hygiene: internal.hygiene,
    hardware: internal.hardware,
    engine: internal.engine,
    startedOn: metadata.startedOn,
    finishedOn: metadata.finishedOn,
    receiptKey: internal.receiptKey,
  };
  const content = checkShape(contentShape, given, 'receipt');
  checkSubjects(statement.subject, subjectsOf(content), 'receipt');
  if (canonical(predicateFor(content)) !== canonical(predicate)) {
    throw malformed(['it says more or other things than a receipt of this build type does']);
  }
  return content;
}

function subjectsOf({ model }: ReceiptContent): Subject[] {
  return model.flatMap(({ name, plainSha256, sealedSha256 }) => [
    { name, digest: { sha256: plainSha256 } },
    { name: `${name}.sealed`, digest: { sha256: sealedSha256 } },
  ]);
}

/** Pairs of subjects, as {@link subjectsOf} writes them; what is no pair fails the comparison afterwards. */
function modelOf(subjects: readonly Subject[]) {
  return subjects.flatMap((plain, index) =>
    index % 2 === 0
      ? [{ name: plain.name, plainSha256: plain.digest.sha256, sealedSha256: subjects[index + 1]?.digest.sha256 }]
      : [],
  );
}

function named(entries: readonly JsonObject[], name: string): readonly JsonObject[] {
  return entries.filter((entry) => entry.name === name);
}

function digestOf(entry: JsonObject | undefined): unknown {
  return (entry?.digest as JsonObject | null | undefined)?.sha256;
}

function annotationsOf(entry: JsonObject | undefined): JsonObject {
  return jsonObject(entry?.annotations, '', []);
}

function contentOf(entry: JsonObject | undefined): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(fromBase64(String(entry?.content))));
  } catch {
    return undefined;
  }
}

/** JSON with sorted members: two texts are equal when they say the same. Only for comparing, never for signing. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each,
  );
}

function malformed(failures: readonly string[]): SecureTrainingError {
  return new SecureTrainingError('EVIDENCE_MALFORMED', `receipt: ${failures.join('; ')}`, { failures });
}
