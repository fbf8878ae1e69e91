/** A code exists because whoever gets it does something different. Imports nothing: both worlds may import this file. */
export type ErrorCode =
  | 'CONFIG_INVALID' // fix the input
  | 'UNAVAILABLE' // try again later: the only code that is ever retried
  | 'EVIDENCE_MALFORMED' // stop: the bytes are not what they claim to be
  | 'ATTESTATION_REJECTED' // stop: genuine evidence of an environment that is not trusted
  | 'RELEASE_DENIED' // stop: the vault refused the key, or its answer does not hold
  | 'CIPHERTEXT_REJECTED' // stop: altered data or the wrong key
  | 'CONSENT_MISSING'; // stop: somebody whose data or code it is has not agreed

/** Exit code of a process that ends with an error of this code; 1 is left for a bug of ours, 2 for wrong usage. */
export const EXIT_CODES: Readonly<Record<ErrorCode, number>> = {
  CONFIG_INVALID: 2,
  UNAVAILABLE: 3,
  EVIDENCE_MALFORMED: 4,
  ATTESTATION_REJECTED: 5,
  RELEASE_DENIED: 6,
  CIPHERTEXT_REJECTED: 7,
  CONSENT_MISSING: 8,
};

export interface SecureTrainingErrorOptions {
  readonly cause?: unknown;
  /**
   * One entry per failed check, for the audit trail.
   * @default []
   */
  readonly failures?: readonly string[];
}

/** Every error this project throws on purpose. Messages never carry keys, tokens or plaintext. */
export class SecureTrainingError extends Error {
  override readonly name = 'SecureTrainingError';
  readonly code: ErrorCode;
  /** One entry per failed check, for the audit trail. */
  readonly failures: readonly string[];

  constructor(code: ErrorCode, message: string, options: SecureTrainingErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.code = code;
    this.failures = options.failures ?? [];
  }
}
