/**
 * Every parser of bytes that somebody else wrote, with a good input of it. For the property tests and, in a process of its
 * own, for the measure of what a parse allocates: nothing here may import vitest.
 */
import { constants, generateKeyPairSync, privateDecrypt } from 'node:crypto';
import { certificatePem } from '../../../emulator/amd-certificate.ts';
import { issueRevocationList, vcekChain } from '../../../emulator/amd-pki.ts';
import { sealToken } from '../../../emulator/guest-token.ts';
import { openAzureGuestResponse } from '../../../runtime/attestation/azure-guest.ts';
import { parseVcekChain } from '../../../runtime/attestation/certificates.ts';
import { DER_TAG, derByte, derChildren, derElements } from '../../../runtime/attestation/der.ts';
import { EVENT, parseEventLog, SPEC_ID } from '../../../runtime/attestation/event-log.ts';
import { parseEvidence, parsePcrs, serialiseEvidence } from '../../../runtime/attestation/evidence.ts';
import { parseHclReport } from '../../../runtime/attestation/hcl-report.ts';
import { parseCompactJws } from '../../../runtime/attestation/jws.ts';
import { parseQuote, verifyQuote } from '../../../runtime/attestation/quote.ts';
import { parseRevocationList } from '../../../runtime/attestation/revocation-list.ts';
import { decodeTcb, parseSnpReport } from '../../../runtime/attestation/snp-report.ts';
import { verifyToken } from '../../../runtime/attestation/token.ts';
import { examineUnverified } from '../../../runtime/attestation/verify.ts';
import { GENERATIONS, STRICT_ENVIRONMENT } from '../../../runtime/catalogue.ts';
import { concat, toBase64, uintBe, utf8 } from '../../../runtime/crypto/bytes.ts';
import { ecPublicJwk, thumbprint } from '../../../runtime/crypto/jwk.ts';
import { sealedShape } from '../../../runtime/crypto/sealed-object.ts';
import type { ErrorCode } from '../../../runtime/errors.ts';
import { decodeReleasePolicy, parseReleasePolicy, releasePolicyBytes } from '../../../runtime/keys/release-policy.ts';
import { parseReleaseReply, replyFailures } from '../../../runtime/keys/release-reply.ts';
import { parseKeyId, parseKeySlots, slotOf } from '../../../runtime/keys/slots.ts';
import { encodeMetricHistory, parseMetricHistory } from '../../../runtime/metric-history.ts';
import { parsePreprocessing } from '../../../runtime/preprocessing.ts';
import { parseScores } from '../../../runtime/scores-file.ts';
import { parseJson } from '../../../runtime/shape.ts';
import { agreementStatement, parseAgreement, verifyAgreement } from '../../../runtime/statements/agreement.ts';
import { CHAIN_START, parseCheckpoint } from '../../../runtime/statements/checkpoint-chain.ts';
import {
  addSignature,
  parseEnvelope,
  readStatement,
  type Statement,
  serialiseEnvelope,
  signStatement,
  verifyEnvelope,
} from '../../../runtime/statements/dsse.ts';
import { manifestStatement, parseManifest } from '../../../runtime/statements/manifest.ts';
import { signModel, verifyModelSignature } from '../../../runtime/statements/model-signature.ts';
import { evidenceDigest, parseReceipt, signReceipt } from '../../../runtime/statements/receipt.ts';
import { runCommand } from '../../../runtime/tpm/command.ts';
import {
  buildPcrSelection,
  buildRsaPublic,
  objectName,
  parseAttest,
  parsePcrSelections,
  parseRsaPublic,
  parseScheme,
  publicAreaJwk,
} from '../../../runtime/tpm/structures.ts';
import { ALGORITHM, frame, Reader, sized, TAG, u16 } from '../../../runtime/tpm/wire.ts';
import { parseTrainingConfig } from '../../../runtime/training-config.ts';
import { parseRows, vaultRows } from '../../../scripts/run/access-rows.ts';
import { createMachine, evidenceOf, type Machine } from './machine.ts';
import { createExchange, partsOf, type SignedExchange, VAULT_HOST } from './signed-exchange.ts';

export interface ParserRow {
  readonly good: Uint8Array;
  /** Throws nothing but `codes`, whatever it is given. */
  readonly parse: (bytes: Uint8Array) => unknown;
  /**
   * What a refusal may be called.
   * @default - EVIDENCE_MALFORMED alone
   */
  readonly codes?: readonly ErrorCode[];
  /**
   * The JSON inside, and how a text gets there: signed and packed, so that a change of it is all that is wrong.
   * @default - there is none
   */
  readonly json?: { readonly value: unknown; readonly pack: (text: string) => Uint8Array };
  /**
   * Exported functions of the runtime that this row runs.
   * @default - none that is not in another row
   */
  readonly covers?: readonly string[];
}

