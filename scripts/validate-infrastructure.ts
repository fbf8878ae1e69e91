/**
 * `npm run validate`: what the real azurerm provider says about the stacks of an environment: its enums, patterns and conflicts.
 * The provider comes from its registry, or from a mirror on disk. `--apply-to-stand-in` also plans and applies them, to a
 * stand-in for Azure's control plane on this machine: a second plan must be empty, and nothing else may be reached.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { type ControlPlane, startControlPlane } from '../emulator/control-plane/start.ts';
import { SecureTrainingError } from '../runtime/errors.ts';
import { reportError } from './report-error.ts';
import { type SynthesizedStack, synthesize } from './synthesize.ts';

const REFUSED = 10;
/** No switch of azurerm turns this off; a vault without a public network refuses it, and that is ignored. */
const KNOWN_STRANGER = /^GET [^/]+\.vault\.azure\.net\/certificates\/contacts$/;

type Environment = Readonly<Record<string, string | undefined>>;

interface Outcome {
  readonly ok: boolean;
  readonly output: string;
}

async function main(args: readonly string[]): Promise<number> {
  const options = readArguments(args);
  const stacks = await synthesize(options.environment);
  const folder = await mkdtemp(join(tmpdir(), 'ctrain-validate-'));
  const controlPlane = options['apply-to-stand-in'] ? await startControlPlane() : undefined;
  try {
    const environment = await environmentOf(folder, options.mirror, controlPlane);
    let refused = 0;
    for (const stack of stacks) {
      const problem =
        (await validate(folder, stack, environment)) ??
        (controlPlane === undefined ? undefined : await apply(folder, stack, environment));
      const done = controlPlane === undefined ? 'valid' : 'valid, applied, nothing left to change';
      console.log(problem === undefined ? `✓ ${stack.name}: ${done}` : `✗ ${stack.name}: ${problem}`);
      if (problem === undefined) continue;
      refused += 1;
      // What comes after it is made from what it would have made.
      if (controlPlane !== undefined) break;
    }
    const strangers = controlPlane === undefined ? [] : reportStrangers(controlPlane);
    return refused + strangers.length === 0 ? 0 : REFUSED;
  } finally {
    await controlPlane?.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function validate(
  folder: string,
  { name, configuration }: SynthesizedStack,
  environment: Environment,
): Promise<string | undefined> {
  // Three levels down, as in cdktf.out: that is where a local backend counts from.
  const place = placeOf(folder, name);
  await mkdir(place, { recursive: true });
  await writeFile(join(place, 'cdk.tf.json'), JSON.stringify(configuration, null, 2));
  const init = await terraform(place, environment, ['init', '-backend=false']);
  if (!init.ok) return `terraform init: ${init.output}`;
  const validated = await terraform(place, environment, ['validate']);
  return validated.ok ? undefined : `terraform validate: ${validated.output}`;
}

async function apply(
  folder: string,
  { name, configuration }: SynthesizedStack,
  environment: Environment,
): Promise<string | undefined> {
  const { terraform: settings } = configuration as { terraform?: { backend?: object } };
  if (!Object.hasOwn(settings?.backend ?? {}, 'local')) {
    const message = `${name} keeps its state in Azure: --apply-to-stand-in wants an environment with a local backend`;
    throw new SecureTrainingError('CONFIG_INVALID', message);
  }
  const place = placeOf(folder, name);
  const init = await terraform(place, environment, ['init', '-reconfigure']);
  if (!init.ok) return `terraform init: ${init.output}`;
  const applied = await terraform(place, environment, ['apply', '-auto-approve', '-parallelism=30']);
  if (!applied.ok) return `terraform apply: ${applied.output}`;
  const plan = await terraform(place, environment, ['plan', '-detailed-exitcode', '-parallelism=30']);
  return plan.ok ? undefined : `a second plan is not empty: ${plan.output}`;
}

function reportStrangers({ requests, strangers }: ControlPlane): readonly string[] {
  const known = strangers.filter((stranger) => KNOWN_STRANGER.test(stranger));
  const unknown = [...new Set(strangers.filter((stranger) => !KNOWN_STRANGER.test(stranger)))];
  for (const stranger of unknown) console.log(`✗ not of the control plane: ${stranger}`);
  console.log(
    `${requests.length} requests to the resource manager, ${known.length} refused ones for a vault's contacts`,
  );
  return unknown;
}

async function environmentOf(
  folder: string,
  mirror: string | undefined,
  controlPlane: ControlPlane | undefined,
): Promise<Environment> {
  const environment: Record<string, string | undefined> = {
    ...process.env,
    TF_IN_AUTOMATION: '1',
    CHECKPOINT_DISABLE: '1',
  };
  if (mirror !== undefined) {
    const file = join(folder, 'terraform.tfrc');
    const path = JSON.stringify(resolve(mirror));
    await writeFile(file, `provider_installation {\n  filesystem_mirror {\n    path = ${path}\n  }\n}\n`);
    environment.TF_CLI_CONFIG_FILE = file;
  }
  if (controlPlane === undefined) return environment;
  const authority = join(folder, 'ca.pem');
  await writeFile(authority, controlPlane.ca);
  return { ...environment, ...controlPlane.environment, SSL_CERT_FILE: authority };
}

function placeOf(folder: string, stack: string): string {
  return join(folder, 'cdktf.out', 'stacks', stack);
}

async function terraform(cwd: string, env: Environment, args: readonly string[]): Promise<Outcome> {
  const all = [...args, '-no-color', ...(args[0] === 'validate' ? [] : ['-input=false'])];
  try {
    const { stdout } = await promisify(execFile)('terraform', all, { cwd, env, maxBuffer: 64 * 1024 * 1024 });
    return { ok: true, output: stdout };
  } catch (error) {
    const { code, stdout = '', stderr = '' } = error as { code?: unknown; stdout?: string; stderr?: string };
    if (code === 'ENOENT') {
      throw new SecureTrainingError('CONFIG_INVALID', 'terraform is not on PATH', { cause: error });
    }
    if (typeof code !== 'number') throw error;
    // Warnings and progress go to the other stream; a plan with changes has nothing on this one.
    return { ok: false, output: (stderr.trim() || stdout).trim() };
  }
}

function readArguments(args: readonly string[]) {
  const options = {
    environment: { type: 'string', default: 'example' },
    mirror: { type: 'string' },
    'apply-to-stand-in': { type: 'boolean', default: false },
  } as const;
  try {
    return parseArgs({ args: [...args], options }).values;
  } catch (cause) {
    const message = cause instanceof Error ? cause.message.split('. ')[0] : String(cause);
    const usage = 'usage: validate-infrastructure.ts [--environment NAME] [--mirror FOLDER] [--apply-to-stand-in]';
    throw new SecureTrainingError('CONFIG_INVALID', `${message}; ${usage}`, { cause });
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = reportError(error, { json: false });
}
