import { GENERATIONS, type Generation } from '../catalogue.ts';
import { fromBase64, toHex } from '../crypto/bytes.ts';
import { DER_TAG, type DerElement, derChildren, derElements } from './der.ts';
import { malformed, unsupported } from './malformed.ts';

/** A certificate as revocation lists name it: contents of the DER issuer name and of the DER serial number, hex. */
export interface CertificateName {
  readonly issuer: string;
  readonly serial: string;
}

/** What a certificate revocation list says. Whether anybody signed it is for revocation-checks.ts to find out. */
export interface RevocationList {
  /** By the name of its issuer, `ARK-Milan` for example. */
  readonly generation: Generation;
  /** Contents of its DER name, hex. */
  readonly issuer: string;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  readonly revoked: readonly CertificateName[];
  readonly signedBytes: Uint8Array;
  readonly signature: Uint8Array;
}

/** Longest list that is read. One entry takes 20 to 40 bytes, and AMD has a few intermediate keys a generation to revoke. */
export const LONGEST_REVOCATION_LIST = 65_536;

const WHAT = 'revocation list';
/** Version 2 is written as 1; extensions carry the context tag [0] (RFC 5280 section 5.1). */
const VERSION_2 = '01';
const EXTENSIONS_TAG = 0xa0;
/** directoryName of a GeneralName, around a Name (RFC 5280 section 4.2.1.6). */
const DIRECTORY_NAME_TAG = 0xa4;

const OID = { rsassaPss: '2a864886f70d01010a', commonName: '550403' } as const;

/** Those of a list that are understood (RFC 5280 section 5.2). A delta list is none of them: it leaves out what was revoked before. */
const LIST_EXTENSIONS = {
  crlNumber: '551d14',
  authorityKeyIdentifier: '551d23',
  issuingDistributionPoint: '551d1c',
} as const;
/** Those of an entry (section 5.3). Whatever the reason, even a hold, the certificate counts as revoked. */
const ENTRY_EXTENSIONS = { reasonCode: '551d15', invalidityDate: '551d18', certificateIssuer: '551d1d' } as const;
/** The only IssuingDistributionPoint that leaves nothing out: indirectCRL, a list that also speaks of other issuers' certificates. */
const INDIRECT = '30038401ff';

/** SHA-384 as AlgorithmIdentifier, without and with NULL: both have to be understood (RFC 4055 section 2.1). */
const SHA384 = ['300b0609608648016503040202', '300d06096086480165030402020500'] as const;
const MGF1_SHA384 = [
  '301806092a864886f70d010108300b0609608648016503040202',
  '301a06092a864886f70d010108300d06096086480165030402020500',
] as const;
/**
 * RSASSA-PSS-params by tag: hash, mask, salt of 48, trailer (RFC 4055 section 3.1). AMD writes the trailer out although it is
 * the default. Other defaults are SHA-1's, so nothing else may be missing.
 */
const PSS_PARAMETERS: readonly (readonly [number, readonly string[]])[] = [
  [0xa0, SHA384],
  [0xa1, MGF1_SHA384],
  [0xa2, ['020130']],
  [0xa3, ['020101']],
];

/**
 * Reads one X.509 v2 certificate revocation list (RFC 5280 section 5), DER or PEM, signed with RSASSA-PSS and SHA-384 as
 * AMD signs.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`, also for a critical extension that is not understood
 */
