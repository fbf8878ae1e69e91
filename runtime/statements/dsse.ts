/**
 * in-toto Statement v1 in a DSSE v1 envelope (github.com/secure-systems-lab/dsse, in-toto/attestation spec v1). What is
 * signed are the payload's bytes, so nothing here depends on how JSON is written; every digest is over these bytes.
 * ECDSA P-256 with SHA-256 in DER only: the pinned key decides the algorithm, `keyid` and payload never.
 */
import { createHash, KeyObject, sign, verify } from 'node:crypto';
import { concat, fromBase64, toBase64, utf8 } from '../crypto/bytes.ts';
import { type EcPublicJwk, ecPublicJwk, importJwk, thumbprint } from '../crypto/jwk.ts';
import { SecureTrainingError } from '../errors.ts';
import { type Check, checkShape, hexSha256, jsonObject, list, members, oneOf, parseJson, text } from '../shape.ts';

interface Signature {
  /** RFC 7638 thumbprint of the signer: a hint that no decision rests on. */
  readonly keyid: string;
  /** Base64 of the DER signature. */
  readonly sig: string;
}

export interface Envelope {
  /** Base64 of the statement's bytes. */
  readonly payload: string;
  readonly payloadType: string;
  readonly signatures: readonly Signature[];
}

export interface Subject {
  readonly name: string;
  readonly digest: { readonly sha256: string };
}

export interface Statement {
  readonly _type: 'https://in-toto.io/Statement/v1';
  readonly subject: readonly Subject[];
  readonly predicateType: string;
  readonly predicate: Readonly<Record<string, unknown>>;
}

export interface VerifiedStatement {
  readonly payload: Uint8Array;
  /** Hex SHA-256 of the payload: how other statements name this one. */
  readonly digest: string;
  readonly statement: Statement;
}

export const STATEMENT_TYPE = 'https://in-toto.io/Statement/v1';
const PAYLOAD_TYPE = 'application/vnd.in-toto+json';

/** Longest envelope that is read, in bytes. */
const MAXIMUM_ENVELOPE = 67_108_864;
const MAXIMUM_SIGNATURES = 64;
const MAXIMUM_SUBJECTS = 100_000;

const base64 = text(/^[A-Za-z0-9+/_-]*={0,2}$/, 'base64');

/** Members that others add are passed over (both specifications ask for it): nothing unsigned is read from here. */
const envelopeShape: Check<Envelope> = (value, path, failures) => {
  const outer = jsonObject(value, path, failures);
  const signature: Check<Signature> = (each, at, problems) => {
    const { keyid, sig } = jsonObject(each, at, problems);
    return {
      keyid: keyid === undefined ? '' : text(/^[\s\S]{0,1024}$/, 'a key id')(keyid, `${at}.keyid`, problems),
      sig: base64(sig, `${at}.sig`, problems),
    };
  };
  return {
    payload: base64(outer.payload, 'payload', failures),
    payloadType: oneOf(PAYLOAD_TYPE)(outer.payloadType, 'payloadType', failures),
    signatures: list(signature, { maximum: MAXIMUM_SIGNATURES })(outer.signatures, 'signatures', failures),
  };
};

const subjectShape = members<Subject>({
  name: text(/^[^\p{Cc}]{1,1024}$/u, 'a name of up to 1024 characters'),
  digest: members<Subject['digest']>({ sha256: hexSha256 }),
});

const statementShape = members<Statement>({
  _type: oneOf(STATEMENT_TYPE),
  subject: list(subjectShape, { maximum: MAXIMUM_SUBJECTS, keyOf: ({ name }) => name }),
  predicateType: text(/^[\x21-\x7e]{1,200}$/, 'a URI'),
  predicate: jsonObject,
});

/**
 * DSSE v1 pre-authentication encoding: what the signature is over.
 * `"DSSEv1" SP length(type) SP type SP length(body) SP body`, lengths in decimal bytes.
 */
export function preAuthEncoding(payloadType: string, payload: Uint8Array): Uint8Array {
  const type = utf8(payloadType);
  return concat(utf8(`DSSEv1 ${type.length} `), type, utf8(` ${payload.length} `), payload);
}

/** Signs a statement with each key; {@link addSignature} adds others later. */
export function signStatement(statement: Statement, signers: readonly KeyObject[]): Envelope {
  checkShape(statementShape, statement, 'statement', 'CONFIG_INVALID');
  const unsigned: Envelope = {
    payload: toBase64(utf8(JSON.stringify(statement))),
    payloadType: PAYLOAD_TYPE,
    signatures: [],
  };
  return signers.reduce(addSignature, unsigned);
}

