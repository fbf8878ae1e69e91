import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EXIT_CODES } from '../../../runtime/errors.ts';
import type { SecurityEvent } from '../../../runtime/events.ts';
import type { RunStatus } from '../../../runtime/queue.ts';
import { CAUSES } from '../../../scripts/diagnose/causes.ts';
import { readConsole } from '../../../scripts/diagnose/console.ts';
import { diagnose, type Facts } from '../../../scripts/diagnose/diagnose.ts';

const NOW = new Date('2026-11-24T16:30:00Z');
const request = { version: 1, runId: 'run-1', agreementDigest: 'a', requestedAt: '2026-11-24T16:00:00Z' } as const;
const status = (change: Partial<RunStatus>): RunStatus => ({
  version: 1,
  runId: 'run-1',
  state: 'running',
  step: 'training',
  updatedAt: '2026-11-24T16:29:59Z',
  ...change,
});
const facts = (state: RunStatus | undefined, change: Partial<Facts> = {}): Facts => ({
  run: { request, status: state },
  console: undefined,
  events: [],
  vault: [],
  now: NOW,
  ...change,
});
const queued = (text: string, now = NOW) =>
  diagnose(facts(status({ state: 'queued', step: 'queued' }), { console: readConsole(text), now }));

test.each(Object.keys(EXIT_CODES) as (keyof typeof EXIT_CODES)[])(
  'refused with %s: step, meaning, checks, and what to do',
  (code) => {
    const refused = status({ state: 'refused', step: 'environment', code, message: 'why', failures: ['one', 'two'] });
    expect(diagnose(facts(refused))).toEqual({
      code,
      what: `it was refused between the checks of its machine and the release of the keys: ${CAUSES[code].what}`,
      evidence: ['status, 2026-11-24T16:29:59Z: why', 'failed check: one', 'failed check: two'],
      todo: CAUSES[code].todo,
    });
  },
);

test('a refused release is looked up in the vault’s log, from the request on', () => {
  const row = {
    OperationName: 'KeyRelease',
    HttpStatusCode: 403,
    ResultSignature: 'Forbidden',
    Id: 'key',
    CallerIpAddress: '10.60.0.4',
  };
  const vault = [
    { ...row, TimeGenerated: '2026-11-24T15:00:00Z' },
    { ...row, TimeGenerated: '2026-11-24T16:05:00Z' },
    { ...row, TimeGenerated: '2026-11-24T16:06:00Z', HttpStatusCode: 200 },
  ];
  const refused = status({ state: 'refused', code: 'RELEASE_DENIED', message: 'why' });
  expect(diagnose(facts(refused, { vault })).evidence).toEqual([
    'status, 2026-11-24T16:29:59Z: why',
    'vault, 2026-11-24T16:05:00Z: KeyRelease of key refused with 403 Forbidden, asked from 10.60.0.4',
  ]);
});

test('data that does not open is named by the event about it', () => {
  const event = {
    TimeGenerated: 'T',
    Event: 'object.opened',
    Outcome: 'failure',
    Detail: 'train-00001.enc',
  } as SecurityEvent;
  const refused = status({ state: 'refused', code: 'CIPHERTEXT_REJECTED' });
  expect(diagnose(facts(refused, { events: [event] })).evidence).toEqual([
    'event, T: object.opened failed, train-00001.enc',
  ]);
});

test.each([
  ['finished', status({ state: 'finished' }), 'the run finished on 2026-11-24T16:29:59Z'],
  ['running', status({}), 'it is running, while it trained'],
  ['a step of another version', status({ step: 'dancing' }), "it is running, at 'dancing'"],
])('%s: nothing is wrong', (_, state, what) => {
  expect(diagnose(facts(state))).toMatchObject({ code: undefined, what, evidence: [] });
});

test('interrupted: the same command goes on', () => {
  const found = diagnose(facts(status({ state: 'interrupted', message: 'the store is away' })));
  expect(found).toMatchObject({ code: 'UNAVAILABLE', evidence: ['status, 2026-11-24T16:29:59Z: the store is away'] });
  expect(found.todo).toContain('start the same command again');
});

