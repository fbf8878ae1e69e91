import { SecureTrainingError } from '../errors.ts';
import { AZURE_VTPM } from './azure-handles.ts';
import { buildRsaPublic, parseRsaPublic, pcrPolicy } from './structures.ts';
import type { Attestation, DecryptScheme, Tpm, TpmObject } from './tpm.ts';
import { TpmError } from './tpm-error.ts';
import { ALGORITHM, ATTRIBUTE, RESPONSE } from './wire.ts';

const KEY_BITS = 2048;
/** 0x00020432, as Azure's own guest client asks for: no userWithAuth, so that only the PCR policy opens the key. */
const ATTRIBUTES =
  ATTRIBUTE.decrypt | ATTRIBUTE.noDa | ATTRIBUTE.sensitiveDataOrigin | ATTRIBUTE.fixedParent | ATTRIBUTE.fixedTpm;
/** What attests an Azure Linux guest: firmware, boot loader, secure boot state (CGA). */
const BOOT_PCRS = [0, 1, 2, 3, 4, 5, 6, 7];
/** PCRs of no concern to the key may move between PolicyPCR and its use. */
const DECRYPT_ATTEMPTS = 3;

/** A key pair that lives in the vTPM until it is closed, and opens only while the PCRs are as they were when it was made. */
export class EphemeralKey {
  /** TPM2B_PUBLIC. */
  readonly publicArea: Uint8Array;
  readonly modulus: Uint8Array;
  /** TPMS_ATTEST of its certification by the attestation key. */
  readonly certifyInfo: Uint8Array;
  readonly certifySignature: Uint8Array;
  readonly #tpm: Tpm;
  readonly #handle: number;
  readonly #pcrs: readonly number[];
  #closed = false;

  constructor(tpm: Tpm, key: TpmObject, certification: Attestation, pcrs: readonly number[]) {
    this.#tpm = tpm;
    this.#handle = key.handle;
    this.#pcrs = pcrs;
    this.publicArea = key.publicArea;
    this.modulus = parseRsaPublic(key.publicArea).unique;
    this.certifyInfo = certification.message;
    this.certifySignature = certification.signature;
  }

  /**
   * @throws {@link TpmError} `ATTESTATION_REJECTED` if the PCRs changed
   * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` if the ciphertext is not for this key
   */
  async decrypt(cipher: Uint8Array, scheme: DecryptScheme): Promise<Uint8Array> {
    if (this.#closed) throw new TypeError('ephemeral key is closed');
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#decryptOnce(cipher, scheme);
      } catch (error) {
        if (!(error instanceof TpmError)) throw error;
        if (error.responseCode === RESPONSE.pcrChanged && attempt < DECRYPT_ATTEMPTS) continue;
        throw CIPHERTEXT_CODES.has(error.responseCode)
          ? new SecureTrainingError('CIPHERTEXT_REJECTED', 'ciphertext is not for the ephemeral vTPM key', {
              cause: error,
            })
          : error;
      }
    }
  }

  async #decryptOnce(cipher: Uint8Array, scheme: DecryptScheme): Promise<Uint8Array> {
    const session = await this.#tpm.startPolicySession();
    try {
      await this.#tpm.policyPcr(session, this.#pcrs);
      return await this.#tpm.rsaDecrypt(this.#handle, session, cipher, scheme);
    } finally {
      await this.#tpm.flush(session);
    }
  }

  /** Flushes the key: whatever was encrypted to it stays closed for ever. Closing twice is fine. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#tpm.flush(this.#handle);
  }
}

/**
 * TPM_RC_VALUE and TPM_RC_SIZE, plain or decorated as "parameter 1" (0x1C4, 0x1D5): the padding or the length is wrong.
 * swtpm says TPM_RC_FAILURE (0x101) for a wrong padding.
 */
const CIPHERTEXT_CODES: ReadonlySet<number> = new Set([RESPONSE.value, RESPONSE.size, 0x1c4, 0x1d5, 0x101]);

/** Makes the key in the null hierarchy, bound to the present values of `pcrs`, and has the attestation key certify it. */
export async function createEphemeralKey(tpm: Tpm, pcrs: readonly number[] = BOOT_PCRS): Promise<EphemeralKey> {
  const template = buildRsaPublic({
    nameAlgorithm: ALGORITHM.sha256,
    attributes: ATTRIBUTES,
    authPolicy: pcrPolicy(await tpm.pcrRead(pcrs)),
    symmetric: { algorithm: ALGORITHM.null },
    scheme: { algorithm: ALGORITHM.null },
    keyBits: KEY_BITS,
    exponent: 0,
    // The same template gives the same key until the TPM is reset, so a fixed `unique` would let anyone in the guest remake it.
    unique: await tpm.getRandom(KEY_BITS / 8),
  });
  const key = await tpm.createPrimary('null', template);
  try {
    return new EphemeralKey(tpm, key, await tpm.certify(key.handle, AZURE_VTPM.akHandle, new Uint8Array()), pcrs);
  } catch (error) {
    await tpm.flush(key.handle);
    throw error;
  }
}
