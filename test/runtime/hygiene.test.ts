import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { assertHygiene, EMULATOR_WAIVES, type ProcessFacts, TRAINER_FLAGS } from '../../runtime/hygiene.ts';

const good: ProcessFacts = {
  flags: TRAINER_FLAGS,
  variables: ['PATH', 'LANG'],
  inspectorOpen: false,
  secureHeapBytes: 1_048_576,
  swaps: 'Filename\tType\tSize\tUsed\tPriority\n',
  limits:
    'Limit                     Soft Limit           Hard Limit           Units\nMax core file size        0                    0                    bytes\n',
  ptraceScope: '1\n',
};

test('accepts a process that is as it should be', () => {
  expect(assertHygiene(good, [])).toMatchObject({ waived: [] });
});

test.each([
  ['flags are the expected ones', { flags: TRAINER_FLAGS.slice(1) }],
  ['flags are the expected ones', { flags: [...TRAINER_FLAGS, '--inspect=0'] }],
  ['environment is scrubbed', { variables: ['NODE_OPTIONS'] }],
  ['environment is scrubbed', { variables: ['LD_PRELOAD'] }],
  ['inspector is closed', { inspectorOpen: true }],
  ['secure heap is in use', { secureHeapBytes: 0 }],
  ['no swap', { swaps: `${good.swaps}/dev/sda2 partition 1 0 -2\n` }],
  ['no swap', { swaps: undefined }],
  ['no core dumps', { limits: good.limits?.replace(/size +0/, 'size unlimited') }],
  ['ptrace is restricted', { ptraceScope: '0\n' }],
])('refuses when not: %s', (check, change) => {
  const failure = `process: not (${check})`;
  expect(() => assertHygiene({ ...good, ...change }, [])).toThrow(
    expect.objectContaining({
      code: 'ATTESTATION_REJECTED',
      message: `trainer process rejected: ${failure}`,
      failures: [failure],
    }),
  );
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

test('Node takes every flag, and shows them to the process', () => {
  const flags = execFileSync(process.execPath, [...TRAINER_FLAGS, '-p', 'JSON.stringify(process.execArgv)'], {
    encoding: 'utf8',
  });
  expect(JSON.parse(flags)).toEqual(expect.arrayContaining([...TRAINER_FLAGS]));
});
