import { Command } from 'commander';
import type { BootFacts } from '../../runtime/attestation/boot-facts.ts';
import { parseEvidence } from '../../runtime/attestation/evidence.ts';
import { UNSUPPORTED } from '../../runtime/attestation/malformed.ts';
import { judgeUnverified } from '../../runtime/attestation/verdict.ts';
import { AZURE_TRUST } from '../../runtime/azure-trust.ts';
import { type EnvironmentPolicy, STRICT_ENVIRONMENT } from '../../runtime/catalogue.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { checkShape, instant, parseJson } from '../../runtime/shape.ts';
import { environmentShape } from '../../runtime/statements/agreement.ts';
import { bootLines, unvouched } from '../run/boot-lines.ts';
import { readInput } from '../run/read-input.ts';
import { AMD_LISTS, readRevocationLists } from '../run/read-revocation-lists.ts';

/** Verdicts on evidence and their exit codes; 1 is left for a bug of ours. */
const VERDICTS = { accepted: 0, rejected: 10, unsupported: 20, malformed: 30 } as const;
type Verdict = keyof typeof VERDICTS;

interface VerifyEvidenceFlags {
  readonly evidence?: string;
  readonly policy?: string;
  readonly at?: string;
  readonly crl?: readonly string[];
  readonly printPolicy?: boolean;
  readonly json?: boolean;
}

export function verifyEvidenceCommand(): Command {
  return new Command('verify-evidence')
    .description("check what a machine shows (report, certificates, quote) against AMD's roots and a policy, offline")
    .option('-e, --evidence <file>', 'evidence bundle in JSON, as every receipt carries one')
    .option('-p, --policy <file>', 'environment policy in JSON, every field present (default: the strict one)')
    .option('--at <time>', 'when the certificates must be valid, RFC 3339 in UTC (default: now)')
    .option('--crl <file...>', `AMD's revocation list of the machine's generation, from ${AMD_LISTS}`)
    .option('--print-policy', 'write the default policy, to start from')
    .option('--json', 'machine-readable output')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain verify-evidence --print-policy > policy.json
  $ ctrain verify-evidence --evidence evidence.json --policy policy.json --at 2026-01-31T00:00:00Z
  $ ctrain verify-evidence --evidence evidence.json --crl Genoa.crl

The evidence says nothing of which run it is for: its nonce is only compared with its own quote. ctrain verify does more.
Exit codes: ${Object.entries(VERDICTS)
        .map(([verdict, code]) => `${code} ${verdict}`)
        .join(', ')}, 2 wrong policy, list, time or path, 1 internal error.`,
    )
    .action(async (flags: VerifyEvidenceFlags) => {
      if (flags.printPolicy === true) {
        console.log(JSON.stringify(STRICT_ENVIRONMENT, null, 2));
        return;
      }
      if (flags.evidence === undefined) {
        throw new SecureTrainingError('CONFIG_INVALID', 'verify-evidence wants --evidence FILE');
      }
      const policy = flags.policy === undefined ? STRICT_ENVIRONMENT : await readPolicy(flags.policy);
      const at = readTime(flags.at);
      const lists = (await readRevocationLists(flags.crl ?? [])).map(({ bytes }) => bytes);
      const { verdict, failures, ...said } = judge(await readInput(flags.evidence), flags.evidence, policy, at, lists);
      const boot = verdict === 'accepted' || verdict === 'rejected' ? bootLines(said.boot) : [];
      const lines = [...failures.map((failure) => `✗ ${failure}`), ...boot, verdict.toUpperCase()];
      console.log(flags.json === true ? JSON.stringify({ verdict, failures, ...said }) : lines.join('\n'));
      process.exitCode = VERDICTS[verdict];
    });
}

function judge(
  bytes: Uint8Array,
  path: string,
  policy: EnvironmentPolicy,
  at: Date,
  revocationLists: readonly Uint8Array[],
): { readonly verdict: Verdict; readonly failures: readonly string[]; readonly boot?: BootFacts } {
  try {
    const evidence = parseEvidence(parseJson(bytes, path));
    const { facts, failures } = judgeUnverified(evidence, {
      trust: AZURE_TRUST,
      at,
      // Whoever passes lists wants them asked, not passed over because they are of another generation.
      policy: revocationLists.length === 0 ? policy : { ...policy, revocationList: 'required' },
      // A nonce beside the quote looks as if it had been asked for: then it has to be the quote's.
      expected: { nonce: evidence.nonce ?? 'any' },
      revocationLists,
    });
    const accepted = failures.length === 0;
    const boot = facts.boot === undefined ? {} : { boot: accepted ? facts.boot : unvouched(facts.boot) };
    return { verdict: accepted ? 'accepted' : 'rejected', failures, ...boot };
  } catch (error) {
    if (!(error instanceof SecureTrainingError)) throw error;
    return { verdict: error.failures.includes(UNSUPPORTED) ? 'unsupported' : 'malformed', failures: [error.message] };
  }
}

async function readPolicy(path: string): Promise<EnvironmentPolicy> {
  return checkShape(environmentShape, parseJson(await readInput(path), path, 'CONFIG_INVALID'), path, 'CONFIG_INVALID');
}

function readTime(text: string | undefined): Date {
  // Date takes much else, some of it as local time, and a verdict must not depend on where it is asked for.
  const failures: string[] = [];
  const at = text === undefined ? new Date() : new Date(instant(text, '--at', failures));
  if (failures.length === 0) return at;
  throw new SecureTrainingError('CONFIG_INVALID', failures.join('; '), { failures });
}