const text = (bytes: Uint8Array): string => new TextDecoder('latin1').decode(bytes);
const jsonOf = (bytes: Uint8Array): unknown => parseJson(bytes, 'document');
/** A document that is JSON as it stands. */
const plainJson = (value: unknown) => ({
  good: utf8(JSON.stringify(value)),
  json: { value: JSON.parse(JSON.stringify(value)) as unknown, pack: utf8 },
});

/** One row a parser, by what it parses. */
export async function parserTable(): Promise<Readonly<Record<string, ParserRow>>> {
  const machine = await createMachine();
  const exchange = await createExchange(machine);
  return {
    ...evidenceRows(machine),
    ...exchangeRows(exchange),
    ...tpmRows(),
    ...statementRows(machine),
  };
}

function evidenceRows(machine: Machine): Readonly<Record<string, ParserRow>> {
  const good = evidenceOf(machine);
  const { snpReport } = parseHclReport(good.hclReport);
  const { vcek } = parseVcekChain(good.vcekChain);
  const options = { trust: machine.trust, at: new Date() };
  const chainWith = (which: 'vcek' | 'ask' | 'ark') => (raw: Uint8Array) =>
    examineUnverified({ ...good, vcekChain: vcekChain({ ...machine.pki, [which]: certificatePem(raw) }) }, options);
  const raw = (which: 'vcek' | 'ask' | 'ark') => Uint8Array.from(parseVcekChain(good.vcekChain)[which].raw);
  return {
    'hcl report': { good: good.hclReport, parse: parseHclReport, covers: ['parseHclReport'] },
    'snp report': { good: snpReport, parse: parseSnpReport, covers: ['parseSnpReport'] },
    tcb: {
      good: snpReport.slice(0, 8),
      parse: (bytes) => GENERATIONS.map((generation) => decodeTcb(bytes, generation)),
      covers: ['decodeTcb'],
    },
    quote: { good: good.quote.message, parse: parseQuote, covers: ['parseQuote'] },
    'signature of a quote': {
      good: good.quote.signature,
      parse: (signature) => verifyQuote({ ...good.quote, signature }, machine.akKey),
      codes: ['ATTESTATION_REJECTED'],
    },
    'chain of certificates': {
      good: utf8(good.vcekChain),
      parse: (bytes) => parseVcekChain(text(bytes)),
      covers: ['parseVcekChain'],
    },
    vcek: { good: raw('vcek'), parse: chainWith('vcek') },
    ask: { good: raw('ask'), parse: chainWith('ask') },
    ark: { good: raw('ark'), parse: chainWith('ark') },
    'revocation list': {
      good: issueRevocationList(machine.pki),
      parse: parseRevocationList,
      covers: ['parseRevocationList'],
    },
    'event log': { good: eventLog(), parse: parseEventLog, covers: ['parseEventLog'] },
    'DER elements': {
      good: Uint8Array.from(vcek.raw),
      parse: (bytes) => derChildren(derElements(bytes, 'x')[0], DER_TAG.sequence, 'x'),
      covers: ['derElements', 'derChildren'],
    },
    'DER integer': { good: Uint8Array.of(2, 2, 0, 219), parse: (bytes) => derByte(bytes, 'x'), covers: ['derByte'] },
    'evidence bundle': {
      ...plainJson(serialiseEvidence(good)),
      parse: (bytes) => parseEvidence(jsonOf(bytes)),
      covers: ['parseEvidence'],
    },
    'pcr values': {
      ...plainJson(good.quote.pcrs),
      parse: (bytes) => parsePcrs(jsonOf(bytes)),
      covers: ['parsePcrs'],
    },
    'runtime claims': runtimeClaimsRow(good.hclReport),
  };
}

/** One bank, one event. */
function eventLog(): Uint8Array {
  const le = (value: number, width: 1 | 2 | 4) => uintBe(value, width).toReversed();
  const spec = concat(utf8(`${SPEC_ID}\0`), new Uint8Array(8), le(1, 4), le(ALGORITHM.sha256, 2), le(32, 2), le(0, 1));
  const digest = concat(le(ALGORITHM.sha256, 2), new Uint8Array(32).fill(1));
  return concat(
    le(0, 4),
    le(EVENT.noAction, 4),
    new Uint8Array(20),
    le(spec.length, 4),
    spec,
    concat(le(7, 4), le(EVENT.separator, 4), le(1, 4), digest, le(4, 4), new Uint8Array(4)),
  );
}

