import { secureHeapUsed } from 'node:crypto';
import { readFileSync } from 'node:fs';
import inspector from 'node:inspector';
import { SecureTrainingError } from './errors.ts';

/**
 * Node flags the trainer is started with: no debugger by signal, key material of private keys in locked memory that no
 * core dump contains, no code from strings.
 */
export const TRAINER_FLAGS = [
  '--secure-heap=1048576',
  '--disable-sigusr1',
  '--disable-proto=delete',
  '--disallow-code-generation-from-strings',
  '--report-exclude-env',
] as const;

/** Variables that could load code, open a debugger or weaken TLS in a Node process. */
const FORBIDDEN_VARIABLES = [
  'NODE_OPTIONS',
  'NODE_EXTRA_CA_CERTS',
  'NODE_TLS_REJECT_UNAUTHORIZED',
  'NODE_V8_COVERAGE',
  'NODE_DEBUG',
  'NODE_PATH',
  'NODE_REPL_EXTERNAL_MODULE',
  'LD_PRELOAD',
  'LD_LIBRARY_PATH',
  'LD_AUDIT',
  'SSLKEYLOGFILE',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'OPENSSL_CONF',
] as const;

/** What the process can see of itself; reading and judging are apart so that each check can be broken in a test. */
export interface ProcessFacts {
  readonly flags: readonly string[];
  readonly variables: readonly string[];
  readonly inspectorOpen: boolean;
  readonly secureHeapBytes: number;
  /** Content of /proc/swaps, or undefined where there is none. */
  readonly swaps: string | undefined;
  /** Content of /proc/self/limits. */
  readonly limits: string | undefined;
  /** Content of /proc/sys/kernel/yama/ptrace_scope. */
  readonly ptraceScope: string | undefined;
}

const CHECKS = {
  'flags are the expected ones': ({ flags }) =>
    TRAINER_FLAGS.every((flag) => flags.includes(flag)) && !flags.some(opensProcess),
  'environment is scrubbed': ({ variables }) =>
    !variables.some((name) => (FORBIDDEN_VARIABLES as readonly string[]).includes(name)),
  'inspector is closed': ({ inspectorOpen }) => !inspectorOpen,
  'secure heap is in use': ({ secureHeapBytes }) => secureHeapBytes > 0,
  'no swap': ({ swaps }) => swaps !== undefined && swaps.trim().split('\n').length <= 1,
  'no core dumps': ({ limits }) => /^Max core file size\s+0\s+0\s/m.test(limits ?? ''),
  'ptrace is restricted': ({ ptraceScope }) => Number(ptraceScope ?? '0') >= 1,
} as const satisfies Readonly<Record<string, (facts: ProcessFacts) => boolean>>;
export type HygieneCheck = keyof typeof CHECKS;

/** Checks the emulator may do without, since it runs on a machine it does not own. Each one waived is stated in the receipt. */
export const EMULATOR_WAIVES: readonly HygieneCheck[] = [
  'no swap',
  'no core dumps',
  'ptrace is restricted',
  'secure heap is in use',
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
    swaps: readText('/proc/swaps'),
    limits: readText('/proc/self/limits'),
    ptraceScope: readText('/proc/sys/kernel/yama/ptrace_scope'),
  };
}

function opensProcess(flag: string): boolean {
  return /^--(inspect|abort-on-uncaught|heapsnapshot|report-on|tls-keylog|require|import|loader|experimental-loader|env-file)/.test(
    flag,
  );
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
