import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { BackendName } from './backend-name.ts';
import { BINDING_FILE } from './native/binding.ts';
import { OWN_ROOT } from './own-root.ts';

/** What the worker found it may still do, by its own permission model (`process.permission.has`). */
export interface ConfinementProbe {
  readonly fileRead: boolean;
  readonly fileWrite: boolean;
  readonly childProcess: boolean;
  readonly workerThreads: boolean;
  readonly nativeAddons: boolean;
}

/** What was in force while the worker ran, read back from /proc by the broker. Stands in the receipt. */
export interface ConfinementReport {
  /** A network namespace of its own, with no interface but a loopback that is down. */
  readonly networkNamespace: boolean;
  readonly userNamespace: boolean;
  /** A root folder with only system programs, Node and the bundle in it: no key, no socket of another program. */
  readonly ownRoot: boolean;
  readonly noNewPrivileges: boolean;
  /** Any seccomp mode but 0. */
  readonly seccomp: boolean;
  /** No Linux capability is left. */
  readonly noCapabilities: boolean;
  /**
   * Node's permission model: no file but the bundle's can be read, none written, no process, thread or addon started. With the
   * native engine, whose addon it has to allow, also {@link ownRoot}.
   */
  readonly readOnlyFiles: boolean;
  readonly emptyEnvironment: boolean;
  /** Names of the members above that are false. */
  readonly missing: readonly string[];
}

/** @returns what Node's permission model still allows this process */
export function probeConfinement(): ConfinementProbe {
  // Absent where the process runs without --permission: everything is allowed then.
  const has = (scope: string) => process.permission?.has(scope) ?? true;
  return {
    fileRead: has('fs.read'),
    fileWrite: has('fs.write'),
    childProcess: has('child'),
    workerThreads: has('worker'),
    nativeAddons: has('addon'),
  };
}

/** Flags of a Node process that reads one folder and does nothing else; see facts/process-hygiene.md. */
function nodeFlags(bundleDir: string, addons: boolean): string[] {
  return [
    '--permission',
    `--allow-fs-read=${bundleDir}`,
    ...(addons ? ['--allow-addons'] : []),
    '--disable-sigusr1',
    '--disable-proto=delete',
    '--disallow-code-generation-from-strings',
    '--report-exclude-env',
    '--no-warnings',
  ];
}

export interface ConfinedCommandOptions {
  readonly node: string;
  readonly script: string;
  readonly bundleDir: string;
  /** Whether to use what {@link strongestLauncher} finds. */
  readonly confine: boolean;
  /**
   * What the worker is to compute with, its one argument.
   * @default - the best that the bundle has
   */
  readonly backend?: BackendName;
}

/** The command line of a worker. Every part execs the next, so the process id stays that of Node. */
export function confinedCommand({ node, script, bundleDir, confine, backend }: ConfinedCommandOptions): string[] {
  const addons = (backend ?? 'native') === 'native' && existsSync(`${bundleDir}/${BINDING_FILE}`);
  const launch = confine ? strongestLauncher(node, bundleDir) : undefined;
  const parameters = backend === undefined ? [] : [backend];
  return [...(launch?.(node, bundleDir) ?? []), node, ...nodeFlags(bundleDir, addons), script, ...parameters];
}

/** The start of a command line that confines the rest of it. */
type Launcher = (node: string, bundleDir: string) => readonly string[];

const FOLDERS = ['/usr/bin', '/bin', '/usr/sbin', '/sbin'];
/** A user namespace lets anybody make the network namespace; nothing but a loopback that is down is in it. */
const UNSHARE = ['--user', '--map-root-user', '--net'];
/** Only a PATH for sh: the environment is empty. */
const SHELL_PATH = `PATH=${FOLDERS.join(':')}`;
/** Root of that user namespace has capabilities in it: they go as well. The worker ends with its broker. */
const SETPRIV = ['--no-new-privs', '--bounding-set=-all', '--inh-caps=-all', '--pdeathsig=KILL'];

let found: { readonly launcher: Launcher | undefined } | undefined;

/** What this system has to confine a process with (util-linux `unshare` and `setpriv`); tried once. */
function strongestLauncher(node: string, bundleDir: string): Launcher | undefined {
  found ??= { launcher: launchers().find((launcher) => works(launcher(node, bundleDir), node)) };
  return found.launcher;
}

