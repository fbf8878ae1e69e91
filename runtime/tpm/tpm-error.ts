import { type ErrorCode, SecureTrainingError } from '../errors.ts';
import { RESPONSE } from './wire.ts';

/** Response codes of Part 2 section 6.6 that are temporary are warnings: 0x900 to 0x97F. */
const isWarning = (responseCode: number): boolean => responseCode >> 7 === 0x900 >> 7;

const MEANINGS: Readonly<Record<number, string>> = {
  257: 'the TPM has failed and wants a reset',
  303: 'the password may not be used here',
  [RESPONSE.pcrChanged]: 'pcrs changed while the policy session was open',
  386: 'the key is restricted or may not decrypt',
  395: 'there is no such handle',
  651: 'there is no such handle',
  [RESPONSE.policyFail]: 'the policy is not met: pcrs are not what they were when the key was made',
  [RESPONSE.objectMemory]: 'too many keys are loaded',
  [RESPONSE.retry]: 'the TPM is busy',
  2466: 'the authorisation is wrong',
};

/** The TPM refused a command. Only its warnings are worth a retry; anything else says that this vTPM is not as it must be. */
export class TpmError extends SecureTrainingError {
  readonly responseCode: number;

  constructor(what: string, responseCode: number) {
    const code: ErrorCode = isWarning(responseCode) ? 'UNAVAILABLE' : 'ATTESTATION_REJECTED';
    const meaning = MEANINGS[responseCode];
    const found = `vTPM refused ${what}: response code 0x${responseCode.toString(16).padStart(3, '0')}`;
    super(code, meaning === undefined ? found : `${found} (${meaning})`);
    this.responseCode = responseCode;
  }
}
