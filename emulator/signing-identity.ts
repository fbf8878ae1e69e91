import { createPrivateKey, createPublicKey, type KeyObject, randomBytes, sign } from 'node:crypto';

/**
 * X.509 version 3 certificates for the emulator's authorities (RFC 5280): one common name, SHA-256 with RSA, and the
 * three extensions that TLS and the vault's replies need. Node reads certificates and makes none.
 */
export interface CertificateOptions {
  readonly commonName: string;
  readonly publicKey: KeyObject;
  /**
   * Whose name and RSA key sign it.
   * @default - itself
   */
  readonly issuer?: { readonly commonName: string; readonly privateKey: KeyObject };
  /** Private half of `publicKey`, for a certificate that signs itself. */
  readonly privateKey?: KeyObject;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly ca: boolean;
  /** @default - no alternative names */
  readonly dnsNames?: readonly string[];
  /**
   * How many authorities may stand below this one.
   * @default - any number
   */
  readonly pathLength?: number;
  /**
   * Extensions beyond those above, DER, by dotted name.
   * @default - none
   */
  readonly more?: Readonly<Record<string, Uint8Array>>;
}

/** A private key and the certificates that vouch for it, leaf first; PEM text, so that it can be kept in a file. */
export interface SigningIdentity {
  readonly commonName: string;
  /** PKCS#8. */
  readonly privateKey: string;
  readonly chain: readonly string[];
}

const OID = {
  commonName: '2.5.4.3',
  sha256WithRsa: '1.2.840.113549.1.1.11',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  subjectAlternativeName: '2.5.29.17',
} as const;
/** BIT STRING values, RFC 5280 section 4.2.1.3: keyCertSign and cRLSign; digitalSignature and keyEncipherment. */
const CA_USAGE = Uint8Array.of(0x01, 0x06);
const LEAF_USAGE = Uint8Array.of(0x05, 0xa0);
const NULL = Uint8Array.of(0x05, 0x00);
const TRUE = Uint8Array.of(0x01, 0x01, 0xff);

/** @returns DER */
export function createCertificate(options: CertificateOptions): Uint8Array {
  const signer = options.issuer?.privateKey ?? options.privateKey;
  if (signer === undefined) throw new TypeError('a certificate needs an issuer or its own private key');
  const algorithm = sequence(oid(OID.sha256WithRsa), NULL);
  const tbs = sequence(
    der(0xa0, integer(Uint8Array.of(2))),
    // 20 bytes at the most, positive: a random number below 2^127.
    integer(Uint8Array.from(randomBytes(16), (byte, i) => (i === 0 ? (byte & 0x7f) | 0x40 : byte))),
    algorithm,
    name(options.issuer?.commonName ?? options.commonName),
    sequence(time(options.notBefore), time(options.notAfter)),
    name(options.commonName),
    createPublicKey(toPublicPem(options.publicKey)).export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions(options))),
  );
  const signature = sign('sha256', tbs, signer);
  return sequence(tbs, algorithm, der(0x03, Uint8Array.of(0), signature));
}

/** A key pair's certificate below `issuer`, with the issuer's own chain after it. */
export function createIdentity(
  options: Omit<CertificateOptions, 'issuer' | 'publicKey' | 'privateKey'>,
  keys: { readonly privateKey: KeyObject; readonly publicKey: KeyObject },
  issuer?: SigningIdentity,
): SigningIdentity {
  const signer =
    issuer === undefined
      ? { privateKey: keys.privateKey }
      : { issuer: { commonName: issuer.commonName, privateKey: createPrivateKey(issuer.privateKey) } };
  const certificate = createCertificate({ ...options, publicKey: keys.publicKey, ...signer });
  return {
    commonName: options.commonName,
    privateKey: keys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    chain: [certificatePem(certificate), ...(issuer?.chain ?? [])],
  };
}

function certificatePem(certificate: Uint8Array): string {
  const lines =
    Buffer.from(certificate)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

function extensions({ ca, dnsNames = [], pathLength, more = {} }: CertificateOptions): Uint8Array[] {
  const length = pathLength === undefined ? [] : [integer(Uint8Array.of(pathLength))];
  const list = [
    sequence(oid(OID.basicConstraints), TRUE, octets(sequence(...(ca ? [TRUE, ...length] : [])))),
    sequence(oid(OID.keyUsage), TRUE, octets(der(0x03, ca ? CA_USAGE : LEAF_USAGE))),
  ];
  if (dnsNames.length > 0) {
    const names = dnsNames.map((dnsName) => der(0x82, Buffer.from(dnsName, 'latin1')));
    list.push(sequence(oid(OID.subjectAlternativeName), octets(sequence(...names))));
  }
  for (const [name, value] of Object.entries(more)) list.push(sequence(oid(name), TRUE, octets(value)));
  return list;
}

function toPublicPem(key: KeyObject): string {
  return (key.type === 'private' ? createPublicKey(key) : key).export({ type: 'spki', format: 'pem' }).toString();
}

function name(commonName: string): Uint8Array {
  return sequence(der(0x31, sequence(oid(OID.commonName), der(0x0c, Buffer.from(commonName)))));
}

/** UTCTime to 2049, GeneralizedTime after it (RFC 5280 section 4.1.2.5). */
function time(date: Date): Uint8Array {
  const text = `${date.toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`;
  return date.getUTCFullYear() < 2050 ? der(0x17, Buffer.from(text.slice(2))) : der(0x18, Buffer.from(text));
}

function oid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return der(0x06, Uint8Array.from([first * 40 + second, ...rest.flatMap(base128)]));
}

function base128(value: number): number[] {
  const digits = [value & 0x7f];
  for (let left = value >> 7; left > 0; left >>= 7) digits.unshift((left & 0x7f) | 0x80);
  return digits;
}

function integer(bytes: Uint8Array): Uint8Array {
  return der(0x02, bytes);
}

function octets(content: Uint8Array): Uint8Array {
  return der(0x04, content);
}

function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return der(0x30, ...parts);
}

function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts);
  const length = content.length;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Uint8Array.from([tag, ...size, ...content]);
}