/** Claims of another length need other sizes in the header, which the parser holds against them. */
function runtimeClaimsRow(report: Uint8Array): ParserRow {
  const { runtimeClaims } = parseHclReport(report);
  const claimsAt = 0x4d4;
  const pack = (claims: string): Uint8Array => {
    const bytes = concat(report.slice(0, claimsAt), utf8(claims));
    const size = bytes.length - claimsAt;
    const view = new DataView(bytes.buffer);
    view.setUint32(0x4d0, size, true);
    view.setUint32(0x4c0, 20 + size, true);
    view.setUint32(0x08, 0x20 + 0x4a0 + 20 + size, true);
    return bytes;
  };
  return { good: report, parse: parseHclReport, json: { value: jsonOf(runtimeClaims), pack } };
}

function exchangeRows(exchange: SignedExchange): Readonly<Record<string, ParserRow>> {
  const { claims, tokenExpectations, replyExpectations, policy } = exchange;
  const { header, payload } = partsOf(exchange.reply);
  const answer = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const openAnswer = (bytes: Uint8Array) =>
    openAzureGuestResponse({ token: toBase64(bytes) }, async (cipher) => {
      try {
        const padding = constants.RSA_PKCS1_PADDING;
        return Uint8Array.from(privateDecrypt({ key: answer.privateKey, padding }, cipher));
      } catch {
        // What a TPM says of a ciphertext that is none is the TPM's business.
        return new Uint8Array(32);
      }
    });
  const { publicKey } = answer;
  const jwk = publicKey.export({ format: 'jwk' });
  const sealed = Buffer.from(sealToken(exchange.jwt, { kty: 'RSA', n: jwk.n ?? '', e: jwk.e ?? '' }).token, 'base64');
  const readReply = (bytes: Uint8Array) => replyFailures(parseReleaseReply(text(bytes)), replyExpectations);
  return {
    'compact jws': {
      good: utf8(exchange.jwt),
      parse: (bytes) => parseCompactJws(text(bytes), 'jws'),
      covers: ['parseCompactJws'],
    },
    token: {
      good: utf8(exchange.jwt),
      parse: (bytes) => verifyToken(text(bytes), tokenExpectations),
      codes: ['ATTESTATION_REJECTED'],
      json: { value: claims, pack: (claimsText) => utf8(exchange.signToken(claimsText)) },
    },
    'keys of an attestation provider': {
      ...plainJson(tokenExpectations.certificates),
      parse: (bytes) => verifyToken(exchange.jwt, { ...tokenExpectations, certificates: jsonOf(bytes) }),
      codes: ['ATTESTATION_REJECTED'],
    },
    'answer of an attestation provider': {
      good: Uint8Array.from(sealed),
      parse: openAnswer,
      codes: ['ATTESTATION_REJECTED'],
      json: { value: jsonOf(sealed), pack: utf8 },
    },
    'release reply': {
      good: utf8(exchange.reply),
      parse: readReply,
      json: { value: payload, pack: (body) => utf8(exchange.signReply(JSON.stringify(header), body)) },
      covers: ['parseReleaseReply'],
    },
    'header of a release reply': {
      good: utf8(exchange.reply),
      parse: readReply,
      json: { value: header, pack: (head) => utf8(exchange.signReply(head, JSON.stringify(payload))) },
    },
    // A policy is also what an owner writes, so its refusal says that the input is wrong; a vault's is caught by name.
    'release policy': {
      ...plainJson(policy),
      good: releasePolicyBytes(policy),
      parse: (bytes) => parseReleasePolicy(decodeReleasePolicy(bytes)),
      codes: ['CONFIG_INVALID'],
      covers: ['parseReleasePolicy', 'decodeReleasePolicy'],
    },
  };
}

