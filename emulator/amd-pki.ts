import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  randomBytes,
  X509Certificate,
} from 'node:crypto';
import { promisify } from 'node:util';
import { AMD_EXTENSIONS } from '../runtime/attestation/certificates.ts';
import { DER_TAG } from '../runtime/attestation/der.ts';
import { certificateNames } from '../runtime/attestation/revocation-checks.ts';
import { type Generation, STRICT_ENVIRONMENT, type Tcb } from '../runtime/catalogue.ts';
import { fromHex, toHex, utf8 } from '../runtime/crypto/bytes.ts';
import { certificatePem, der, integer, issueAmdCertificate, issueAmdRevocationList } from './amd-certificate.ts';

/**
 * A chip and the three certificates AMD would give it, made up. Plain JSON, so that an emulator can keep it;
 * the private keys in it protect nothing, for no trust set but the emulator's own holds its root.
 */
export interface AmdPki {
  readonly generation: Generation;
  /** PEM. */
  readonly ark: string;
  readonly ask: string;
  readonly vcek: string;
  /** PKCS#8 PEM. */
  readonly arkKey: string;
  readonly askKey: string;
  readonly vcekKey: string;
  /** Hex, 64 bytes, on Turin 8. */
  readonly chipId: string;
  readonly tcb: Tcb;
}

export interface AmdPkiOptions {
  /**
   * Bits of the RSA keys.
   * @default 4096 as AMD's, which take seconds to make
   */
  readonly modulusLength?: number;
  /**
   * Firmware versions that the VCEK is for.
   * @default the lowest that the strict policy accepts
   */
  readonly tcb?: Tcb;
  /**
   * Start of the certificates' seven years.
   * @default a day ago
   */
  readonly notBefore?: Date;
}

/** What to state in a VCEK other than the truth, for tests of refusals. */
export interface VcekChanges {
  /** @default that of the chip */
  readonly tcb?: Tcb;
  /** @default that of the generation */
  readonly product?: string;
  /** @default the chip's id */
  readonly hardwareId?: Uint8Array;
  /** @default a day ago */
  readonly notBefore?: Date;
  /** @default seven years after `notBefore` */
  readonly notAfter?: Date;
}

const PRODUCTS: Readonly<Record<Generation, string>> = { Milan: 'Milan-B0', Genoa: 'Genoa', Turin: 'Turin' };
const TURIN_TCB: Tcb = { fmc: 1, bootloader: 1, tee: 0, snp: 4, microcode: 80 };
const DAY_IN_MS = 86_400_000;
const VALIDITY_IN_MS = 7 * 365 * DAY_IN_MS;
const generateKeys = promisify(generateKeyPair);

/** Makes a root, an intermediate and a chip of `generation`. */
export async function createAmdPki(generation: Generation, options: AmdPkiOptions = {}): Promise<AmdPki> {
  const modulusLength = options.modulusLength ?? 4096;
  const tcb = options.tcb ?? (generation === 'Turin' ? TURIN_TCB : STRICT_ENVIRONMENT.minimumTcb[generation]);
  const [ark, ask, vcek] = await Promise.all([
    generateKeys('rsa', { modulusLength }),
    generateKeys('rsa', { modulusLength }),
    generateKeys('ec', { namedCurve: 'P-384' }),
  ]);
  const authority = (subject: string, key: (typeof ark)['publicKey'], serial: number): string =>
    certificatePem(
      issueAmdCertificate(
        { serial, subject, issuer: `ARK-${generation}`, ...validity(options.notBefore), key, ca: true, extensions: [] },
        ark.privateKey,
      ),
    );
  const pki: AmdPki = {
    generation,
    ark: authority(`ARK-${generation}`, ark.publicKey, 1),
    ask: authority(`SEV-${generation}`, ask.publicKey, 2),
    vcek: '',
    arkKey: pem(ark.privateKey),
    askKey: pem(ask.privateKey),
    vcekKey: pem(vcek.privateKey),
    chipId: toHex(randomBytes(chipIdLength(generation))),
    tcb,
  };
  return reissueVcek(pki, options.notBefore === undefined ? {} : { notBefore: options.notBefore });
}

