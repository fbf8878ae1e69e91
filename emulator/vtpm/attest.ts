import { sign } from 'node:crypto';
import { concat } from '../../runtime/crypto/bytes.ts';
import { ATTEST_MAGIC, parseScheme } from '../../runtime/tpm/structures.ts';
import { ALGORITHM, ATTRIBUTE, type Reader, sized, TAG, u8, u16, u32, u64 } from '../../runtime/tpm/wire.ts';
import type { Call, Outcome, TpmState } from './call.ts';
import type { TpmKey } from './keys.ts';
import { readSelections, writeSelections } from './pcrs.ts';
import { endOf, handleRefusal, parameterRefusal, RC } from './refusal.ts';

/** What real quotes of Azure's vTPM state. */
const FIRMWARE_VERSION = 0x2020031200120003n;
/** Largest TPM2B_DATA: an algorithm and a SHA-512 digest. */
const MAX_QUALIFYING_DATA = 66;

/** TPM2_Quote, Part 3 section 18.4. */
export function quote({ tpm, keys: [signer], parameters }: Call): Outcome {
  const nonce = readQualifyingData(parameters);
  checkSigner(signer, 1, parameters);
  const selections = readSelections(parameters, 3);
  endOf(parameters);
  const body = concat(writeSelections(selections), sized(tpm.pcrs.digest(selections)));
  return attest(tpm, TAG.attestQuote, signer, nonce, body);
}

/** TPM2_Certify, Part 3 section 18.2. */
export function certify({ tpm, keys: [object, signer], parameters }: Call): Outcome {
  if (!object) throw handleRefusal(1, RC.handle);
  const nonce = readQualifyingData(parameters);
  checkSigner(signer, 2, parameters);
  endOf(parameters);
  return attest(tpm, TAG.attestCertify, signer, nonce, concat(sized(object.name), sized(object.qualifiedName)));
}

function readQualifyingData(parameters: Reader): Uint8Array {
  const nonce = parameters.sized();
  if (nonce.length > MAX_QUALIFYING_DATA) throw parameterRefusal(1, RC.size);
  return nonce;
}

/** The scheme asked for must be the key's own; a key without one, or asked for another, does not sign. */
function checkSigner(signer: TpmKey | undefined, position: number, parameters: Reader): asserts signer is TpmKey {
  const asked = parseScheme(parameters);
  if (!signer || (signer.area.attributes & ATTRIBUTE.sign) === 0) throw handleRefusal(position, RC.key);
  const scheme = asked.algorithm === ALGORITHM.null ? signer.area.scheme : asked;
  const own = signer.area.scheme.algorithm === ALGORITHM.null ? scheme : signer.area.scheme;
  const fits = scheme.algorithm === own.algorithm && scheme.hash === own.hash;
  if (!fits || scheme.algorithm !== ALGORITHM.rsassa || scheme.hash !== ALGORITHM.sha256) {
    throw parameterRefusal(2, RC.scheme);
  }
}

/** TPMS_ATTEST (Part 2 section 10.12.8) and its signature. */
function attest(tpm: TpmState, type: number, signer: TpmKey, nonce: Uint8Array, body: Uint8Array): Outcome {
  const message = concat(
    u32(ATTEST_MAGIC),
    u16(type),
    sized(signer.qualifiedName),
    sized(nonce),
    u64(tpm.clock()),
    u32(tpm.resetCount),
    u32(0), // restarts: an Azure VM does not hibernate its vTPM
    u8(1), // the clock never went back
    u64(FIRMWARE_VERSION),
    body,
  );
  const signature = sign('sha256', message, signer.privateKey);
  return { parameters: concat(sized(message), u16(ALGORITHM.rsassa), u16(ALGORITHM.sha256), sized(signature)) };
}
