import { constants, createHash, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { DER_TAG } from '../runtime/attestation/der.ts';
import type { CertificateName } from '../runtime/attestation/revocation-list.ts';
import { concat, fromHex, toBase64, utf8 } from '../runtime/crypto/bytes.ts';

/** What an AMD-like certificate says. */
export interface AmdCertificateContent {
  readonly serial: number;
  readonly subject: string;
  readonly issuer: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly key: KeyObject;
  /** A CA gets key identifier, basicConstraints and keyUsage, as AMD's do; a VCEK has AMD's own extensions only. */
  readonly ca: boolean;
  /** Object identifier (DER, hex) to extnValue. */
  readonly extensions: readonly (readonly [string, Uint8Array])[];
}

const OID = {
  rsassaPss: '2a864886f70d01010a',
  mgf1: '2a864886f70d010108',
  sha384: '608648016503040202',
  commonName: '550403',
  organisation: '55040a',
  basicConstraints: '551d13',
  keyUsage: '551d0f',
  subjectKeyIdentifier: '551d0e',
  crlNumber: '551d14',
  issuingDistributionPoint: '551d1c',
  certificateIssuer: '551d1d',
} as const;

/** indirectCRL TRUE of an IssuingDistributionPoint, and directoryName of a GeneralName (RFC 5280 sections 5.2.5, 4.2.1.6). */
const INDIRECT_CRL = Uint8Array.of(0x84, 1, 0xff);
const DIRECTORY_NAME = 0xa4;
/** Salt as long as the hash, as in AMD's chain. */
const SALT_LENGTH = 48;
const TRUE = Uint8Array.of(DER_TAG.boolean, 1, 0xff);
/** Bit 5, keyCertSign, of a bit string with two unused bits (RFC 5280 section 4.2.1.3). */
const KEY_CERT_SIGN = Uint8Array.of(DER_TAG.bitString, 2, 2, 4);
/** Bit 6, cRLSign, with it: roots sign lists too. */
const KEY_CERT_AND_CRL_SIGN = Uint8Array.of(DER_TAG.bitString, 2, 1, 6);

/** A certificate (RFC 5280) signed with RSASSA-PSS, SHA-384, as DER. */
export function issueAmdCertificate(content: AmdCertificateContent, issuerKey: KeyObject): Uint8Array {
  const tbs = der(
    DER_TAG.sequence,
    der(0xa0, integer(2)),
    integer(content.serial),
    signatureAlgorithm(),
    name(content.issuer),
    der(DER_TAG.sequence, time(content.notBefore), time(content.notAfter)),
    name(content.subject),
    spki(content.key),
    der(0xa3, der(DER_TAG.sequence, ...extensions(content))),
  );
  return signed(tbs, issuerKey);
}

/** What an AMD-like revocation list says. */
export interface AmdRevocationListContent {
  readonly issuer: string;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  /** As they stand in the certificates. */
  readonly revoked: readonly CertificateName[];
}

/**
 * A version 2 list (RFC 5280 section 5) with RSASSA-PSS, SHA-384, as DER. An indirect one, because AMD's root did not issue
 * the certificates of chips: each entry names its issuer (section 5.3.3).
 */
export function issueAmdRevocationList(content: AmdRevocationListContent, issuerKey: KeyObject): Uint8Array {
  const entry = ({ issuer, serial }: CertificateName): Uint8Array => {
    const directoryName = der(DIRECTORY_NAME, der(DER_TAG.sequence, fromHex(issuer)));
    return der(
      DER_TAG.sequence,
      der(DER_TAG.integer, fromHex(serial)),
      time(content.thisUpdate),
      der(DER_TAG.sequence, extension(OID.certificateIssuer, der(DER_TAG.sequence, directoryName), true)),
    );
  };
  const { revoked } = content;
  const tbs = der(
    DER_TAG.sequence,
    integer(1),
    signatureAlgorithm(),
    name(content.issuer),
    time(content.thisUpdate),
    time(content.nextUpdate),
    ...(revoked.length === 0 ? [] : [der(DER_TAG.sequence, ...revoked.map(entry))]),
    der(
      0xa0,
      der(
        DER_TAG.sequence,
        extension(OID.crlNumber, integer(1)),
        extension(OID.issuingDistributionPoint, der(DER_TAG.sequence, INDIRECT_CRL), true),
      ),
    ),
  );
  return signed(tbs, issuerKey);
}

function signed(tbs: Uint8Array, issuerKey: KeyObject): Uint8Array {
  const signature = sign('sha384', tbs, {
    key: issuerKey,
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: SALT_LENGTH,
  });
  return der(DER_TAG.sequence, tbs, signatureAlgorithm(), der(DER_TAG.bitString, Uint8Array.of(0), signature));
}

/** One DER element around the given parts. */
export function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const value = concat(...parts);
  const { length } = value;
  if (length >= 65_536) throw new RangeError(`a DER element of ${length} bytes is longer than any certificate`);
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return concat(Uint8Array.of(tag, ...size), value);
}

