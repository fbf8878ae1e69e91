import { SecureTrainingError } from '../errors.ts';

/** Entry of `failures` on an error about evidence that is well-formed but of a kind this verifier does not know. */
export const UNSUPPORTED = 'unsupported';

/** The bytes are not what they claim to be. */
export function malformed(message: string, cause?: unknown): SecureTrainingError {
  return new SecureTrainingError('EVIDENCE_MALFORMED', message, { cause });
}

/** The bytes may be fine, but are of a kind or version that this verifier does not know: refused all the same. */
export function unsupported(message: string): SecureTrainingError {
  return new SecureTrainingError('EVIDENCE_MALFORMED', message, { failures: [UNSUPPORTED] });
}