export function parseRevocationList(bytes: Uint8Array): RevocationList {
  if (bytes.length > LONGEST_REVOCATION_LIST) {
    throw malformed(`${WHAT} has ${bytes.length} bytes, wanted at most ${LONGEST_REVOCATION_LIST}`);
  }
  const [list, ...behind] = derElements(derOf(bytes), WHAT);
  const [tbs, algorithm, signature, ...more] = derChildren(list, DER_TAG.sequence, WHAT);
  if (list === undefined || tbs === undefined || behind.length + more.length > 0) {
    throw malformed(`${WHAT} is not one sequence of three elements`);
  }
  const [version, inner, issuer, thisUpdate, nextUpdate, ...rest] = derChildren(tbs, DER_TAG.sequence, WHAT);
  if (version?.tag !== DER_TAG.integer || toHex(version.value) !== VERSION_2)
    throw malformed(`${WHAT} is not version 2`);
  requirePss(inner);
  requirePss(algorithm);
  if (toHex(inner?.value ?? NOTHING) !== toHex(algorithm?.value ?? NOTHING)) {
    throw malformed(`${WHAT} names two signature algorithms`);
  }
  if (signature?.tag !== DER_TAG.bitString || signature.value[0] !== 0) {
    throw malformed(`${WHAT} has no signature of whole bytes`);
  }
  const [from, to] = [readTime(thisUpdate), readTime(nextUpdate)];
  if (from > to) throw malformed(`${WHAT} ends before it begins`);
  const entries = rest[0]?.tag === DER_TAG.sequence ? rest.shift() : undefined;
  const extensions = rest[0]?.tag === EXTENSIONS_TAG ? rest.shift() : undefined;
  if (rest.length > 0) throw malformed(`${WHAT} has DER tag ${rest[0]?.tag} behind its entries`);
  const indirect = isIndirect(extensions);
  const name = toHex(issuer?.value ?? NOTHING);
  return {
    generation: generationOf(issuer),
    issuer: name,
    thisUpdate: from,
    nextUpdate: to,
    revoked: entries === undefined ? [] : readEntries(entries, name, indirect),
    signedBytes: list.value.slice(0, tbs.value.byteOffset + tbs.value.length - list.value.byteOffset),
    signature: signature.value.slice(1),
  };
}

const NOTHING = new Uint8Array();

/** DER begins with a sequence; anything else has to be one PEM block and nothing besides (RFC 7468 section 6). */
function derOf(bytes: Uint8Array): Uint8Array {
  if (bytes[0] === DER_TAG.sequence) return bytes;
  const text = new TextDecoder('latin1').decode(bytes);
  const [, body] = /^\s*-----BEGIN X509 CRL-----([^-]*)-----END X509 CRL-----\s*$/.exec(text) ?? [];
  if (body === undefined) throw malformed(`${WHAT} is neither DER nor one PEM block`);
  return fromBase64(body.replace(/\s/g, ''), WHAT);
}

function requirePss(algorithm: DerElement | undefined): void {
  const [id, parameters, ...rest] = derChildren(algorithm, DER_TAG.sequence, WHAT);
  const isPss = id?.tag === DER_TAG.objectIdentifier && toHex(id.value) === OID.rsassaPss && rest.length === 0;
  const fields = isPss ? derChildren(parameters, DER_TAG.sequence, WHAT) : [];
  const fits = fields.every(({ tag, value }, at) => {
    const [wanted, spellings = []] = PSS_PARAMETERS[at] ?? [];
    return tag === wanted && spellings.includes(toHex(value));
  });
  if (fields.length < 3 || !fits) throw malformed(`${WHAT} is not signed with RSASSA-PSS, SHA-384 and a salt of 48`);
}

