import type { KeyObject } from 'node:crypto';
import { fromBase64, sha256, toHex } from './crypto/bytes.ts';
import { importJwk, type RsaPublicJwk, thumbprint } from './crypto/jwk.ts';
import { unwrapCek, wrapCek } from './crypto/key-wrap.ts';
import { generateCek, openBytes, sealBytes } from './crypto/sealed-object.ts';
import { SecureTrainingError } from './errors.ts';
import { type Slot, slotOf, slotsShape, thumbprintKeyId } from './keys/slots.ts';
import { checkShape, members, parseJson } from './shape.ts';
import { type CheckpointObject, sealedObjectShape } from './statements/checkpoint-chain.ts';
import { describeSealed, expectedObject } from './statements/sealed-description.ts';

/** Who can open a file: a vault key by its versioned URL, or a local key by its thumbprint. */
export interface SealRecipient {
  readonly keyId: string;
  readonly key: RsaPublicJwk;
}

/** A recipient whose key lives in a file: its slot is named by the key's thumbprint. */
export function localRecipient(key: RsaPublicJwk): SealRecipient {
  return { keyId: thumbprintKeyId(thumbprint(key)), key };
}

/** What stands beside a sealed checkpoint, model or annex. Unsigned: it is checked against a receipt or a resume tag. */
export interface SealedFile {
  readonly object: CheckpointObject;
  readonly slots: readonly Slot[];
}

/** Seals one file that fits in memory under a fresh key, with a slot for every recipient. */
export async function sealFile(
  name: string,
  plaintext: Uint8Array,
  recipients: readonly SealRecipient[],
): Promise<SealedFile & { readonly sealed: Uint8Array }> {
  const cek = generateCek();
  const { sealed, ...summary } = await sealBytes(plaintext, cek);
  return {
    sealed,
    object: { ...describeSealed(name, summary), sealedSha256: toHex(sha256(sealed)) },
    slots: recipients.map(({ keyId, key }) => slotOf(keyId, wrapCek(cek, importJwk(key)))),
  };
}

/**
 * Opens a sealed file with the private half of one of its recipients' keys.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` when it was altered or this key has no slot
 */
export function openFile({ object, slots }: SealedFile, sealed: Uint8Array, keyId: string, key: KeyObject): Uint8Array {
  const slot = slots.find((candidate) => candidate.keyId === keyId);
  if (slot === undefined) throw rejected(object.name, 'it is not sealed to this key');
  if (toHex(sha256(sealed)) !== object.sealedSha256)
    throw rejected(object.name, 'its bytes are not those that were sealed');
  const cek = unwrapCek(fromBase64(slot.encryptedKey, `key slot of ${object.name}`), key, { name: object.name });
  return openBytes(sealed, cek, expectedObject(object));
}

const fileShape = members<SealedFile>({ object: sealedObjectShape, slots: slotsShape });

/** @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` unless these bytes are the record of the sealed file `name` */
export function parseSealedFile(bytes: Uint8Array, name: string): SealedFile {
  try {
    const file = checkShape(fileShape, parseJson(bytes, name), name);
    if (file.object.name === name) return file;
  } catch (cause) {
    throw rejected(name, 'its record does not describe it', cause);
  }
  throw rejected(name, 'its record describes another file');
}

function rejected(name: string, why: string, cause?: unknown): SecureTrainingError {
  return new SecureTrainingError('CIPHERTEXT_REJECTED', `${name}: ${why}`, { cause });
}
