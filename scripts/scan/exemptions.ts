// biome-ignore lint/style/noRestrictedImports: a table of words; the stacks themselves are started, never imported
import type { ScannerException } from '../../stacks/scanner-exceptions.ts';

/** Something that checkov says of a resource. */
export interface ScanFailure {
  readonly id: string;
  readonly says: string;
  readonly stack: string;
  /** Terraform address in its stack. */
  readonly address: string;
  /** The resource as checkov writes it, which for JSON is without its type now and then. */
  readonly resource: string;
}

export interface ScanVerdict {
  readonly unexplained: readonly ScanFailure[];
  readonly explained: readonly ScanFailure[];
  /** Exceptions that no failure needs, those of options left aside: what they excuse is put right, or is called otherwise now. */
  readonly unused: readonly ScannerException[];
}

export function judge(failures: readonly ScanFailure[], exceptions: readonly ScannerException[]): ScanVerdict {
  const excuses = (exception: ScannerException, failure: ScanFailure) =>
    exception.checkov === failure.id &&
    exception.stack === failure.stack &&
    matches(exception.resource, failure.address);
  const isExplained = (failure: ScanFailure) => exceptions.some((exception) => excuses(exception, failure));
  return {
    unexplained: failures.filter((failure) => !isExplained(failure)),
    explained: failures.filter(isExplained),
    unused: exceptions.filter(
      (exception) => exception.option === undefined && !failures.some((failure) => excuses(exception, failure)),
    ),
  };
}

/** A baseline for `checkov --baseline`: skips check by check and resource by resource, as no other option of it does. */
export function checkovBaseline(explained: readonly ScanFailure[]): string {
  const stacks = [...new Set(explained.map(({ stack }) => stack))].sort();
  const findings = (stack: string) => {
    const own = explained.filter((failure) => failure.stack === stack);
    const resources = [...new Set(own.map(({ resource }) => resource))].sort();
    return resources.map((resource) => ({
      resource,
      check_ids: own
        .filter((failure) => failure.resource === resource)
        .map(({ id }) => id)
        .sort(),
    }));
  };
  const failed_checks = stacks.map((stack) => ({ file: `/${stack}/cdk.tf.json`, findings: findings(stack) }));
  return `${JSON.stringify({ failed_checks }, null, 2)}\n`;
}

/** A `.trivyignore.yaml` (https://trivy.dev/docs/latest/configuration/filtering/): trivy knows files, not resources. */
export function trivyIgnore(exceptions: readonly ScannerException[]): string {
  const entries = exceptions.flatMap(({ trivy, stack, reason }) =>
    trivy === undefined
      ? []
      : [`  - id: ${trivy}\n    paths:\n      - "**/${stack}/cdk.tf.json"\n    statement: ${JSON.stringify(reason)}\n`],
  );
  return `misconfigurations:\n${entries.join('')}`;
}

/**
 * Properties of Microsoft.Authorization/policyExemptions, one a built-in policy. Which assignment brings the policy is known
 * in the tenant alone: whoever makes the exemption adds its policyAssignmentId.
 */
export function policyExemptions(exceptions: readonly ScannerException[]): string {
  const exemptions = exceptions.flatMap(({ policy, stack, resource, reason }) =>
    policy === undefined
      ? []
      : [
          {
            policyDefinitionId: `/providers/Microsoft.Authorization/policyDefinitions/${policy}`,
            stack,
            resource,
            properties: { exemptionCategory: 'Mitigated', description: reason },
          },
        ],
  );
  return `${JSON.stringify(exemptions, null, 2)}\n`;
}

/** docs/scanner-exceptions.md. */
export function exceptionsPage(exceptions: readonly ScannerException[]): string {
  const header = ['stack', 'resource', 'only with', 'checkov', 'trivy', 'Azure Policy', 'reason'];
  const rows = exceptions.map(({ stack, resource, option, checkov, trivy, policy, reason }) => [
    stack,
    `\`${resource}\``,
    option ?? '',
    checkov,
    trivy ?? '',
    policy ?? '',
    reason,
  ]);
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return `# Scanner exceptions

What scanners find in the stacks and is meant to be so. Written by \`npm run scan -- --page\` from \`stacks/scanner-exceptions.ts\`: change it there. \`npm run scan\` fails on a finding that is not in the table, and on an entry that nothing needs any more.

${line(header)}
${line(header.map(() => '---'))}
${rows.map(line).join('\n')}

\`npm run scan -- --emit FOLDER\` writes what the scanners take: \`checkov.baseline.json\` (\`checkov --baseline\`), \`.trivyignore.yaml\`, and \`policy-exemptions.json\` with the properties of Azure Policy exemptions, to which the tenant adds the assignment. Only checkov is run here; trivy's ids are those of its published checks.
`;
}

function matches(pattern: string, address: string): boolean {
  const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`).test(address);
}
