import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { TRAINER_FLAGS } from '../../runtime/catalogue.ts';
import { assertHygiene, EMULATOR_WAIVES, type ProcessFacts } from '../../runtime/hygiene.ts';

const CHECKED = new URL('../../runtime/hygiene.ts', import.meta.url).href;
const dir = mkdtempSync(join(tmpdir(), 'ctrain-hygiene-'));
afterAll(() => rmSync(dir, { recursive: true }));

const good: ProcessFacts = {
  flags: TRAINER_FLAGS,
  variables: ['PATH', 'LANG'],
  inspectorOpen: false,
  secureHeapBytes: 1_048_576,
  status: 'VmPeak:\t  999 kB\nVmLck:\t    1024 kB\n',
  swaps: 'Filename\tType\tSize\tUsed\tPriority\n',
  limits:
    'Limit                     Soft Limit           Hard Limit           Units\nMax core file size        0                    0                    bytes\n',
  corePattern: '|/bin/false\n',
  ptraceScope: '1\n',
};

test('accepts a process that is as it should be', () => {
  expect(assertHygiene(good, [])).toMatchObject({ waived: [] });
});

const ROWS: readonly (readonly [string, Partial<ProcessFacts>])[] = [
  ['flags are the expected ones', { flags: TRAINER_FLAGS.slice(1) }],
  ['flags are the expected ones', { flags: [...TRAINER_FLAGS, '--inspect=0'] }],
  ['flags are the expected ones', { flags: [...TRAINER_FLAGS, '-r=x.js'] }],
  ['flags are the expected ones', { flags: [...TRAINER_FLAGS, '--secure-heap=0'] }],
  ['flags are the expected ones', { flags: [...TRAINER_FLAGS.slice(1), '--heapsnapshot-signal=SIGUSR2'] }],
  ['environment is scrubbed', { variables: ['NODE_OPTIONS'] }],
  ['environment is scrubbed', { variables: ['LD_PRELOAD'] }],
  ...[
    'NODE_EXTRA_CA_CERTS',
    'NODE_V8_COVERAGE',
    'NODE_TLS_REJECT_UNAUTHORIZED',
    'NODE_DEBUG',
    'NODE_REPL_EXTERNAL_MODULE',
    'NODE_COMPILE_CACHE',
    'SSLKEYLOGFILE',
    'SSL_CERT_FILE',
    'OPENSSL_CONF',
    'https_proxy',
  ].map((name) => ['environment is scrubbed', { variables: ['PATH', name] }] as const),
  ['inspector is closed', { inspectorOpen: true }],
  ['secure heap is locked', { status: 'VmLck:\t       0 kB\n' }],
  ['secure heap is locked', { status: 'VmLck:\t    1020 kB\n' }],
  ['secure heap is locked', { status: undefined }],
  ['no swap', { swaps: `${good.swaps}/dev/sda2 partition 1 0 -2\n` }],
  ['no swap', { swaps: undefined }],
  ['no core dumps', { limits: good.limits?.replace(/size +0/, 'size unlimited') }],
  ['no core dumps', { limits: undefined }],
  ['no core dumps', { corePattern: '|/usr/share/apport/apport %p\n' }],
  ['no core dumps', { corePattern: undefined }],
  ['ptrace is restricted', { ptraceScope: '0\n' }],
  ['ptrace is restricted', { ptraceScope: undefined }],
];

test.each(ROWS)('refuses when not: %s', (check, change) => {
  const failure = `process: not (${check})`;
  expect(() => assertHygiene({ ...good, ...change }, [])).toThrow(
    expect.objectContaining({
      code: 'ATTESTATION_REJECTED',
      message: `trainer process rejected: ${failure}`,
      failures: [failure],
    }),
  );
});

test('a process without a secure heap has none that is locked either', () => {
  expect(() => assertHygiene({ ...good, secureHeapBytes: 0 }, [])).toThrow(
    expect.objectContaining({
      failures: ['process: not (secure heap is in use)', 'process: not (secure heap is locked)'],
    }),
  );
});

test('every check has a row that breaks it', () => {
  const broken = new Set([...ROWS.map(([check]) => check), 'secure heap is in use']);
  expect([...broken].sort()).toEqual([...assertHygiene(good, []).passed].sort());
});

test('what an entry point waives is reported, not forgotten', () => {
  expect(assertHygiene({ ...good, ptraceScope: '0' }, EMULATOR_WAIVES)).toMatchObject({
    waived: ['ptrace is restricted'],
  });
});

test('the emulator cannot waive what it controls', () => {
  expect(() => assertHygiene({ ...good, inspectorOpen: true, flags: [] }, EMULATOR_WAIVES)).toThrow(
    expect.objectContaining({
      failures: ['process: not (flags are the expected ones)', 'process: not (inspector is closed)'],
    }),
  );
});

/** Failed checks of a real process: what a check reads there is what it is about. */
function failuresOf(flags: readonly string[], variables: NodeJS.ProcessEnv = {}, limits = 'ulimit -c 0'): string[] {
  const script = `import('${CHECKED}').then(({ assertHygiene, readProcessFacts }) => {
    try { assertHygiene(readProcessFacts(Object.keys(process.env)), []); console.log('[]'); }
    catch (error) { console.log(JSON.stringify(error.failures)); }
  })`;
  const file = join(dir, 'checked.mjs');
  writeFileSync(file, script);
  const shell = ['-c', `${limits}; exec "$0" "$@"`, process.execPath];
  const output = execFileSync('/bin/sh', [...shell, ...flags, file], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, ...variables },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return JSON.parse(output) as string[];
}

describe('a real process', () => {
  const failure = (check: string) => `process: not (${check})`;
  // Swap, ptrace and where cores go are the machine's.
  const machines = ['no swap', 'ptrace is restricted', 'no core dumps'].map(failure);
  const own = (failures: readonly string[]) => failures.filter((each) => !machines.includes(each));

  test('shows all of its flags, and is in order', () => {
    expect(own(failuresOf(TRAINER_FLAGS)).filter((each) => each !== failure('secure heap is locked'))).toEqual([]);
  });

  test.each<[string, readonly string[], NodeJS.ProcessEnv]>([
    ['flags are the expected ones', [...TRAINER_FLAGS, '--expose-gc'], {}],
    ['environment is scrubbed', TRAINER_FLAGS, { NODE_COMPILE_CACHE: tmpdir() }],
    ['inspector is closed', [...TRAINER_FLAGS, '--inspect=127.0.0.1:0'], {}],
    ['secure heap is in use', TRAINER_FLAGS.filter((flag) => !flag.startsWith('--secure-heap')), {}],
    ['secure heap is locked', TRAINER_FLAGS.filter((flag) => !flag.startsWith('--secure-heap')), {}],
  ])('is seen when not: %s', (check, flags, variables) => {
    expect(failuresOf(flags, variables)).toContain(failure(check));
  });

  // A limit that is zero for good cannot be raised to show it.
  const limits = existsSync('/proc/self/limits') ? readFileSync('/proc/self/limits', 'utf8') : '';
  test.skipIf(!/^Max core file size\s+\S+\s+(?!0\s)/m.test(limits))('is seen when it may dump core', () => {
    expect(failuresOf(TRAINER_FLAGS, {}, 'ulimit -S -c 0')).toContain(failure('no core dumps'));
  });
});
