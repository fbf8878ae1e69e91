/**
 * OpenSSF model signing v1.0 (sigstore/model-transparency, `_signing/signing.py`, PyPI model-signing 1.1.1) with a plain key:
 * a bundle that `model_signing verify key DIRECTORY --signature model.sig --public_key KEY.pem` accepts.
 */
import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { concat, fromHex, sha256, toHex, utf8 } from '../crypto/bytes.ts';
import { ecPublicJwk, importJwk } from '../crypto/jwk.ts';
import { SecureTrainingError } from '../errors.ts';
import { type Check, checkShape, hexSha256, jsonObject, list, members, oneOf, text } from '../shape.ts';
import {
  type Envelope,
  predicateOf,
  STATEMENT_TYPE,
  serialiseEnvelope,
  signStatement,
  verifyEnvelope,
} from './dsse.ts';

/** Sigstore bundle v0.3 around a DSSE envelope. */
export interface ModelSignature {
  readonly mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json';
  readonly verificationMaterial: {
    /** `hint` is the hex SHA-256 of the public key's PEM text. */
    readonly publicKey: { readonly hint: string };
    readonly tlogEntries: readonly [];
  };
  readonly dsseEnvelope: Envelope;
}

interface Resource {
  readonly name: string;
  readonly algorithm: 'sha256';
  readonly digest: string;
}

const MEDIA_TYPE = 'application/vnd.dev.sigstore.bundle.v0.3+json';
const PREDICATE_TYPE = 'https://model_signing/signature/v1.0';

/** How the reference tool reads a directory: file by file, without what belongs to git. */
const SERIALIZATION = {
  method: 'files',
  hash_type: 'sha256',
  allow_symlinks: false,
  ignore_paths: ['.git', '.gitattributes', '.github', '.gitignore'],
} as const;

const resources: Check<readonly Resource[]> = list(
  members<Resource>({ name: text(/^[^\p{Cc}]{1,1024}$/u, 'a path'), algorithm: oneOf('sha256'), digest: hexSha256 }),
  { minimum: 1, maximum: 10_000, keyOf: ({ name }) => name },
);

/**
 * Signs the files of a model.
 * @param files hex SHA-256 by path, POSIX separators
 * @param name of the model's directory
 */
export function signModel(files: Readonly<Record<string, string>>, name: string, key: KeyObject): ModelSignature {
  const entries = resourcesOf(files);
  checkShape(resources, entries, 'model', 'CONFIG_INVALID');
  const dsseEnvelope = signStatement(
    {
      _type: STATEMENT_TYPE,
      subject: [{ name, digest: { sha256: rootOf(entries) } }],
      predicateType: PREDICATE_TYPE,
      predicate: { serialization: SERIALIZATION, resources: entries },
    },
    [key],
  );
  return {
    mediaType: MEDIA_TYPE,
    verificationMaterial: { publicKey: { hint: keyHint(key) }, tlogEntries: [] },
    dsseEnvelope,
  };
}

/**
 * Checks that a model's files are those that were signed, no more and no fewer.
 * @throws {@link SecureTrainingError} `CONSENT_MISSING` when the key did not sign, `CIPHERTEXT_REJECTED` naming every file that differs
 */
export function verifyModelSignature(
  signature: unknown,
  files: Readonly<Record<string, string>>,
  key: KeyObject,
): void {
  const bundle = checkShape(jsonObject, signature, 'model signature');
  checkShape(oneOf(MEDIA_TYPE), bundle.mediaType, 'model signature: mediaType');
  const envelope = checkShape(jsonObject, bundle.dsseEnvelope, 'model signature: dsseEnvelope') as unknown as Envelope;
  const signer = importJwk(ecPublicJwk(key));
  const { statement } = verifyEnvelope(serialiseEnvelope(envelope), [signer], 'model signature');
  const predicate = predicateOf(statement, PREDICATE_TYPE, 'model signature');
  const signed = checkShape(resources, predicate.resources, 'model signature: resources');
  const failures = differences(
    new Map(signed.map(({ name, digest }) => [name, digest])),
    new Map(Object.entries(files)),
  );
  if (statement.subject.length !== 1 || statement.subject[0]?.digest.sha256 !== rootOf(signed)) {
    failures.push('its subject is not the digest of its files');
  }
  if (failures.length > 0) {
    throw new SecureTrainingError('CIPHERTEXT_REJECTED', `model: ${failures.join('; ')}`, { failures });
  }
}

function differences(signed: ReadonlyMap<string, string>, found: ReadonlyMap<string, string>): string[] {
  return [...new Set([...signed.keys(), ...found.keys()])].flatMap((name) => {
    if (!found.has(name)) return [`${name} is missing`];
    if (!signed.has(name)) return [`${name} was not signed`];
    return signed.get(name) === found.get(name) ? [] : [`${name} is not the file that was signed`];
  });
}

/** Sorted by path, component by component, in code points (`manifest.py` sorts `PurePosixPath`). */
function resourcesOf(files: Readonly<Record<string, string>>): Resource[] {
  return Object.entries(files)
    .map(([name, digest]) => ({ name, algorithm: 'sha256' as const, digest }))
    .sort((a, b) => comparePaths(a.name.split('/'), b.name.split('/')));
}

function comparePaths(a: readonly string[], b: readonly string[]): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const order = Buffer.compare(utf8(a[i] ?? ''), utf8(b[i] ?? ''));
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

/** SHA-256 over the raw digests one after the other. */
function rootOf(entries: readonly Resource[]): string {
  return toHex(sha256(concat(...entries.map(({ digest }) => fromHex(digest)))));
}

function keyHint(key: KeyObject): string {
  const pem = createPublicKey(key).export({ type: 'spki', format: 'pem' });
  return createHash('sha256').update(pem).digest('hex');
}
