import { execFile } from 'node:child_process';
import { access, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { SecureTrainingError } from '../../runtime/errors.ts';
import type { SynthesizedStack } from '../synthesize.ts';
import type { ScanFailure } from './exemptions.ts';

/** Where setup-tools.sh puts it: a place of its own, because of what it brings along. */
const CHECKOV = join(import.meta.dirname, '..', '..', '.tools', 'checkov', 'bin', 'checkov');
const MAXIMUM_REPORT = 64 * 2 ** 20;

/**
 * What checkov finds in stacks.
 * @throws {@link SecureTrainingError} `UNAVAILABLE` where it is not installed, or did not read everything
 */
export async function runCheckov(stacks: readonly SynthesizedStack[]): Promise<readonly ScanFailure[]> {
  await access(CHECKOV).catch((cause: unknown) => {
    throw new SecureTrainingError('UNAVAILABLE', 'checkov is not installed: npm run setup:tools', { cause });
  });
  const folder = await mkdtemp(join(tmpdir(), 'ctrain-scan-'));
  try {
    for (const { name, configuration } of stacks) {
      await mkdir(join(folder, name));
      // checkov 3.3 gives up on a file whose terraform block has required_version; no check is about that block.
      const { terraform: _, ...rest } = configuration;
      await writeFile(join(folder, name, 'cdk.tf.json'), JSON.stringify(rest, null, 2));
    }
    const args = ['--directory', folder, '--framework', 'terraform_json', '--output', 'json', '--compact', '--quiet'];
    const options = { maxBuffer: MAXIMUM_REPORT, env: { ...process.env, LOG_LEVEL: 'ERROR' } };
    // Without --soft-fail findings are a failure of the command, and so is a crash: told apart by what it wrote.
    const { stdout, stderr } = await promisify(execFile)(CHECKOV, [...args, '--skip-download', '--soft-fail'], options);
    return readReport(stdout, stderr, stacks);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface Report {
  readonly summary?: { readonly passed?: number; readonly parsing_errors?: number };
  readonly results?: {
    readonly failed_checks?: readonly {
      readonly check_id: string;
      readonly check_name: string;
      readonly file_path: string;
      readonly resource: string;
    }[];
  };
}

/** @throws {@link SecureTrainingError} `UNAVAILABLE` when it read less than there is: silence would look like health */
export function readReport(
  stdout: string,
  stderr: string,
  stacks: readonly SynthesizedStack[],
): readonly ScanFailure[] {
  let report: Report;
  try {
    report = JSON.parse(stdout) as Report;
  } catch (cause) {
    throw new SecureTrainingError('UNAVAILABLE', `checkov wrote no report: ${stderr.trim().slice(-300)}`, { cause });
  }
  const { passed = 0, parsing_errors = 1 } = report.summary ?? {};
  if (passed === 0 || parsing_errors > 0 || report.results === undefined) {
    throw new SecureTrainingError(
      'UNAVAILABLE',
      `checkov read nothing, or not everything: ${parsing_errors} files failed`,
    );
  }
  return (report.results.failed_checks ?? []).map(({ check_id, check_name, file_path, resource }) => {
    const stack = stacks.find(({ name }) => file_path === `/${name}/cdk.tf.json`);
    if (stack === undefined)
      throw new SecureTrainingError('UNAVAILABLE', `checkov names a file there is not: ${file_path}`);
    return { id: check_id, says: check_name, stack: stack.name, address: addressOf(resource, stack), resource };
  });
}

/** Most checks call a resource of a JSON file `resource.NAME`; the type is found by the name, which cdktf uses once a stack. */
function addressOf(resource: string, { configuration }: SynthesizedStack): string {
  const name = /^resource\.(.+)$/.exec(resource)?.[1];
  if (name === undefined) return resource;
  const types = Object.entries((configuration.resource ?? {}) as Readonly<Record<string, object>>);
  const found = types.filter(([, resources]) => Object.hasOwn(resources, name)).map(([type]) => type);
  return found.length === 1 ? `${found[0]}.${name}` : resource;
}