function tpmRows(): Readonly<Record<string, ParserRow>> {
  const publicArea = buildRsaPublic({
    nameAlgorithm: 0x0b,
    attributes: 0x00020432,
    authPolicy: new Uint8Array(32).fill(1),
    symmetric: { algorithm: ALGORITHM.null },
    scheme: { algorithm: ALGORITHM.null },
    keyBits: 2048,
    exponent: 0,
    unique: new Uint8Array(256).fill(2),
  });
  const certify = concat(
    Uint8Array.of(0xff, 0x54, 0x43, 0x47, 0x80, 0x17),
    sized(new Uint8Array(34)),
    sized(new Uint8Array(4)),
    new Uint8Array(8 + 4 + 4 + 1 + 8),
    sized(new Uint8Array(34)),
    sized(new Uint8Array(34)),
  );
  const read =
    (parse: (reader: Reader) => unknown) =>
    (bytes: Uint8Array): unknown => {
      const reader = new Reader(bytes, 'structure');
      const found = parse(reader);
      reader.end();
      return found;
    };
  return {
    'public area': {
      good: publicArea,
      parse: (bytes) => [parseRsaPublic(bytes), publicAreaJwk(bytes), objectName(bytes)],
      covers: ['parseRsaPublic', 'publicAreaJwk', 'objectName'],
    },
    certification: { good: certify, parse: parseAttest, covers: ['parseAttest'] },
    'pcr selection': {
      good: buildPcrSelection([0, 7, 23]),
      parse: read(parsePcrSelections),
      covers: ['parsePcrSelections'],
    },
    'key scheme': { good: concat(u16(ALGORITHM.rsassa), u16(0x0b)), parse: read(parseScheme), covers: ['parseScheme'] },
    'sized bytes': { good: sized(new Uint8Array(9)), parse: read((reader) => [reader.sized(), reader.rest()]) },
    'response of a TPM': {
      good: frame(TAG.noSessions, 0, u16(0)),
      parse: (response) =>
        runCommand(
          { transceive: async () => Uint8Array.from(response), close: async () => undefined },
          { code: 0x17b, what: 'a command' },
        ),
      codes: ['ATTESTATION_REJECTED', 'UNAVAILABLE'],
    },
  };
}

