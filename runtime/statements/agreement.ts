import { type EnvironmentPolicy, GENERATIONS, type Generation, REVOCATION_LIST_RULES, type Tcb } from '../catalogue.ts';
import type { EcPublicJwk, RsaPublicJwk } from '../crypto/jwk.ts';
import { thumbprint } from '../crypto/jwk.ts';
import { SecureTrainingError } from '../errors.ts';
import {
  blobPath,
  type Check,
  checkShape,
  fileName,
  flag,
  hexSha256,
  instant,
  integer,
  keyThumbprint,
  label,
  list,
  members,
  oneOf,
  text,
  where,
} from '../shape.ts';
import type { TrainingConfig } from '../training-config.ts';
import { completeConfiguration } from './complete-configuration.ts';
import {
  checkSubjects,
  parseEnvelope,
  predicateOf,
  readStatement,
  STATEMENT_TYPE,
  type Statement,
  type Subject,
  signersOf,
} from './dsse.ts';
import { ecKey, rsaKey } from './public-keys.ts';

/** A dataset that runs may read. */
export interface AgreedDataset {
  readonly dataset: string;
  readonly version: number;
  /** Hex SHA-256 of the manifest's payload. */
  readonly manifestDigest: string;
  /** Folder in the `datasets` container, without a slash at either end. */
  readonly prefix: string;
}

export interface AgreementOwner {
  /** Thumbprint of {@link signingKey}. */
  readonly ownerId: string;
  readonly name: string;
  readonly signingKey: EcPublicJwk;
  /** Seals what only this owner may read of a run. */
  readonly annexKey: RsaPublicJwk;
  readonly vaultHost: string;
  readonly keyName: string;
  readonly keyVersion: string;
  /** Public half of the key encryption key: what a release must bring the private half of. */
  readonly key: RsaPublicJwk;
  /** Issuer of attestation tokens, exactly as it appears in `iss`. */
  readonly attestationAuthority: string;
  /** Hex digest of the key's release policy by its meaning. */
  readonly releasePolicySha256: string;
  readonly datasets: readonly AgreedDataset[];
}

export interface Recipient {
  readonly name: string;
  readonly key: RsaPublicJwk;
}

export interface ModelOwner {
  /** Thumbprint of {@link signingKey}. */
  readonly ownerId: string;
  readonly name: string;
  readonly signingKey: EcPublicJwk;
}

interface CustomCode {
  readonly sha256: string;
}

/** What runs may do with whose data (design section 4). Signed by every owner in it and by the model owner. */
export interface Agreement {
  readonly name: string;
  readonly purpose: 'train';
  readonly owners: readonly AgreementOwner[];
  readonly modelOwner: ModelOwner;
  /** SHA-256 (hex) of the trainer bundles that may run. */
  readonly trainers: readonly string[];
  readonly configuration: TrainingConfig;
  readonly environment: EnvironmentPolicy;
  readonly recipients: { readonly model: readonly Recipient[]; readonly checkpoints: readonly Recipient[] };
  /** Names of the metrics that may leave. */
  readonly metrics: readonly string[];
  /** Modules of somebody's own in the trainer, by the SHA-256 (hex) of the file that was reviewed; `false`: none. */
  readonly customCode: false | CustomCode;
  readonly maxRuns: number;
  /** RFC 3339, UTC. */
  readonly notAfter: string;
}

export interface VerifyAgreementOptions {
  /**
   * SHA-256 (hex) of the bundle that is asking.
   * @default - not asked: for whoever only reads the agreement
   */
  readonly trainerSha256?: string;
  /**
   * The time by a clock that is trusted.
   * @default - expiry is not checked
   */
  readonly now?: Date;
  /**
   * How many runs came before this one.
   * @default - not counted
   */
  readonly runIndex?: number;
}

const AGREEMENT_TYPE = 'urn:confidential-training:agreement:v1';