/** Adds a signature, in place of an earlier one of the same key. */
export function addSignature(envelope: Envelope, signer: KeyObject): Envelope {
  const keyid = thumbprint(ecPublicJwk(signer));
  const message = preAuthEncoding(envelope.payloadType, fromBase64(envelope.payload, 'payload'));
  const sig = toBase64(sign('sha256', message, { key: signer, dsaEncoding: 'der' }));
  return { ...envelope, signatures: [...envelope.signatures.filter((each) => each.keyid !== keyid), { keyid, sig }] };
}

/**
 * Verifies that every required key has signed; only then looks at what was signed.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` for what is no envelope or statement,
 * `CONSENT_MISSING` with one failure for each key whose signature is missing or does not hold
 */
export function verifyEnvelope(
  bytes: Uint8Array,
  required: readonly (KeyObject | EcPublicJwk)[],
  what = 'statement',
): VerifiedStatement {
  const envelope = parseEnvelope(bytes, what);
  const keys = required.map((key) => (key instanceof KeyObject ? ecPublicJwk(key) : key));
  // An empty set of signers would accept anything: that is never what somebody meant.
  if (keys.length === 0) throw new TypeError('a statement needs at least one required signer');
  const signers = new Set(signersOf(envelope, keys));
  const missing = [...new Set(keys.map(thumbprint))].filter((name) => !signers.has(name));
  if (missing.length > 0) {
    const failures = missing.map((name) => `no valid signature of key ${name}`);
    throw new SecureTrainingError('CONSENT_MISSING', `${what}: ${failures.join('; ')}`, { failures });
  }
  return readStatement(envelope, what);
}

/** Thumbprints of those candidates whose signature is on the envelope and holds. */
export function signersOf(envelope: Envelope, candidates: readonly EcPublicJwk[]): string[] {
  const message = preAuthEncoding(envelope.payloadType, fromBase64(envelope.payload, 'payload'));
  const signatures = envelope.signatures.map(({ sig }) => fromBase64(sig, 'signature'));
  const signed = candidates.filter((candidate) => {
    const key = importJwk(candidate);
    return (
      key.asymmetricKeyType === 'ec' &&
      signatures.some((signature) => verify('sha256', message, { key, dsaEncoding: 'der' }, signature))
    );
  });
  return [...new Set(signed.map(thumbprint))];
}

/** Hex SHA-256 of the payload: independent of how many have signed yet. */
export function statementDigest(envelope: Envelope): string {
  return createHash('sha256').update(fromBase64(envelope.payload, 'payload')).digest('hex');
}

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` */
export function parseEnvelope(bytes: Uint8Array, what = 'statement'): Envelope {
  if (bytes.length > MAXIMUM_ENVELOPE) {
    throw new SecureTrainingError(
      'EVIDENCE_MALFORMED',
      `${what}: found ${bytes.length} bytes, wanted up to ${MAXIMUM_ENVELOPE}`,
    );
  }
  return checkShape(envelopeShape, parseJson(bytes, what), what);
}

export function serialiseEnvelope(envelope: Envelope): Uint8Array {
  return utf8(`${JSON.stringify(envelope, null, 2)}\n`);
}

/**
 * Reads a statement whose signatures nobody has checked: for statements that name their own signers, and for display.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`
 */
export function readStatement(envelope: Envelope, what = 'statement'): VerifiedStatement {
  const payload = fromBase64(envelope.payload, `${what}: payload`);
  const statement = checkShape(statementShape, parseJson(payload, what), what);
  return { payload, digest: statementDigest(envelope), statement };
}

/**
 * The predicate of a statement of one type.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` when it is of another type
 */
export function predicateOf(
  statement: Statement,
  predicateType: string,
  what: string,
): Readonly<Record<string, unknown>> {
  if (statement.predicateType === predicateType) return statement.predicate;
  throw new SecureTrainingError(
    'EVIDENCE_MALFORMED',
    `${what}: found predicate type ${statement.predicateType}, wanted ${predicateType}`,
  );
}

/**
 * Checks that a statement's subjects are those its predicate implies: tools that look only at subjects must see the same.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`
 */
export function checkSubjects(found: readonly Subject[], wanted: readonly Subject[], what: string): void {
  const same =
    found.length === wanted.length &&
    found.every(
      ({ name, digest }, index) => name === wanted[index]?.name && digest.sha256 === wanted[index].digest.sha256,
    );
  if (!same)
    throw new SecureTrainingError('EVIDENCE_MALFORMED', `${what}: its subjects are not those its content names`);
}
