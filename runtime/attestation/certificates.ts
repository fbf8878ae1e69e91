import { X509Certificate } from 'node:crypto';
import { GENERATIONS, type Generation, type Tcb } from '../catalogue.ts';
import { fromBase64, toHex } from '../crypto/bytes.ts';
import { DER_TAG, derByte, derChildren, derElements } from './der.ts';
import { malformed, unsupported } from './malformed.ts';

/** AMD's arc 1.3.6.1.4.1.3704.1 as DER, and what stands under it in a VCEK (AMD 57230, VCEK certificate extensions). */
const AMD_ARC = '2b060104019c7801';
export const AMD_EXTENSIONS = {
  structVersion: `${AMD_ARC}01`,
  product: `${AMD_ARC}02`,
  bootloader: `${AMD_ARC}0301`,
  tee: `${AMD_ARC}0302`,
  snp: `${AMD_ARC}0303`,
  microcode: `${AMD_ARC}0308`,
  /** Turin only. */
  fmc: `${AMD_ARC}0309`,
  hardwareId: `${AMD_ARC}04`,
} as const;

/** A chain of three certificates and what AMD states in the first. Whether anybody signed it is for verify.ts to find out. */
export interface VcekChain {
  readonly vcek: X509Certificate;
  readonly ask: X509Certificate;
  readonly ark: X509Certificate;
  /** By the name of the ASK: the only place that tells Milan from Genoa in a report of version 2. */
  readonly generation: Generation;
  /** For example `Milan-B0`. */
  readonly product: string;
  readonly tcb: Tcb;
  /** 64 bytes, on Turin 8. */
  readonly hardwareId: Uint8Array;
}

/** Three certificates take 6 kB. */
const LONGEST_CHAIN = 65_536;
/** The optional fields of TBSCertificate carry context tags; [3] is the extensions (RFC 5280 section 4.1). */
const EXTENSIONS_TAG = 0xa3;

/**
 * Reads `VCEK, ASK, ARK` from PEM text.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`
 */
export function parseVcekChain(pem: string): VcekChain {
  if (pem.length > LONGEST_CHAIN) throw malformed(`certificate chain has ${pem.length} characters, wanted fewer`);
  const blocks = [...pem.matchAll(/-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----/g)];
  const [vcek, ask, ark, ...rest] = blocks.map(([, body = '']) => parseCertificate(body.replace(/\s/g, '')));
  if (vcek === undefined || ask === undefined || ark === undefined || rest.length > 0) {
    throw malformed(`certificate chain has ${blocks.length} certificates, wanted 3: VCEK, ASK, ARK`);
  }
  if (commonName(vcek) !== 'SEV-VCEK') {
    throw unsupported(`first certificate is of ${JSON.stringify(commonName(vcek))}, wanted "SEV-VCEK"`);
  }
  const generation = generationOf(ask);
  const { asymmetricKeyType, asymmetricKeyDetails } = publicKey(vcek);
  if (asymmetricKeyType !== 'ec' || asymmetricKeyDetails?.namedCurve !== 'secp384r1') {
    throw malformed('key of the VCEK is not on P-384');
  }
  publicKey(ask);
  publicKey(ark);
  return { vcek, ask, ark, generation, ...amdStatements(vcek, generation) };
}

function amdStatements(
  vcek: X509Certificate,
  generation: Generation,
): Pick<VcekChain, 'product' | 'tcb' | 'hardwareId'> {
  const extensions = readExtensions(Uint8Array.from(vcek.raw), 'VCEK');
  const get = (name: keyof typeof AMD_EXTENSIONS): Uint8Array => {
    const value = extensions.get(AMD_EXTENSIONS[name]);
    if (value === undefined) throw malformed(`VCEK has no extension for ${name}`);
    return value;
  };
  const part = (name: keyof Tcb): number => derByte(get(name), `${name} of the VCEK`);
  return {
    product: productName(get('product')),
    tcb: {
      bootloader: part('bootloader'),
      tee: part('tee'),
      snp: part('snp'),
      microcode: part('microcode'),
      fmc: generation === 'Turin' ? part('fmc') : 0,
    },
    hardwareId: hardwareId(get('hardwareId'), generation === 'Turin' ? 8 : 64),
  };
}

function generationOf(ask: X509Certificate): Generation {
  const name = commonName(ask);
  const generation = GENERATIONS.find((candidate) => name === `SEV-${candidate}`);
  if (generation !== undefined) return generation;
  throw unsupported(
    `second certificate is of ${JSON.stringify(name)}, wanted SEV- and one of ${GENERATIONS.join(', ')}`,
  );
}

function parseCertificate(base64: string): X509Certificate {
  const der = fromBase64(base64, 'certificate');
  try {
    return new X509Certificate(der);
  } catch (error) {
    throw malformed('certificate is not X.509', error);
  }
}

/** Node reads the key when it is asked for, and only then finds out that it is none. */
function publicKey(certificate: X509Certificate): X509Certificate['publicKey'] {
  try {
    return certificate.publicKey;
  } catch (error) {
    throw malformed(`certificate of ${JSON.stringify(commonName(certificate))} has no usable key`, error);
  }
}

function commonName(certificate: X509Certificate): string {
  const names = certificate.subject.split('\n').filter((line) => line.startsWith('CN='));
  return names.length === 1 ? (names[0] ?? '').slice('CN='.length, 40) : '';
}

/** Object identifier (DER, hex) to extnValue (RFC 5280 section 4.2): Node shows no extensions of others' arcs. */
export function readExtensions(certificate: Uint8Array, what: string): ReadonlyMap<string, Uint8Array> {
  const [tbs] = derChildren(derElements(certificate, what)[0], DER_TAG.sequence, what);
  const wrapper = derChildren(tbs, DER_TAG.sequence, what).find(({ tag }) => tag === EXTENSIONS_TAG);
  const [list] = derChildren(wrapper, EXTENSIONS_TAG, what);
  const extensions = new Map<string, Uint8Array>();
  for (const extension of derChildren(list, DER_TAG.sequence, what)) {
    const parts = derChildren(extension, DER_TAG.sequence, what);
    const [id, value] = [parts[0], parts.at(-1)];
    if (id?.tag !== DER_TAG.objectIdentifier || value?.tag !== DER_TAG.octetString) {
      throw malformed(`${what} has an extension without name or value`);
    }
    const name = toHex(id.value);
    if (extensions.has(name)) throw malformed(`${what} has two extensions ${name}`);
    extensions.set(name, value.value);
  }
  return extensions;
}

function productName(value: Uint8Array): string {
  const [element] = derElements(value, 'product of the VCEK');
  const name = new TextDecoder('latin1').decode(element?.value);
  if (element?.tag !== DER_TAG.ia5String || !/^[A-Za-z0-9-]{1,40}$/.test(name)) {
    throw malformed('product of the VCEK is not a name');
  }
  return name;
}

/** AMD stores the raw bytes where X.509 wants DER; a wrapped form has been seen too (trustee `snp/mod.rs`). */
function hardwareId(value: Uint8Array, length: number): Uint8Array {
  if (value.length === length) return value;
  if (value.length === length + 2 && value[0] === DER_TAG.octetString && value[1] === length) return value.subarray(2);
  throw malformed(`hardware id of the VCEK has ${value.length} bytes, wanted ${length}`);
}
