import { Command } from 'commander';
import { jsonObject, parseCompactJws } from '../../runtime/attestation/jws.ts';
import { decodeReleasePolicy, evaluateReleasePolicy } from '../../runtime/keys/release-policy.ts';
import { printable } from '../../runtime/shape.ts';
import { readInput } from '../run/read-input.ts';

/** Exit codes: whether this policy would release its key for this token. */
const WOULD_RELEASE = 0;
const WOULD_REFUSE = 10;

export function explainPolicyCommand(): Command {
  return new Command('explain-policy')
    .description('say clause by clause why a release policy lets an attestation token in, or refuses it, offline')
    .requiredOption('-p, --policy <file>', 'release policy in JSON, as a vault keeps it')
    .requiredOption('-t, --token <file>', 'attestation token (JWT), or its claims in JSON')
    .option('--json', 'machine-readable output')
    .addHelpText(
      'after',
      `
Example:
  $ ctrain explain-policy --policy policy.json --token token.jwt

The token's signature is not checked: this explains what a vault would say of a token that holds.
Exit codes: ${WOULD_RELEASE} would release, ${WOULD_REFUSE} would refuse, 2 and 4 for what is no policy or token.`,
    )
    .action(async ({ policy: policyPath, token, json }: { policy: string; token: string; json?: boolean }) => {
      const policy = decodeReleasePolicy(await readInput(policyPath));
      const result = evaluateReleasePolicy(policy, readClaims(await readInput(token), token));
      if (json === true) {
        console.log(JSON.stringify(result));
      } else {
        for (const { clause, found, met } of result.clauses) {
          // Nobody has vouched for either text yet.
          console.log(printable(`${met ? '✓' : '✗'} ${clause}${met ? '' : `: found ${found}`}`));
        }
        console.log(result.allowed ? 'would release the key' : 'would refuse');
      }
      process.exitCode = result.allowed ? WOULD_RELEASE : WOULD_REFUSE;
    });
}

function readClaims(bytes: Uint8Array, path: string): Readonly<Record<string, unknown>> {
  const text = new TextDecoder().decode(bytes).trim();
  return text.startsWith('{') ? jsonObject(bytes, path) : parseCompactJws(text, path).payload;
}