/** Hosts and authorities are compared as text: one spelling only. */
const host = text(/^[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+$/, 'a lower-case host name');
const authority = text(
  /^https:\/\/[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+$/,
  'https:// and a host name, without a slash at the end',
);
const svn = integer(0, 255);

const tcbShape = members<Tcb>({ bootloader: svn, tee: svn, snp: svn, microcode: svn, fmc: svn });

const vmIds: Check<readonly string[] | 'any'> = (value, path, failures) =>
  value === 'any'
    ? value
    : list(text(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'a lower-case VM id'), { minimum: 1, maximum: 1000 })(
        value,
        path,
        failures,
      );

/** Shape of {@link EnvironmentPolicy}: no member may be left out. */
export const environmentShape: Check<EnvironmentPolicy> = members<EnvironmentPolicy>({
  generations: list(oneOf(...GENERATIONS), { minimum: 1, maximum: GENERATIONS.length, keyOf: (each) => each }),
  minimumTcb: members<Record<Generation, Tcb>>({ Milan: tcbShape, Genoa: tcbShape, Turin: tcbShape }),
  minimumReportVersion: integer(2, 255),
  idKeyDigests: list(text(/^[0-9a-f]{96}$/, '96 lower-case hex digits'), { minimum: 1, maximum: 64 }),
  minimumGuestSvn: integer(0, 2 ** 32 - 1),
  revocationList: oneOf(...REVOCATION_LIST_RULES),
  requireAliasCheck: flag,
  quotedPcrs: list(integer(0, 23), { minimum: 1, maximum: 24, keyOf: String }),
  vmIds,
});

const ownerShape = where(
  members<AgreementOwner>({
    ownerId: keyThumbprint,
    name: label,
    signingKey: ecKey,
    annexKey: rsaKey,
    vaultHost: host,
    keyName: text(/^[0-9A-Za-z-]{1,127}$/, 'the name of a vault key'),
    keyVersion: text(/^[0-9a-f]{32}$/, '32 lower-case hex digits'),
    key: rsaKey,
    attestationAuthority: authority,
    releasePolicySha256: hexSha256,
    datasets: list(
      members<AgreedDataset>({ dataset: fileName, version: integer(1), manifestDigest: hexSha256, prefix: blobPath }),
      { minimum: 1, maximum: 1000, keyOf: ({ dataset }) => dataset },
    ),
  }),
  namedByItsKey,
);

const recipients = (minimum: number) =>
  list(members<Recipient>({ name: label, key: rsaKey }), { minimum, maximum: 63, keyOf: ({ key }) => thumbprint(key) });

const customCode: Check<Agreement['customCode']> = (value, path, failures) =>
  typeof value === 'object' && value !== null
    ? members<CustomCode>({ sha256: hexSha256 })(value, path, failures)
    : oneOf(false)(value, path, failures);

const agreementShape = where(
  members<Agreement>({
    name: label,
    purpose: oneOf('train'),
    owners: list(ownerShape, { minimum: 1, maximum: 64, keyOf: ({ ownerId }) => ownerId }),
    modelOwner: where(members<ModelOwner>({ ownerId: keyThumbprint, name: label, signingKey: ecKey }), namedByItsKey),
    trainers: list(hexSha256, { minimum: 1, maximum: 16, keyOf: (digest) => digest }),
    configuration: completeConfiguration,
    environment: environmentShape,
    recipients: members<Agreement['recipients']>({ model: recipients(1), checkpoints: recipients(0) }),
    metrics: list(text(/^[A-Za-z][A-Za-z0-9_.]{0,63}$/, 'a metric name'), { maximum: 64, keyOf: (name) => name }),
    customCode,
    maxRuns: integer(1, 1_000_000),
    notAfter: instant,
  }),
  ({ configuration: { training }, customCode: code }) =>
    (code === false) === (training.model === undefined && training.dataset === undefined)
      ? undefined
      : `customCode is ${code === false ? 'false' : 'there'}, but the configuration names ${code === false ? 'a' : 'no'} module`,
);

/**
 * The statement to sign. Its subjects are the manifests.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`, every wrong member listed
 */
export function agreementStatement(agreement: Agreement): Statement {
  const predicate = checkShape(agreementShape, agreement, 'agreement', 'CONFIG_INVALID');
  return {
    _type: STATEMENT_TYPE,
    subject: subjectsOf(agreement),
    predicateType: AGREEMENT_TYPE,
    predicate: { ...predicate },
  };
}

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`, every wrong member listed */
export function parseAgreement(statement: Statement, what = 'agreement'): Agreement {
  const agreement = checkShape(agreementShape, predicateOf(statement, AGREEMENT_TYPE, what), what);
  checkSubjects(statement.subject, subjectsOf(agreement), what);
  return agreement;
}

/** Everybody whose signature an agreement needs; somebody who is two things signs once. */
export function agreementSigners({ owners, modelOwner }: Agreement): readonly ModelOwner[] {
  return [...new Map([...owners, modelOwner].map((party) => [party.ownerId, party])).values()];
}

/**
 * Checks that everybody in an agreement has signed it, and that it covers this trainer, this time and this run. The keys are
 * the agreement's own: that they are the right people's follows from their data, which is bound to their owner ids.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` when it is none, `CONSENT_MISSING` with every failed check
 */
export function verifyAgreement(
  bytes: Uint8Array,
  { trainerSha256, now, runIndex }: VerifyAgreementOptions = {},
): { readonly agreement: Agreement; readonly digest: string } {
  const envelope = parseEnvelope(bytes, 'agreement');
  const { statement, digest } = readStatement(envelope, 'agreement');
  const agreement = parseAgreement(statement);
  const parties = agreementSigners(agreement);
  const signed = new Set(
    signersOf(
      envelope,
      parties.map(({ signingKey }) => signingKey),
    ),
  );
  const failures = parties
    .filter(({ ownerId }) => !signed.has(ownerId))
    .map(({ name, ownerId }) => `no valid signature of ${name} (${ownerId})`);
  if (trainerSha256 !== undefined && !agreement.trainers.includes(trainerSha256)) {
    failures.push(`trainer ${trainerSha256} is not one it names`);
  }
  // An invalid date compares false with everything: ask for what must hold, not for what must not.
  if (now !== undefined && !(now.getTime() <= Date.parse(agreement.notAfter))) {
    failures.push(`it expired at ${agreement.notAfter}`);
  }
  if (runIndex !== undefined && !(runIndex < agreement.maxRuns)) {
    failures.push(`its ${agreement.maxRuns} run${agreement.maxRuns === 1 ? ' is' : 's are'} used up`);
  }
  if (failures.length > 0) {
    throw new SecureTrainingError('CONSENT_MISSING', `agreement ${agreement.name}: ${failures.join('; ')}`, {
      failures,
    });
  }
  return { agreement, digest };
}

function namedByItsKey({
  ownerId,
  signingKey,
}: {
  readonly ownerId: string;
  readonly signingKey: EcPublicJwk;
}): string | undefined {
  const wanted = thumbprint(signingKey);
  return ownerId === wanted ? undefined : `found owner id ${ownerId}, wanted its signing key's thumbprint ${wanted}`;
}

function subjectsOf({ owners }: Agreement): Subject[] {
  return owners.flatMap(({ ownerId, datasets }) =>
    datasets.map(({ dataset, version, manifestDigest }) => ({
      name: `${ownerId}/${dataset}/${version}`,
      digest: { sha256: manifestDigest },
    })),
  );
}
