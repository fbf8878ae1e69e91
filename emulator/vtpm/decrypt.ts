import { constants, type KeyObject, privateDecrypt } from 'node:crypto';
import { parseScheme, type RsaPublicArea } from '../../runtime/tpm/structures.ts';
import { ALGORITHM, ATTRIBUTE, sized } from '../../runtime/tpm/wire.ts';
import type { Call, Outcome } from './call.ts';
import { endOf, handleRefusal, parameterRefusal, RC, Refusal } from './refusal.ts';

const OAEP_HASHES: Readonly<Record<number, string>> = {
  [ALGORITHM.sha1]: 'sha1',
  [ALGORITHM.sha256]: 'sha256',
  [ALGORITHM.sha384]: 'sha384',
};
/** 00 02, eight bytes of padding at the least, 00 (RFC 8017 section 7.2.2). */
const MIN_RSAES_OVERHEAD = 11;

/** TPM2_RSA_Decrypt, Part 3 section 14.3. A restricted key decrypts only what the TPM itself has encrypted: never for a caller. */
export function rsaDecrypt({ keys: [key], parameters }: Call): Outcome {
  const cipher = parameters.sized();
  const asked = parseScheme(parameters);
  const label = parameters.sized();
  endOf(parameters);
  if (!key) throw handleRefusal(1, RC.handle);
  const { attributes, scheme: own, keyBits } = key.area;
  if ((attributes & ATTRIBUTE.restricted) !== 0 || (attributes & ATTRIBUTE.decrypt) === 0) {
    throw handleRefusal(1, RC.attributes);
  }
  if (label.length > 0 && label.at(-1) !== 0) throw parameterRefusal(3, RC.value);
  const scheme = own.algorithm === ALGORITHM.null ? asked : own;
  const agrees =
    asked.algorithm === ALGORITHM.null || (asked.algorithm === scheme.algorithm && asked.hash === scheme.hash);
  if (!agrees) throw parameterRefusal(2, RC.scheme);
  if (cipher.length !== keyBits / 8) throw new Refusal(RC.size);
  const plain = decrypt(key.privateKey, cipher, scheme, label);
  try {
    return { parameters: sized(plain) };
  } finally {
    plain.fill(0);
  }
}

function decrypt(key: KeyObject, cipher: Uint8Array, scheme: RsaPublicArea['scheme'], label: Uint8Array): Uint8Array {
  if (scheme.algorithm === ALGORITHM.oaep) {
    const oaepHash = OAEP_HASHES[scheme.hash ?? 0];
    if (oaepHash === undefined) throw parameterRefusal(2, RC.hash);
    return attempt(() =>
      privateDecrypt({ key, oaepHash, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepLabel: label }, cipher),
    );
  }
  const block = attempt(() => privateDecrypt({ key, padding: constants.RSA_NO_PADDING }, cipher));
  if (scheme.algorithm === ALGORITHM.null) return block;
  if (scheme.algorithm !== ALGORITHM.rsaes) throw parameterRefusal(2, RC.value);
  // Unpadded here: OpenSSL answers a wrong padding with made-up bytes, where a TPM refuses.
  const end = block.indexOf(0, 2);
  if (block[0] !== 0 || block[1] !== 2 || end < MIN_RSAES_OVERHEAD - 1) throw new Refusal(RC.value);
  const plain = block.slice(end + 1);
  block.fill(0);
  return plain;
}

function attempt(decryption: () => Buffer): Uint8Array {
  try {
    return Uint8Array.from(decryption());
  } catch {
    // OpenSSL's reasons are all "the padding or the number is wrong", which a TPM says with this one code.
    throw new Refusal(RC.value);
  }
}