/** UTCTime through 2049, GeneralizedTime from 2050 on, in seconds and in UTC (RFC 5280 section 5.1.2.4). */
function readTime(element: DerElement | undefined): Date {
  const text = new TextDecoder('latin1').decode(element?.value);
  const long = element?.tag === DER_TAG.generalizedTime;
  if (!(long ? /^\d{14}Z$/ : /^\d{12}Z$/).test(text) || (!long && element?.tag !== DER_TAG.utcTime)) {
    throw malformed(`${WHAT} has no time where one belongs`);
  }
  const digits = long ? text : `${Number(text.slice(0, 2)) < 50 ? '20' : '19'}${text}`;
  const iso = digits.replace(/^(....)(..)(..)(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6.000Z');
  const time = new Date(iso);
  if (Number.isNaN(time.getTime()) || time.toISOString() !== iso) throw malformed(`${WHAT} has a time that is none`);
  if (long && iso < '2050') throw malformed(`${WHAT} has a time before 2050 as GeneralizedTime`);
  return time;
}

function generationOf(issuer: DerElement | undefined): Generation {
  const names = derChildren(issuer, DER_TAG.sequence, WHAT)
    .flatMap((part) => derChildren(part, DER_TAG.set, WHAT))
    .map((attribute) => derChildren(attribute, DER_TAG.sequence, WHAT))
    .filter(([id]) => id?.tag === DER_TAG.objectIdentifier && toHex(id.value) === OID.commonName)
    .map(([, value]) => new TextDecoder('latin1').decode(value?.value).slice(0, 40));
  const generation = GENERATIONS.find((candidate) => names.length === 1 && names[0] === `ARK-${candidate}`);
  if (generation !== undefined) return generation;
  throw unsupported(
    `${WHAT} is of ${names.map((name) => JSON.stringify(name)).join(' and ') || 'nobody'}, wanted ARK- and one of ${GENERATIONS.join(', ')}`,
  );
}

function isIndirect(extensions: DerElement | undefined): boolean {
  if (extensions === undefined) return false;
  const [list, ...rest] = derChildren(extensions, EXTENSIONS_TAG, WHAT);
  if (rest.length > 0) throw malformed(`${WHAT} has more than one list of extensions`);
  const scope = readExtensions(list, Object.values(LIST_EXTENSIONS)).get(LIST_EXTENSIONS.issuingDistributionPoint);
  if (scope === undefined) return false;
  if (toHex(scope) === INDIRECT) return true;
  throw unsupported(`${WHAT} is one of some certificates only`);
}

/** An entry is of the issuer of the one before it unless it names another (RFC 5280 section 5.3.3). */
function readEntries(entries: DerElement, issuer: string, indirect: boolean): readonly CertificateName[] {
  let of = issuer;
  const revoked = derChildren(entries, DER_TAG.sequence, WHAT).map((entry) => {
    const [serial, date, extensions, ...rest] = derChildren(entry, DER_TAG.sequence, WHAT);
    if (rest.length > 0) throw malformed(`${WHAT} has an entry of more than three elements`);
    readTime(date);
    if (extensions !== undefined) {
      const named = readExtensions(extensions, Object.values(ENTRY_EXTENSIONS)).get(ENTRY_EXTENSIONS.certificateIssuer);
      if (named !== undefined && !indirect) throw malformed(`${WHAT} names another issuer but is not an indirect one`);
      if (named !== undefined) of = readIssuer(named);
    }
    return { issuer: of, serial: readSerial(serial) };
  });
  if (revoked.length === 0) throw malformed(`${WHAT} has an empty list of entries, wanted none at all`);
  return revoked;
}

/** Up to 20 bytes, not negative, none to spare (RFC 5280 section 4.1.2.2). Zero is what AMD gives every VCEK. */
function readSerial(element: DerElement | undefined): string {
  const [first = 0x80, second = 0x80] = element?.value ?? [];
  const { length = 0 } = element?.value ?? {};
  if (
    element?.tag !== DER_TAG.integer ||
    length > 20 ||
    first >= 0x80 ||
    (first === 0 && length > 1 && second < 0x80)
  ) {
    throw malformed(`${WHAT} has an entry without a serial number`);
  }
  return toHex(element.value);
}

function readIssuer(value: Uint8Array): string {
  const [names, ...behind] = derElements(value, WHAT);
  const [general, ...others] = derChildren(names, DER_TAG.sequence, WHAT);
  const [name, ...rest] = derChildren(general, DIRECTORY_NAME_TAG, WHAT);
  if (name?.tag !== DER_TAG.sequence || behind.length + others.length + rest.length > 0) {
    throw malformed(`${WHAT} has an entry whose issuer is not one name`);
  }
  return toHex(name.value);
}

/** Object identifier (DER, hex) to extnValue. A critical one that is not understood changes what the list means: refused. */
function readExtensions(list: DerElement | undefined, understood: readonly string[]): ReadonlyMap<string, Uint8Array> {
  const extensions = new Map<string, Uint8Array>();
  for (const extension of derChildren(list, DER_TAG.sequence, WHAT)) {
    const [id, ...parts] = derChildren(extension, DER_TAG.sequence, WHAT);
    const critical = parts[0]?.tag === DER_TAG.boolean ? parts.shift() : undefined;
    const [value, ...rest] = parts;
    if (id?.tag !== DER_TAG.objectIdentifier || value?.tag !== DER_TAG.octetString || rest.length > 0) {
      throw malformed(`${WHAT} has an extension without name or value`);
    }
    const name = toHex(id.value);
    // FALSE is the default, which DER leaves out.
    if (critical !== undefined && toHex(critical.value) !== 'ff') throw malformed(`${WHAT} has a boolean that is none`);
    if (critical !== undefined && !understood.includes(name)) {
      throw unsupported(`${WHAT} has critical extension ${name.slice(0, 40)}, which is not understood`);
    }
    if (extensions.has(name)) throw malformed(`${WHAT} has two extensions ${name.slice(0, 40)}`);
    extensions.set(name, value.value);
  }
  return extensions;
}
