import { createPublicKey, generateKeyPair, type KeyObject, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { concat, fromBase64, fromHex, sha256, toHex } from '../../runtime/crypto/bytes.ts';
import { AZURE_VTPM } from '../../runtime/tpm/azure-handles.ts';
import { buildRsaPublic, objectName, type RsaPublicArea } from '../../runtime/tpm/structures.ts';
import { ALGORITHM, ATTRIBUTE, HIERARCHY, u16, u32 } from '../../runtime/tpm/wire.ts';

const generate = promisify(generateKeyPair);
const KEY_BITS = 2048;

/** A key the TPM holds: the private half never leaves this process. */
export interface TpmKey {
  readonly privateKey: KeyObject;
  readonly area: RsaPublicArea;
  /** TPM2B_PUBLIC. */
  readonly publicArea: Uint8Array;
  readonly name: Uint8Array;
  readonly qualifiedName: Uint8Array;
  readonly authValue: Uint8Array;
}

/** Attestation key as Azure provisions it: 0x00050472, RSASSA with SHA-256, no password. */
export const AK_TEMPLATE: RsaPublicArea = {
  nameAlgorithm: ALGORITHM.sha256,
  attributes:
    ATTRIBUTE.fixedTpm |
    ATTRIBUTE.fixedParent |
    ATTRIBUTE.sensitiveDataOrigin |
    ATTRIBUTE.userWithAuth |
    ATTRIBUTE.noDa |
    ATTRIBUTE.restricted |
    ATTRIBUTE.sign,
  authPolicy: new Uint8Array(),
  symmetric: { algorithm: ALGORITHM.null },
  scheme: { algorithm: ALGORITHM.rsassa, hash: ALGORITHM.sha256 },
  keyBits: KEY_BITS,
  exponent: 0,
  unique: new Uint8Array(),
};

/** Template L-1 of the TCG EK Credential Profile 2.5, section B.3.3; the policy is PolicySecret with the endorsement hierarchy. */
export const EK_TEMPLATE: RsaPublicArea = {
  ...AK_TEMPLATE,
  attributes:
    ATTRIBUTE.fixedTpm |
    ATTRIBUTE.fixedParent |
    ATTRIBUTE.sensitiveDataOrigin |
    ATTRIBUTE.adminWithPolicy |
    ATTRIBUTE.restricted |
    ATTRIBUTE.decrypt,
  authPolicy: fromHex('837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa'),
  symmetric: { algorithm: ALGORITHM.aes, keyBits: 128, mode: ALGORITHM.cfb },
  scheme: { algorithm: ALGORITHM.null },
};

/** Puts a private key behind a public area made of the template and its modulus. */
function tpmKey(privateKey: KeyObject, template: RsaPublicArea, hierarchy: number, authValue: Uint8Array): TpmKey {
  const { n } = createPublicKey(privateKey).export({ format: 'jwk' });
  const area = { ...template, unique: fromBase64(n ?? '', 'modulus') };
  const publicArea = buildRsaPublic(area);
  const name = objectName(publicArea);
  // Part 1 section 16.4: the parent of a primary key is its hierarchy, whose name is its handle.
  const qualifiedName = concat(u16(ALGORITHM.sha256), sha256(u32(hierarchy), name));
  return { privateKey, area, publicArea, name, qualifiedName, authValue };
}

async function generateRsaKey(modulusLength = KEY_BITS): Promise<KeyObject> {
  return (await generate('rsa', { modulusLength, publicExponent: 65537 })).privateKey;
}

export interface ProvisionedKeys {
  /** @default - made when first used */
  readonly akKey?: KeyObject;
  /** @default - made when first used */
  readonly ekKey?: KeyObject;
}

/** The keys that outlive a boot, and the primary keys that the guest makes. */
export class KeyStore {
  readonly #provisioned: ReadonlyMap<number, () => Promise<TpmKey>>;
  /** Stands in for derivation from the hierarchy's seed: the same template gives the same key. */
  readonly #primaries = new Map<string, Promise<KeyObject>>();
  /** Made ahead, off the main thread, so that a guest's first key is there when it asks for it. */
  #spare: Promise<KeyObject> | undefined;
  /** Secret of creation tickets. */
  readonly proof: Uint8Array = Uint8Array.from(randomBytes(32));

  constructor({ akKey, ekKey }: ProvisionedKeys) {
    const provision = (key: KeyObject | undefined, template: RsaPublicArea): (() => Promise<TpmKey>) => {
      let made: Promise<TpmKey> | undefined;
      const make = async () =>
        tpmKey(key ?? (await generateRsaKey()), template, HIERARCHY.endorsement, new Uint8Array());
      return () => {
        made ??= make();
        return made;
      };
    };
    this.#provisioned = new Map([
      [AZURE_VTPM.akHandle, provision(akKey, AK_TEMPLATE)],
      [AZURE_VTPM.ekHandle, provision(ekKey, EK_TEMPLATE)],
    ]);
  }

  prepareSpare(): void {
    this.#spare ??= generateRsaKey();
  }

  /** A persistent key, `undefined` where there is none. */
  async persistent(handle: number): Promise<TpmKey | undefined> {
    return this.#provisioned.get(handle)?.();
  }

  async primary(hierarchy: number, template: RsaPublicArea, authValue: Uint8Array): Promise<TpmKey> {
    const id = `${hierarchy}:${toHex(sha256(buildRsaPublic(template)))}`;
    let key = this.#primaries.get(id);
    if (!key) {
      key = template.keyBits === KEY_BITS ? this.#takeSpare() : generateRsaKey(template.keyBits);
      this.#primaries.set(id, key);
    }
    return tpmKey(await key, template, hierarchy, authValue);
  }

  /** A reset changes the seed of the null hierarchy: its keys are gone for good. */
  reset(): void {
    for (const id of this.#primaries.keys()) if (id.startsWith(`${HIERARCHY.null}:`)) this.#primaries.delete(id);
  }

  #takeSpare(): Promise<KeyObject> {
    const key = this.#spare ?? generateRsaKey();
    this.#spare = undefined;
    return key;
  }
}
