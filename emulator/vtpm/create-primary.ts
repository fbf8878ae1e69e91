import { createHmac } from 'node:crypto';
import { concat, sha256 } from '../../runtime/crypto/bytes.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { parseRsaPublic, type RsaPublicArea } from '../../runtime/tpm/structures.ts';
import { ALGORITHM, ATTRIBUTE, HIERARCHY, Reader, sized, u8, u16, u32 } from '../../runtime/tpm/wire.ts';
import { withoutTrailingZeros } from './authorisation.ts';
import type { Call, Outcome } from './call.ts';
import { readSelections, writeSelections } from './pcrs.ts';
import { endOf, parameterRefusal, RC, Refusal } from './refusal.ts';

/** TPM_ST_CREATION, Part 2 section 6.9. */
const CREATION_TAG = 0x8021;
/** Every TPMA_OBJECT bit there is (Part 2 section 8.3): the known ones, stClear (2) and encryptedDuplication (11). */
const DEFINED_ATTRIBUTES = Object.values(ATTRIBUTE).reduce((all, bit) => all | bit, 0x4 | 0x800);
const KEY_SIZES: readonly number[] = [2048, 3072];
/** Largest TPM2B_SENSITIVE_DATA that any TPM takes. */
const MAX_AUTH_LENGTH = 32;

/** TPM2_CreatePrimary, Part 3 section 24.1. */
export async function createPrimary({
  tpm,
  space,
  handles: [hierarchy = HIERARCHY.null],
  parameters,
}: Call): Promise<Outcome> {
  const sensitive = new Reader(parameters.sized(), 'sensitive data');
  const authValue = withoutTrailingZeros(sensitive.sized());
  if (authValue.length > MAX_AUTH_LENGTH) throw parameterRefusal(1, RC.size);
  // An asymmetric key is made by the TPM: nobody may give its private part.
  if (sensitive.sized().length > 0) throw parameterRefusal(1, RC.attributes);
  if (sensitive.remaining > 0) throw parameterRefusal(1, RC.size);
  const template = readTemplate(sized(parameters.sized()));
  const outsideInfo = parameters.sized();
  const selections = readSelections(parameters, 4);
  endOf(parameters);
  checkTemplate(template);
  space.requireFreeKeySlot();

  const key = await tpm.keys.primary(hierarchy, template, authValue);
  const creationData = concat(
    writeSelections(selections),
    sized(tpm.pcrs.digest(selections)),
    u8(0x01), // locality 0
    u16(ALGORITHM.null),
    sized(u32(hierarchy)),
    sized(u32(hierarchy)),
    sized(outsideInfo),
  );
  const creationHash = sha256(creationData);
  const ticket = createHmac('sha256', tpm.keys.proof).update(u16(CREATION_TAG)).update(key.name).update(creationHash);
  return {
    handle: space.loadKey(key),
    parameters: concat(
      key.publicArea,
      sized(creationData),
      sized(creationHash),
      u16(CREATION_TAG),
      u32(hierarchy),
      sized(ticket.digest()),
      sized(key.name),
    ),
  };
}

function readTemplate(bytes: Uint8Array): RsaPublicArea {
  if (bytes[2] !== 0 || bytes[3] !== ALGORITHM.rsa) throw parameterRefusal(2, RC.type);
  try {
    return parseRsaPublic(bytes);
  } catch (error) {
    throw error instanceof SecureTrainingError ? parameterRefusal(2, RC.size) : error;
  }
}

/** Part 3 section 12.1 (consistency of attributes) and Part 1 section 25.2 (which schemes go with them). */
function checkTemplate({
  nameAlgorithm,
  attributes,
  authPolicy,
  symmetric,
  scheme,
  keyBits,
  exponent,
  unique,
}: RsaPublicArea): void {
  const has = (bit: number): boolean => (attributes & bit) !== 0;
  const refuse = (responseCode: number) => parameterRefusal(2, responseCode);
  const { decrypt, sign, restricted, fixedTpm, fixedParent, sensitiveDataOrigin } = ATTRIBUTE;
  if (nameAlgorithm !== ALGORITHM.sha256) throw refuse(RC.hash);
  if ((attributes & ~DEFINED_ATTRIBUTES) !== 0) throw refuse(RC.reservedBits);
  if (!has(sensitiveDataOrigin) || has(fixedTpm) !== has(fixedParent)) throw refuse(RC.attributes);
  if (!has(sign) && !has(decrypt)) throw refuse(RC.attributes);
  if (has(restricted) && has(sign) === has(decrypt)) throw refuse(RC.attributes);
  if (authPolicy.length !== 0 && authPolicy.length !== 32) throw refuse(RC.size);
  if (unique.length > keyBits / 8) throw refuse(RC.size);
  if (!KEY_SIZES.includes(keyBits)) throw refuse(RC.value);
  // Which parameter it is goes unsaid: swtpm finds it only when it makes the key.
  if (exponent !== 0 && exponent !== 65537) throw new Refusal(RC.range);
  const storage = has(restricted) && has(decrypt);
  const wantedSymmetric = symmetric.algorithm === ALGORITHM.aes && [128, 256].includes(symmetric.keyBits ?? 0);
  if (storage ? !wantedSymmetric : symmetric.algorithm !== ALGORITHM.null) throw refuse(RC.symmetric);
  if (storage && symmetric.mode !== ALGORITHM.cfb) throw refuse(RC.mode);
  if (!allowedSchemes(has(sign), has(decrypt), has(restricted)).includes(scheme.algorithm)) throw refuse(RC.scheme);
  if (scheme.hash !== undefined && scheme.hash !== ALGORITHM.sha256) throw refuse(RC.hash);
}

function allowedSchemes(sign: boolean, decrypt: boolean, restricted: boolean): readonly number[] {
  if (sign && decrypt) return [ALGORITHM.null];
  if (sign) return restricted ? [ALGORITHM.rsassa] : [ALGORITHM.null, ALGORITHM.rsassa];
  return restricted ? [ALGORITHM.null] : [ALGORITHM.null, ALGORITHM.rsaes, ALGORITHM.oaep];
}