/** A DER integer from 0 to 2^31 - 1; a leading zero byte keeps one with the high bit set positive. */
export function integer(value: number): Uint8Array {
  const bytes = [24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff);
  const first = bytes.findIndex((byte) => byte !== 0);
  const significant = first < 0 ? [0] : bytes.slice(first);
  return der(DER_TAG.integer, Uint8Array.from((significant[0] ?? 0) >= 0x80 ? [0, ...significant] : significant));
}

/** PEM text of a certificate, lines of 64 characters. */
export function certificatePem(certificate: Uint8Array): string {
  const lines = toBase64(certificate).match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n');
}

function extensions(content: AmdCertificateContent): readonly Uint8Array[] {
  const own = content.extensions.map(([id, value]) => extension(id, value));
  if (!content.ca) return own;
  const keyId = createHash('sha1').update(spki(content.key)).digest();
  return [
    extension(OID.subjectKeyIdentifier, der(DER_TAG.octetString, keyId)),
    extension(OID.basicConstraints, der(DER_TAG.sequence, TRUE), true),
    extension(OID.keyUsage, content.subject === content.issuer ? KEY_CERT_AND_CRL_SIGN : KEY_CERT_SIGN, true),
    ...own,
  ];
}

function extension(id: string, value: Uint8Array, critical = false): Uint8Array {
  const parts = critical ? [oid(id), TRUE] : [oid(id)];
  return der(DER_TAG.sequence, ...parts, der(DER_TAG.octetString, value));
}

function signatureAlgorithm(): Uint8Array {
  const hash = der(DER_TAG.sequence, oid(OID.sha384), der(DER_TAG.null));
  const parameters = der(
    DER_TAG.sequence,
    der(0xa0, hash),
    der(0xa1, der(DER_TAG.sequence, oid(OID.mgf1), hash)),
    der(0xa2, integer(SALT_LENGTH)),
  );
  return der(DER_TAG.sequence, oid(OID.rsassaPss), parameters);
}

function name(commonName: string): Uint8Array {
  const attribute = (id: string, value: string): Uint8Array =>
    der(DER_TAG.set, der(DER_TAG.sequence, oid(id), der(DER_TAG.utf8String, utf8(value))));
  // Not AMD's name: whoever looks at a certificate must see where it comes from.
  return der(DER_TAG.sequence, attribute(OID.organisation, 'EMULATED HARDWARE'), attribute(OID.commonName, commonName));
}

/** UTCTime, which RFC 5280 section 4.1.2.5 demands until 2049. */
function time(date: Date): Uint8Array {
  return der(
    DER_TAG.utcTime,
    utf8(
      date
        .toISOString()
        .slice(2)
        .replace(/[-:T]|\.\d+/g, ''),
    ),
  );
}

function spki(key: KeyObject): Uint8Array {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key;
  return publicKey.export({ type: 'spki', format: 'der' });
}

function oid(hex: string): Uint8Array {
  return der(DER_TAG.objectIdentifier, fromHex(hex));
}
