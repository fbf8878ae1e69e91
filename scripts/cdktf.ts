/**
 * What `npm run synth` and `npm run deploy` start. Synthesizing needs no CLI: the app writes the same cdktf.out by itself.
 * Everything that runs Terraform goes through the cdktf CLI, which stays out of the lockfile (archived upstream, 430 MB,
 * no build for Node 24): one that is on PATH, or a pinned one by npx under the Node it was made for.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');
/** Same version as the library: the CLI refuses an app of another one. */
export const CLI_VERSION = '0.21.0';
/** Newest Node that cdktf-cli 0.21 has a native terminal for. */
const CLI_NODE = '22.23.3';
const CLI_COMMANDS = ['deploy', 'diff', 'destroy', 'output', 'list', 'get'] as const;
const USAGE = `usage: cdktf.ts synth | check | ${CLI_COMMANDS.join(' | ')} [STACK...] [OPTION...]`;

export interface Invocation {
  readonly command: string;
  readonly args: readonly string[];
}

/** How the CLI is started on this machine. */
export function cliInvocation(args: readonly string[], onPath: string | undefined, platform: string): Invocation {
  if (onPath !== undefined) return { command: onPath, args };
  // Elsewhere the machine's own Node has to do.
  const node = ['linux-x64', 'linux-arm64'].includes(platform) ? ['-p', `node-${platform}@${CLI_NODE}`] : [];
  return { command: 'npx', args: ['-y', ...node, '-p', `cdktf-cli@${CLI_VERSION}`, 'cdktf', ...args] };
}

/** Whether what the constructs need is installed as it is pinned; one line for each difference. npm itself minds their peer ranges. */
export function versionProblems(read: (path: string) => unknown): string[] {
  const root = record(read('package.json'));
  const peers = record(record(read('constructs/package.json')).peerDependencies);
  const pinned = { ...record(root.dependencies), ...record(root.devDependencies) };
  const problems = Object.keys(peers).flatMap((name) => {
    const installed = record(read(`node_modules/${name}/package.json`)).version;
    return installed === pinned[name]
      ? []
      : [`${name}: package.json pins ${String(pinned[name])}, installed is ${String(installed)}`];
  });
  if (pinned.cdktf !== CLI_VERSION)
    problems.push(`cdktf: the CLI is ${CLI_VERSION}, package.json pins ${String(pinned.cdktf)}`);
  return problems;
}

/** Warnings that constructs left in a manifest: the CLI would print them, so synth without it does too. */
export function synthWarnings(manifest: unknown): string[] {
  return Object.values(record(record(manifest).stacks)).flatMap((stack) => {
    const { annotations } = record(stack);
    return (Array.isArray(annotations) ? annotations : []).map((annotation: unknown) => {
      const { constructPath, message } = record(annotation);
      return `${String(constructPath)}: ${String(message)}`;
    });
  });
}

function main(args: readonly string[]): number {
  const [command = '', ...rest] = args;
  if (command === 'synth') return synth();
  if (command === 'check') return check();
  if (!(CLI_COMMANDS as readonly string[]).includes(command)) {
    console.error(`cdktf.ts: unknown command "${command}"\n${USAGE}`);
    return 2;
  }
  if (check() !== 0) return 2;
  // Without a name the CLI asks which stack; all of them, in their order, is what a pipeline means.
  const isAll = ['deploy', 'destroy'].includes(command) && rest.every((arg) => arg.startsWith('-'));
  const { command: program, args: all } = cliInvocation(
    [command, ...(isAll ? ['*'] : []), ...rest],
    findOnPath('cdktf'),
    `${process.platform}-${process.arch}`,
  );
  return run(program, all);
}

function synth(): number {
  const status = run(process.execPath, ['--disable-warning=DEP0044', join(ROOT, 'stacks', 'app.ts')]);
  if (status !== 0) return status;
  const manifest: unknown = readJson('cdktf.out/manifest.json');
  for (const warning of synthWarnings(manifest)) console.error(`warning: ${warning}`);
  for (const name of Object.keys(record(record(manifest).stacks))) console.log(`cdktf.out/stacks/${name}/cdk.tf.json`);
  return 0;
}

function check(): number {
  const problems = versionProblems(readJson);
  for (const problem of problems) console.error(`cdktf.ts: ${problem}`);
  return problems.length === 0 ? 0 : 2;
}

function run(command: string, args: readonly string[]): number {
  // The version check of the CLI is a request to somebody else's server, and of no use for an archived one.
  const { status, error } = spawnSync(command, args, {
    cwd: ROOT,
    stdio: 'inherit',
    env: { ...process.env, CHECKPOINT_DISABLE: '1' },
  });
  if (error !== undefined) console.error(`cdktf.ts: ${command}: ${error.message}`);
  return status ?? 1;
}

function findOnPath(name: string): string | undefined {
  const candidates = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, name));
  return candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(join(ROOT, path), 'utf8'));
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

if (process.argv[1] === import.meta.filename) process.exitCode = main(process.argv.slice(2));