/** Strongest first. */
function launchers(): Launcher[] {
  const unshare = FOLDERS.map((folder) => `${folder}/unshare`).find(existsSync);
  const setpriv = FOLDERS.map((folder) => `${folder}/setpriv`).find(existsSync);
  const apart = unshare === undefined ? [] : [unshare, ...UNSHARE];
  const bare = setpriv === undefined ? [] : [setpriv, ...SETPRIV];
  const barely = setpriv === undefined ? [] : [setpriv, '--no-new-privs'];
  const ownRoot: Launcher = (node, bundleDir) => {
    const shell = ['/bin/sh', '-c', `${SHELL_PATH}\n${OWN_ROOT}`, 'sh', node, bundleDir];
    return [...apart, '--mount', ...shell, ...bare];
  };
  const simple = [[...apart, ...bare], [...apart, ...barely], apart, bare, barely].filter(
    (prefix) => prefix.length > 0,
  );
  const rooted = unshare === undefined || setpriv === undefined ? [] : [ownRoot];
  return [
    ...rooted,
    ...simple.map(
      (prefix): Launcher =>
        () =>
          prefix,
    ),
  ];
}

function works(prefix: readonly string[], node: string): boolean {
  const [command = '', ...rest] = prefix;
  const { status } = spawnSync(command, [...rest, node, '--version'], { env: {}, stdio: 'ignore', timeout: 10_000 });
  return status === 0;
}

/** Reads back what is in force for a running worker. What cannot be read counts as not in force. */
export function readConfinement(pid: number, probe: ConfinementProbe): ConfinementReport {
  const status = readProc(pid, 'status');
  const field = (name: string) => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status ?? '')?.[1];
  const flags = (readProc(pid, 'cmdline') ?? '').split('\0');
  const seccomp = field('Seccomp');
  const capabilities = field('CapEff');
  const ownRoot = isApart(pid, 'mnt') && rootOf(pid).every((name) => !PRIVATE_FOLDERS.includes(name));
  // Node does not hold native code to its permissions: where it is loaded, only a root of its own does.
  const { nativeAddons, ...others } = probe;
  const inForce = {
    networkNamespace: isApart(pid, 'net') && interfacesOf(pid).every((name) => name === 'lo'),
    userNamespace: isApart(pid, 'user'),
    ownRoot,
    noNewPrivileges: field('NoNewPrivs') === '1',
    seccomp: seccomp !== undefined && seccomp !== '0',
    noCapabilities: capabilities !== undefined && /^0+$/.test(capabilities),
    readOnlyFiles:
      Object.values(others).every((allowed) => !allowed) &&
      flags.includes('--permission') &&
      (ownRoot || !nativeAddons),
    emptyEnvironment: readProc(pid, 'environ') === '',
  };
  const missing = Object.entries(inForce).flatMap(([name, held]) => (held ? [] : [name]));
  return { ...inForce, missing };
}

function isApart(pid: number, namespace: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/ns/${namespace}`) !== readlinkSync(`/proc/self/ns/${namespace}`);
  } catch {
    return false;
  }
}

/** Where other people's files and sockets are; one of them in its root folder means that the worker has not its own. */
const PRIVATE_FOLDERS = ['dev', 'etc', 'proc', 'root', 'run', 'unknown'];

/** All that the native engine finds in two of these folders, made by own-root.ts. */
const STAND_INS: Readonly<Record<string, string>> = { dev: 'urandom', proc: 'self' };

function rootOf(pid: number): string[] {
  const root = `/proc/${pid}/root`;
  const isStandIn = (name: string) =>
    Object.hasOwn(STAND_INS, name) && readdirSync(`${root}/${name}`).join() === STAND_INS[name];
  try {
    return readdirSync(root).filter((name) => !isStandIn(name));
  } catch {
    return ['unknown'];
  }
}

/** Names from /proc/PID/net/dev, after its two lines of headings; an unreadable file is no proof of having none. */
function interfacesOf(pid: number): string[] {
  const lines = readProc(pid, 'net/dev')?.trimEnd().split('\n').slice(2);
  return lines?.map((line) => line.split(':')[0]?.trim() ?? '') ?? ['unknown'];
}

function readProc(pid: number, name: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return undefined;
  }
}
