import { secureHeapUsed } from 'node:crypto';
import { readFileSync } from 'node:fs';
import inspector from 'node:inspector';
import { TRAINER_FLAGS } from './catalogue.ts';
import { SecureTrainingError } from './errors.ts';

/**
 * Variables that load code, open a debugger, weaken TLS or lead connections elsewhere, in Node, OpenSSL or the dynamic
 * linker. Whole families: NODE_COMPILE_CACHE and OPENSSL_MODULES load code too, and every release adds some.
 */
const FORBIDDEN_VARIABLES = /^(?:NODE_|LD_|OPENSSL_|SSL|GCONV_PATH$|GLIBC_TUNABLES$|(?:https?|all|no)_proxy$)/i;

/** What the process can see of itself; reading and judging are apart so that each check can be broken in a test. */
export interface ProcessFacts {
  readonly flags: readonly string[];
  readonly variables: readonly string[];
  readonly inspectorOpen: boolean;
  readonly secureHeapBytes: number;
  /** Content of /proc/self/status. */
  readonly status: string | undefined;
  /** Content of /proc/swaps, or undefined where there is none. */
  readonly swaps: string | undefined;
  /** Content of /proc/self/limits. */
  readonly limits: string | undefined;
  /** Content of /proc/sys/kernel/core_pattern. */
  readonly corePattern: string | undefined;
  /** Content of /proc/sys/kernel/yama/ptrace_scope. */
  readonly ptraceScope: string | undefined;
}

const CHECKS = {
  // No more and no fewer: there are too many flags that open a process to list them.
  'flags are the expected ones': ({ flags }) =>
    flags.length === TRAINER_FLAGS.length && TRAINER_FLAGS.every((flag) => flags.includes(flag)),
  'environment is scrubbed': ({ variables }) => !variables.some((name) => FORBIDDEN_VARIABLES.test(name)),
  'inspector is closed': ({ inspectorOpen }) => !inspectorOpen,
  'secure heap is in use': ({ secureHeapBytes }) => secureHeapBytes > 0,
  // OpenSSL goes on with a heap that it could not lock, and counts it all the same.
  'secure heap is locked': ({ secureHeapBytes, status }) =>
    secureHeapBytes > 0 && lockedBytes(status ?? '') >= secureHeapBytes,
  'no swap': ({ swaps }) => swaps !== undefined && swaps.trim().split('\n').length <= 1,
  // The limit does not hold for a pattern that pipes (core(5)): then only a program that throws away will do.
  'no core dumps': ({ limits, corePattern }) =>
    /^Max core file size\s+0\s+0\s/m.test(limits ?? '') &&
    corePattern !== undefined &&
    (!corePattern.startsWith('|') || corePattern.trim() === '|/bin/false'),
  'ptrace is restricted': ({ ptraceScope }) => Number(ptraceScope ?? '0') >= 1,
} as const satisfies Readonly<Record<string, (facts: ProcessFacts) => boolean>>;
export type HygieneCheck = keyof typeof CHECKS;

/** Checks the emulator may do without, since it runs on a machine it does not own. Each one waived is stated in the receipt. */
export const EMULATOR_WAIVES: readonly HygieneCheck[] = [
  'no swap',
  'no core dumps',
  'ptrace is restricted',
  'secure heap is in use',
  'secure heap is locked',
];

export interface HygieneReport {
  readonly passed: readonly HygieneCheck[];
  /** Failed, and waived by the entry point. */
  readonly waived: readonly HygieneCheck[];
}

/**
 * Refuses to go on in a process that could leak what it is about to hold. A seat belt: the boundary is the machine.
 * @throws {@link SecureTrainingError} `ATTESTATION_REJECTED`, one failure per failed check
 */
export function assertHygiene(facts: ProcessFacts, waivable: readonly HygieneCheck[]): HygieneReport {
  const names = Object.keys(CHECKS) as HygieneCheck[];
  const failed = names.filter((name) => !CHECKS[name](facts));
  const failures = failed.filter((name) => !waivable.includes(name)).map((name) => `process: not (${name})`);
  if (failures.length > 0) {
    throw new SecureTrainingError('ATTESTATION_REJECTED', `trainer process rejected: ${failures.join('; ')}`, {
      failures,
    });
  }
  return { passed: names.filter((name) => !failed.includes(name)), waived: failed };
}

/** @param variables names of the environment variables; only entry points look at the environment */
export function readProcessFacts(variables: readonly string[]): ProcessFacts {
  return {
    flags: process.execArgv,
    variables,
    inspectorOpen: inspector.url() !== undefined,
    secureHeapBytes: secureHeapUsed().total,
    status: readText('/proc/self/status'),
    swaps: readText('/proc/swaps'),
    limits: readText('/proc/self/limits'),
    corePattern: readText('/proc/sys/kernel/core_pattern'),
    ptraceScope: readText('/proc/sys/kernel/yama/ptrace_scope'),
  };
}

function lockedBytes(status: string): number {
  return 1024 * Number(/^VmLck:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0);
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