test('a machine that died: silence, and how its unit ended', () => {
  const console = readConsole('ctrain: boot.started\nctrain: boot.ready\nctrain: boot.stopped oom-kill code 137\n');
  const found = diagnose(facts(status({ updatedAt: '2026-11-24T16:20:00Z' }), { console }));
  expect(found).toMatchObject({
    code: 'UNAVAILABLE',
    what: expect.stringMatching(/^nothing was heard for 600 s while it trained: /),
  });
  expect(found.evidence.at(-1)).toBe("console: the trainer's unit ended, oom-kill, status 137");
});

const STARTED = '[    9.1] ctrain: boot.started\n';
test.each([
  [
    'no identity',
    `${STARTED}ctrain: boot.waiting node 7fde code 1\n`,
    'UNAVAILABLE',
    'code 1, the identity has no token yet',
  ],
  [
    'no name',
    `${STARTED}ctrain: boot.waiting node 7fde code 6\n`,
    'UNAVAILABLE',
    'code 6, the name of the store is not found',
  ],
  [
    'no way',
    `${STARTED}ctrain: boot.waiting node 7fde code 7\n`,
    'UNAVAILABLE',
    'code 7, there is no way to the store',
  ],
  [
    'not there',
    `${STARTED}ctrain: boot.fetched node 7f\nctrain: boot.waiting trainer.tar ab code 22\n`,
    'UNAVAILABLE',
    'code 22, the store refused, or has no such blob',
  ],
  [
    'too slow',
    `${STARTED}ctrain: boot.waiting trainer.tar ab code 28\n`,
    'UNAVAILABLE',
    'code 28, the store was too slow',
  ],
  [
    'another bundle',
    `${STARTED}ctrain: boot.refused trainer.tar: digest is not ab\n`,
    'CONSENT_MISSING',
    'trainer.tar: digest is not ab',
  ],
  [
    'an open door',
    `ctrain: boot.open ssh.service\nctrain: boot.closed\n${STARTED}`,
    'ATTESTATION_REJECTED',
    'ssh.service is active',
  ],
  [
    'hygiene',
    `${STARTED}step=hygiene state=failed swap is on; core dumps are on\n`,
    'ATTESTATION_REJECTED',
    'failed check: swap is on',
  ],
  [
    'the unit ended',
    `${STARTED}ctrain: boot.ready\nctrain: boot.stopped exit-code code 2\n`,
    'UNAVAILABLE',
    'exit-code, status 2',
  ],
  ['nobody took it', `${STARTED}ctrain: boot.ready\nstep=waiting for=run\n`, 'UNAVAILABLE', 'looks at another store'],
  ['no boot', 'Linux version 6.8\n', 'UNAVAILABLE', 'console: no word of a boot'],
])('before a run was taken: %s', (_, text, code, evidence) => {
  const found = queued(text);
  expect(found.code).toBe(code);
  expect(found.evidence.join('\n')).toContain(evidence);
});

test('an earlier boot, and what came after all, do not count', () => {
  const earlier = 'ctrain: boot.started\nctrain: boot.refused node: digest is not ab\n';
  expect(
    readConsole(`${earlier}${STARTED}ctrain: boot.waiting node 7f code 7\nctrain: boot.fetched node 7f\n`),
  ).toEqual({
    isWaiting: false,
    hasBooted: true,
  });
  expect(queued('', new Date('2026-11-24T16:05:00Z'))).toMatchObject({ code: undefined });
});

test('any console is read, and any text of it stays text', () => {
  const line = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({ unit: 'binary' }).map((text) => `ctrain: boot.${text}`),
    fc.constantFrom(
      'ctrain: boot.waiting',
      'ctrain: boot.refused',
      'ctrain: boot.stopped',
      'step=hygiene state=failed ',
    ),
  );
  fc.assert(
    fc.property(fc.array(line), (lines) => {
      expect(queued(lines.join('\n')).todo).not.toBe('');
    }),
  );
});