function statementRows(machine: Machine): Readonly<Record<string, ParserRow>> {
  const { privateKey: signer } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const signingKey = ecPublicJwk(signer);
  const ownerId = thumbprint(signingKey);
  const digest = 'ab'.repeat(32);
  const configuration = parseTrainingConfig({ training: { input_size: 4, hidden_size: 8, output_size: 2 } });
  const object = {
    name: 'train-00000.enc',
    protocol: '2.0',
    nonceScheme: 'big-endian',
    ...sealedShape(100),
    merkleRoot: digest,
  } as const;
  const slots = [slotOf(`https://${VAULT_HOST}/keys/k/${'0'.repeat(32)}`, new Uint8Array(256))];
  const agreement = agreementStatement({
    name: 'digits',
    purpose: 'train',
    owners: [
      {
        ownerId,
        name: 'hospital',
        signingKey,
        annexKey: machine.ekKey,
        vaultHost: VAULT_HOST,
        keyName: 'k',
        keyVersion: '0'.repeat(32),
        key: machine.akKey,
        attestationAuthority: 'https://att.weu.attest.azure.net',
        releasePolicySha256: digest,
        datasets: [{ dataset: 'mnist', version: 1, manifestDigest: digest, prefix: 'mnist/1' }],
      },
    ],
    modelOwner: { ownerId, name: 'hospital', signingKey },
    trainers: [digest],
    configuration,
    environment: STRICT_ENVIRONMENT,
    recipients: { model: [{ name: 'lab', key: machine.ekKey }], checkpoints: [] },
    metrics: ['loss'],
    customCode: false,
    maxRuns: 2,
    notAfter: '2027-01-31T00:00:00Z',
  });
  const manifest = manifestStatement({
    ownerId,
    dataset: 'mnist',
    version: 1,
    schema: {
      columns: ['a', 'b'],
      featureCount: 2,
      dtype: 'float32',
      label: 'label',
      classes: ['no', 'yes'],
      normalisation: { kind: 'standard', mean: [0, 1], deviation: [1, 2] },
    },
    objects: [{ ...object, split: 'train', rows: 2, keyBinding: digest }],
  });
  const evidence = { ...serialiseEvidence(evidenceOf(machine)) };
  const receipt = signReceipt(
    {
      runId: 'run-1',
      agreementDigest: digest,
      manifests: [{ ownerId, dataset: 'mnist', version: 1, digest }],
      trainerSha256: digest,
      configuration,
      metrics: { loss: 0.07 },
      model: [{ name: 'model.json', plainSha256: digest, sealedSha256: digest }],
      checkpointChainHead: digest,
      eventLogHead: digest,
      evidence,
      evidenceSha256: evidenceDigest(evidence),
      releases: [{ ownerId, replySha256: digest, nonceEchoed: true, vaultHost: VAULT_HOST, keyId: 'k' }],
      confinement: {},
      hygiene: {},
      hardware: 'EMULATED',
      engine: { backend: 'wasm', versions: { tfjs: '4.22.0' } },
      startedOn: '2026-11-20T12:00:00.000Z',
      finishedOn: '2026-11-20T12:01:00.000Z',
      receiptKey: signingKey,
    },
    signer,
  );
  // Signed anew: what is behind the signature is to be reached.
  const envelopeOf = (payload: string) =>
    serialiseEnvelope(addSignature({ ...receipt, payload: toBase64(utf8(payload)) }, signer));
  const signedBy = (statement: Statement) => serialiseEnvelope(signStatement(statement, [signer]));
  const inEnvelope = (statement: Statement) => ({
    good: signedBy(statement),
    json: { value: JSON.parse(JSON.stringify(statement)) as unknown, pack: envelopeOf },
  });
  const statementIn = (bytes: Uint8Array) => readStatement(parseEnvelope(bytes)).statement;
  const checkpoint = {
    version: 1,
    runId: 'run-1',
    step: 200,
    object: { ...object, name: 'run-1/checkpoints/200.sealed', sealedSha256: digest },
    slots,
    previousTag: CHAIN_START,
    resumeTag: digest,
  };
  return {
    'rows of a log': {
      ...plainJson([{ TimeGenerated: '2026-11-24T03:00:00Z', OperationName: 'KeyGet', HttpStatusCode: 200 }]),
      parse: (bytes) => vaultRows(parseRows(bytes, 'log'), 'log'),
      codes: ['CONFIG_INVALID'],
    },
    envelope: {
      ...plainJson(receipt),
      parse: (bytes) => verifyEnvelope(bytes, [signer]),
      codes: ['CONSENT_MISSING'],
      covers: ['parseEnvelope'],
    },
    agreement: {
      ...inEnvelope(agreement),
      parse: (bytes) => parseAgreement(statementIn(bytes)),
      covers: ['parseAgreement'],
    },
    'signed agreement': {
      ...inEnvelope(agreement),
      parse: (bytes) => verifyAgreement(bytes),
      codes: ['CONSENT_MISSING'],
    },
    manifest: {
      ...inEnvelope(manifest),
      parse: (bytes) => parseManifest(statementIn(bytes)),
      covers: ['parseManifest'],
    },
    receipt: {
      good: serialiseEnvelope(receipt),
      parse: parseReceipt,
      json: { value: readStatement(receipt).statement, pack: envelopeOf },
      covers: ['parseReceipt'],
    },
    'metric history': {
      good: encodeMetricHistory([{ name: 'loss', step: 1, value: 0.5, at: '2026-11-24T00:00:00.000Z' }]),
      parse: (bytes) => parseMetricHistory(bytes),
      covers: ['parseMetricHistory'],
    },
    preprocessing: {
      ...plainJson({
        version: 1,
        schema: {
          columns: ['a', 'b=x', 'b=y'],
          featureCount: 3,
          dtype: 'float32',
          label: 'c',
          classes: ['no', 'yes'],
          normalisation: { kind: 'standard', mean: [0, 0, 0], deviation: [1, 1, 1] },
          coding: { names: 'one-hot', categories: { b: ['x', 'y'] }, fill: { a: 0 } },
        },
      }),
      parse: (bytes) => parsePreprocessing(bytes),
      covers: ['parsePreprocessing'],
    },
    scores: {
      ...plainJson({
        version: 1,
        salt: toBase64(new Uint8Array(32)),
        splits: {
          test: [
            [3, 1],
            [0, 2],
          ],
        },
      }),
      parse: (bytes) => parseScores(bytes),
      covers: ['parseScores'],
    },
    checkpoint: { ...plainJson(checkpoint), parse: (bytes) => parseCheckpoint(bytes), covers: ['parseCheckpoint'] },
    'key slots': {
      ...plainJson({ version: 1, objects: { 'train-00000.enc': slots } }),
      parse: (bytes) => parseKeySlots(bytes),
      covers: ['parseKeySlots'],
    },
    'key id': {
      good: utf8(`https://${VAULT_HOST}/keys/k/${'0'.repeat(32)}`),
      parse: (bytes) => parseKeyId(text(bytes)),
      covers: ['parseKeyId'],
    },
    'model signature': {
      ...plainJson(signModel({ 'weights.bin': digest }, 'model', signer)),
      parse: (bytes) => verifyModelSignature(jsonOf(bytes), { 'weights.bin': digest }, signer),
      codes: ['CONSENT_MISSING', 'CIPHERTEXT_REJECTED'],
    },
  };
}
