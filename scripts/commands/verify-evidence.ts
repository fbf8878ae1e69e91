import { Command } from 'commander';
import { parseEvidence } from '../../runtime/attestation/evidence.ts';
import { UNSUPPORTED } from '../../runtime/attestation/malformed.ts';
import { evidenceFailures } from '../../runtime/attestation/verdict.ts';
import { AZURE_TRUST } from '../../runtime/azure-trust.ts';
import { type EnvironmentPolicy, STRICT_ENVIRONMENT } from '../../runtime/catalogue.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { checkShape, parseJson } from '../../runtime/shape.ts';
import { environmentShape } from '../../runtime/statements/agreement.ts';
import { readInput } from '../run/read-input.ts';

/** Verdicts on evidence and their exit codes; 1 is left for a bug of ours. */
const VERDICTS = { accepted: 0, rejected: 10, unsupported: 20, malformed: 30 } as const;
type Verdict = keyof typeof VERDICTS;

interface VerifyEvidenceFlags {
  readonly evidence?: string;
  readonly policy?: string;
  readonly at?: string;
  readonly printPolicy?: boolean;
  readonly json?: boolean;
}

export function verifyEvidenceCommand(): Command {
  return new Command('verify-evidence')
    .description("check what a machine shows (report, certificates, quote) against AMD's roots and a policy, offline")
    .option('-e, --evidence <file>', 'evidence bundle in JSON, as every receipt carries one')
    .option('-p, --policy <file>', 'environment policy in JSON, every field present (default: the strict one)')
    .option('--at <time>', 'when the certificates must be valid, RFC 3339 (default: now)')
    .option('--print-policy', 'write the default policy, to start from')
    .option('--json', 'machine-readable output')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain verify-evidence --print-policy > policy.json
  $ ctrain verify-evidence --evidence evidence.json --policy policy.json --at 2026-01-31T00:00:00Z

The evidence says nothing of which run it is for: its nonce is not compared. ctrain verify does that.
Exit codes: ${Object.entries(VERDICTS)
        .map(([verdict, code]) => `${code} ${verdict}`)
        .join(', ')}, 1 internal error.`,
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
      const { verdict, failures } = judge(await readInput(flags.evidence), flags.evidence, policy, at);
      if (flags.json === true) console.log(JSON.stringify({ verdict, failures }));
      else for (const line of [...failures.map((failure) => `✗ ${failure}`), verdict.toUpperCase()]) console.log(line);
      process.exitCode = VERDICTS[verdict];
    });
}

function judge(
  bytes: Uint8Array,
  path: string,
  policy: EnvironmentPolicy,
  at: Date,
): { readonly verdict: Verdict; readonly failures: readonly string[] } {
  try {
    const evidence = parseEvidence(parseJson(bytes, path));
    const failures = evidenceFailures(evidence, { trust: AZURE_TRUST, at, policy, expected: { nonce: 'any' } });
    return { verdict: failures.length === 0 ? 'accepted' : 'rejected', failures };
  } catch (error) {
    if (!(error instanceof SecureTrainingError)) throw error;
    return { verdict: error.failures.includes(UNSUPPORTED) ? 'unsupported' : 'malformed', failures: [error.message] };
  }
}

async function readPolicy(path: string): Promise<EnvironmentPolicy> {
  return checkShape(environmentShape, parseJson(await readInput(path), path), path, 'CONFIG_INVALID');
}

function readTime(text: string | undefined): Date {
  const at = text === undefined ? new Date() : new Date(text);
  if (!Number.isNaN(at.getTime())) return at;
  throw new SecureTrainingError('CONFIG_INVALID', `--at: found ${text}, wanted a time such as 2026-01-31T00:00:00Z`);
}
