import { toBase64, utf8 } from '../crypto/bytes.ts';
import { SecureTrainingError } from '../errors.ts';
import {
  type Check,
  checkShape,
  fileName,
  keyThumbprint,
  list,
  mapOf,
  members,
  oneOf,
  parseJson,
  text,
} from '../shape.ts';

/** One wrapped copy of an object's content encryption key. Not signed: a slot only chooses among keys that the agreement names. */
export interface Slot {
  /** Versioned URL of a vault key, or {@link thumbprintKeyId} of a key that is in no vault. */
  readonly keyId: string;
  readonly algorithm: 'RSA-OAEP-256';
  /** Standard base64. */
  readonly encryptedKey: string;
}

/** `keys.json` of a dataset: up to {@link MAXIMUM_SLOTS} slots an object, by the object's name. */
export interface KeySlots {
  readonly version: 1;
  readonly objects: Readonly<Record<string, readonly Slot[]>>;
}

export type KeyId =
  | { readonly vaultHost: string; readonly keyName: string; readonly keyVersion: string }
  | { readonly thumbprint: string };

/** A vault key that the agreement names. */
export interface AllowedVaultKey {
  readonly vaultHost: string;
  readonly keyName: string;
  /** @default - any version of the key */
  readonly keyVersion?: string;
}

const MAXIMUM_SLOTS = 64;
const MAXIMUM_OBJECTS = 100_000;

/** RFC 9278: a URI that names a key by its RFC 7638 thumbprint. */
const THUMBPRINT_URN = 'urn:ietf:params:oauth:jwk-thumbprint:sha-256:';
const VAULT_KEY = /^https:\/\/([a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+)\/keys\/([0-9A-Za-z-]{1,127})\/([0-9a-f]{32})$/;

/** RSA of 2048 to 8192 bits in standard base64. The key id may be anything: one that nobody knows is passed over, not refused. */
const slotShape: Check<Slot> = members<Slot>({
  keyId: text(/^[\x21-\x7e]{1,512}$/, 'a key id of up to 512 printable characters'),
  algorithm: oneOf('RSA-OAEP-256'),
  encryptedKey: text(
    /^(?:[A-Za-z0-9+/]{4}){85,342}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/,
    'base64 of 256 to 1024 bytes',
  ),
});

export const slotsShape: Check<readonly Slot[]> = list(slotShape, { minimum: 1, maximum: MAXIMUM_SLOTS });

const keySlotsShape = members<KeySlots>({
  version: oneOf(1),
  objects: mapOf(fileName, slotsShape, MAXIMUM_OBJECTS),
});

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`, every wrong member listed */
export function parseKeySlots(bytes: Uint8Array, what = 'keys.json'): KeySlots {
  return checkShape(keySlotsShape, parseJson(bytes, what), what);
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` for slots that no reader would take */
export function serialiseKeySlots(slots: KeySlots): Uint8Array {
  checkShape(keySlotsShape, slots, 'key slots', 'CONFIG_INVALID');
  return utf8(`${JSON.stringify(slots, null, 2)}\n`);
}

/** A slot of freshly wrapped bytes. */
export function slotOf(keyId: string, encryptedKey: Uint8Array): Slot {
  return { keyId, algorithm: 'RSA-OAEP-256', encryptedKey: toBase64(encryptedKey) };
}

/**
 * Puts a slot in, in place of the one of the same key if there is one.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when the object would have more than {@link MAXIMUM_SLOTS}
 */
export function addSlot(slots: KeySlots, objectName: string, slot: Slot): KeySlots {
  const others = (slots.objects[objectName] ?? []).filter(({ keyId }) => keyId !== slot.keyId);
  if (others.length >= MAXIMUM_SLOTS) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `${objectName} has ${others.length} key slots already, the most there can be`,
    );
  }
  return { version: 1, objects: { ...slots.objects, [objectName]: [...others, slot] } };
}

/**
 * Reads a key id strictly: an `https` URL of a versioned vault key without port, query or user, or a thumbprint.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`
 */
export function parseKeyId(keyId: string): KeyId {
  const parsed = readKeyId(keyId);
  if (parsed === undefined) {
    throw new SecureTrainingError('EVIDENCE_MALFORMED', 'the key id is neither a versioned vault key nor a thumbprint');
  }
  return parsed;
}

/** Id of a key that is in no vault (an owner's escrow key, a recipient's key). */
export function thumbprintKeyId(thumbprint: string): string {
  return `${THUMBPRINT_URN}${thumbprint}`;
}

/** Id of a vault key's version. */
export function vaultKeyId({ vaultHost, keyName, keyVersion }: Required<AllowedVaultKey>): string {
  return `https://${vaultHost}/keys/${keyName}/${keyVersion}`;
}

/**
 * The slot to open an object with: of the first key in `allowed` (vault keys, or thumbprints) that has one. Slots of other
 * keys and hosts are as good as absent.
 * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` naming the object when none is left
 */
export function chooseSlot(
  objectName: string,
  slots: readonly Slot[] | undefined,
  allowed: readonly (AllowedVaultKey | string)[],
): Slot {
  for (const key of allowed) {
    const slot = slots?.find(({ keyId }) => matches(readKeyId(keyId), key));
    if (slot !== undefined) return slot;
  }
  const found = slots?.length ?? 0;
  throw new SecureTrainingError(
    'CIPHERTEXT_REJECTED',
    `${objectName}: none of its ${found} key slot${found === 1 ? '' : 's'} is of a key that the agreement names`,
  );
}

function readKeyId(keyId: string): KeyId | undefined {
  if (keyId.startsWith(THUMBPRINT_URN)) {
    const thumbprint = keyId.slice(THUMBPRINT_URN.length);
    return keyThumbprint.pattern.test(thumbprint) ? { thumbprint } : undefined;
  }
  const [, vaultHost, keyName, keyVersion] = VAULT_KEY.exec(keyId) ?? [];
  if (vaultHost === undefined || keyName === undefined || keyVersion === undefined) return undefined;
  return { vaultHost, keyName, keyVersion };
}

function matches(found: KeyId | undefined, allowed: AllowedVaultKey | string): boolean {
  if (found === undefined) return false;
  if (typeof allowed === 'string') return 'thumbprint' in found && found.thumbprint === allowed;
  // Key Vault compares names without case; a key created as Training-Key answers to training-key.
  return (
    'vaultHost' in found &&
    found.vaultHost === allowed.vaultHost &&
    found.keyName.toLowerCase() === allowed.keyName.toLowerCase() &&
    (allowed.keyVersion === undefined || found.keyVersion === allowed.keyVersion)
  );
}
