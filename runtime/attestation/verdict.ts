import type { EnvironmentPolicy } from '../catalogue.ts';
import { SecureTrainingError } from '../errors.ts';
import { appraisalFailures, type ExpectedQuote } from './appraise.ts';
import type { Evidence } from './evidence.ts';
import { examineUnverified, type VerifiedFacts, type VerifyOptions } from './verify.ts';

export interface VerdictOptions extends VerifyOptions {
  readonly policy: EnvironmentPolicy;
  readonly expected: ExpectedQuote;
}

/**
 * Verifies and appraises in one go, so that a refusal names everything that is wrong with the evidence and the environment.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`, or `ATTESTATION_REJECTED` with one failure per failed check
 */
export function acceptEvidence(evidence: Evidence, options: VerdictOptions): VerifiedFacts {
  const { facts, failures } = judgeUnverified(evidence, options);
  if (failures.length === 0) return facts;
  throw new SecureTrainingError('ATTESTATION_REJECTED', `attestation rejected: not (${failures.join('; ')})`, {
    failures,
  });
}

/**
 * Every check, of verification and appraisal, that the evidence fails; empty means accepted.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`
 */
export function evidenceFailures(evidence: Evidence, options: VerdictOptions): readonly string[] {
  return judgeUnverified(evidence, options).failures;
}

/**
 * What evidence says together with every check it fails. The facts mean nothing unless `failures` is empty.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`
 */
export function judgeUnverified(
  evidence: Evidence,
  options: VerdictOptions,
): { readonly facts: VerifiedFacts; readonly failures: readonly string[] } {
  const { facts, failures } = examineUnverified(evidence, options);
  return { facts, failures: [...failures, ...appraisalFailures(facts, options.policy, options.expected)] };
}
