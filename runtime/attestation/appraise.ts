import type { EnvironmentPolicy, Generation, Tcb } from '../catalogue.ts';
import { equalBytes } from '../crypto/bytes.ts';
import { SecureTrainingError } from '../errors.ts';
import type { VerifiedFacts } from './verify.ts';

/** What evidence must hold besides what the policy says: it changes with every run. */
export interface ExpectedQuote {
  /** The nonce that was asked for. `any` where nobody asked: then the evidence may be of any age, and of any run. */
  readonly nonce: Uint8Array | 'any';
  /**
   * The value of PCR 15, which measures the run: SHA-256 of 32 zero bytes and the digest it was extended with.
   * @default - not compared
   */
  readonly pcr15?: Uint8Array;
  /**
   * Id of the virtual machine that shows the evidence, lower case, as its platform states it.
   * @default - not compared
   */
  readonly vmId?: string;
}

const TCB_PARTS = ['bootloader', 'tee', 'snp', 'microcode', 'fmc'] as const satisfies readonly (keyof Tcb)[];
const RUN_PCR = 15;

type Check = (facts: VerifiedFacts, policy: EnvironmentPolicy, expected: ExpectedQuote) => boolean;

const CHECKS: Readonly<Record<string, Check>> = {
  'debug is off': ({ debug }) => !debug,
  'migration is not allowed': ({ migrationAllowed }) => !migrationAllowed,
  'no migration agent is present': ({ migrationAgentPresent }) => !migrationAgentPresent,
  'vmpl is 0': ({ vmpl }) => vmpl === 0,
  'generation is accepted': ({ generation }, { generations }) => generations.includes(generation),
  'revocation list is shown': (facts, policy) => facts.revocationListShown || policy.revocationList !== 'required',
  'report version is new enough': (facts, policy) => facts.reportVersion >= policy.minimumReportVersion,
  'reported tcb is new enough': (facts, policy) => isNewEnough(facts.reportedTcb, facts.generation, policy),
  'committed tcb is new enough': (facts, policy) => isNewEnough(facts.committedTcb, facts.generation, policy),
  'launch tcb is new enough': (facts, policy) => isNewEnough(facts.launchTcb, facts.generation, policy),
  'id key is accepted': ({ idKeyDigest }, { idKeyDigests }) => idKeyDigests.includes(idKeyDigest),
  'guest svn is new enough': ({ guestSvn }, { minimumGuestSvn }) => guestSvn >= minimumGuestSvn,
  'memory was checked for aliases': (facts, policy) => facts.aliasCheckComplete || !policy.requireAliasCheck,
  'secure boot is on': ({ secureBoot }) => secureBoot,
  'tpm is enabled': ({ tpmEnabled }) => tpmEnabled,
  'virtual machine is accepted': ({ vmUniqueId }, { vmIds }) => vmIds === 'any' || vmIds.includes(vmUniqueId),
  'quote covers the required pcrs': (facts, policy) => policy.quotedPcrs.every((pcr) => facts.quotedPcrs.includes(pcr)),
  'quote nonce is the expected one': ({ quoteNonce }, _, { nonce }) => nonce === 'any' || equalBytes(quoteNonce, nonce),
  'pcr 15 measures this run': ({ pcrs }, _, { pcr15 }) =>
    pcr15 === undefined || equalBytes(pcrs.get(RUN_PCR) ?? new Uint8Array(), pcr15),
  'evidence is of this virtual machine': ({ vmUniqueId }, _, { vmId }) => vmId === undefined || vmId === vmUniqueId,
};

/** Names of all checks of {@link appraise}, in the order failures are listed. */
export const APPRAISE_CHECKS: readonly string[] = Object.keys(CHECKS);

/**
 * Decides whether a genuine environment is one we trust. Runs every check, so one rejection names all there is to fix.
 * @throws {@link SecureTrainingError} `ATTESTATION_REJECTED`, one failure per failed check
 */
export function appraise(facts: VerifiedFacts, policy: EnvironmentPolicy, expected: ExpectedQuote): void {
  const failures = appraisalFailures(facts, policy, expected);
  if (failures.length === 0) return;
  throw new SecureTrainingError('ATTESTATION_REJECTED', `environment rejected: not (${failures.join('; ')})`, {
    failures,
  });
}

/** The checks that an environment fails; empty means accepted. */
export function appraisalFailures(
  facts: VerifiedFacts,
  policy: EnvironmentPolicy,
  expected: ExpectedQuote,
): readonly string[] {
  return APPRAISE_CHECKS.filter((name) => !CHECKS[name]?.(facts, policy, expected));
}

function isNewEnough(tcb: Tcb, generation: Generation, { minimumTcb }: EnvironmentPolicy): boolean {
  return TCB_PARTS.every((part) => tcb[part] >= minimumTcb[generation][part]);
}