/** The same chip with another VCEK: after a firmware update, or one that states what is not so. */
export function reissueVcek(pki: AmdPki, changes: VcekChanges = {}): AmdPki {
  const tcb = changes.tcb ?? pki.tcb;
  const { notBefore, notAfter } = validity(changes.notBefore);
  const content = {
    serial: 0,
    subject: 'SEV-VCEK',
    issuer: `SEV-${pki.generation}`,
    notBefore,
    notAfter: changes.notAfter ?? notAfter,
    key: createPublicKey(pki.vcekKey),
    ca: false,
    extensions: vcekExtensions(pki, { ...changes, tcb }),
  };
  return { ...pki, tcb, vcek: certificatePem(issueAmdCertificate(content, createPrivateKey(pki.askKey))) };
}

export interface RevocationListOptions {
  /**
   * Certificates it names, PEM.
   * @default none
   */
  readonly revoked?: readonly string[];
  /** @default an hour ago */
  readonly thisUpdate?: Date;
  /** @default thirty days after `thisUpdate` */
  readonly nextUpdate?: Date;
}

/** The list that the root would publish, DER. */
export function issueRevocationList(pki: AmdPki, options: RevocationListOptions = {}): Uint8Array {
  const { revoked = [], thisUpdate = new Date(Date.now() - DAY_IN_MS / 24) } = options;
  const { nextUpdate = new Date(thisUpdate.getTime() + 30 * DAY_IN_MS) } = options;
  const names = revoked.map((certificate) => certificateNames(new X509Certificate(certificate)));
  const content = { issuer: `ARK-${pki.generation}`, thisUpdate, nextUpdate, revoked: names };
  return issueAmdRevocationList(content, createPrivateKey(pki.arkKey));
}

/** What the metadata service hands out: VCEK, ASK, ARK. */
export function vcekChain(pki: AmdPki): string {
  return pki.vcek + pki.ask + pki.ark;
}

/** The root as `TrustAnchors.amdRootKeys` names it: SHA-256 of its SubjectPublicKeyInfo, hex. */
export function rootKeySha256(pki: AmdPki): string {
  const spki = createPublicKey(pki.arkKey).export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(spki).digest('hex');
}

function vcekExtensions(
  pki: AmdPki,
  changes: VcekChanges & { readonly tcb: Tcb },
): readonly (readonly [string, Uint8Array])[] {
  const { tcb } = changes;
  return [
    [AMD_EXTENSIONS.structVersion, integer(pki.generation === 'Turin' ? 1 : 0)],
    [AMD_EXTENSIONS.product, der(DER_TAG.ia5String, utf8(changes.product ?? PRODUCTS[pki.generation]))],
    [AMD_EXTENSIONS.bootloader, integer(tcb.bootloader)],
    [AMD_EXTENSIONS.tee, integer(tcb.tee)],
    [AMD_EXTENSIONS.snp, integer(tcb.snp)],
    [AMD_EXTENSIONS.microcode, integer(tcb.microcode)],
    ...(pki.generation === 'Turin' ? [[AMD_EXTENSIONS.fmc, integer(tcb.fmc)] as const] : []),
    // Without the OCTET STRING that X.509 asks for, as AMD writes it.
    [AMD_EXTENSIONS.hardwareId, changes.hardwareId ?? fromHex(pki.chipId)],
  ];
}

function validity(notBefore = new Date(Date.now() - DAY_IN_MS)): { notBefore: Date; notAfter: Date } {
  return { notBefore, notAfter: new Date(notBefore.getTime() + VALIDITY_IN_MS) };
}

function chipIdLength(generation: Generation): number {
  return generation === 'Turin' ? 8 : 64;
}

function pem(key: ReturnType<typeof createPrivateKey>): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}
