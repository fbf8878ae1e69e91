import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EXIT_CODES } from '../../runtime/errors.ts';
import {
  CONSOLE_STATES,
  type ConsoleFields,
  consoleLine,
  failedCheckLine,
  parseConsoleLine,
  RUN_STEPS,
  SIDE_STEPS,
} from '../../runtime/run-steps.ts';

const fields = fc.record(
  {
    run: fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,40}$/),
    step: fc.constantFrom(...RUN_STEPS, ...SIDE_STEPS),
    state: fc.constantFrom(...CONSOLE_STATES),
    code: fc.constantFrom(...(Object.keys(EXIT_CODES) as (keyof typeof EXIT_CODES)[]), 'INTERNAL' as const),
    checkpoint: fc.nat(),
    reason: fc.constantFrom('record-truncated', 'object-missing'),
    missing: fc.constantFrom('event-log', 'network namespace,no-new-privileges'),
    backend: fc.constant('cpu'),
    warning: fc.constant('slow'),
    for: fc.constant('run'),
    lost: fc.nat(),
  },
  { requiredKeys: [] },
);

test('every line that the trainer can write is read back, whatever systemd put before it', () => {
  fc.assert(
    fc.property(fields, fc.constantFrom('', '[   12.345678] node[812]: ', '[[0;32m  OK  '), (said, before) => {
      fc.pre(Object.keys(said).length > 0);
      const line = parseConsoleLine(`${before}ctrain: ${consoleLine(said as ConsoleFields)}\r`);
      const wanted = Object.entries(said).map(([name, value]) => [name, String(value).replaceAll(' ', '-')]);
      expect(line).toEqual({ kind: 'step', fields: Object.fromEntries(wanted) });
    }),
  );
});

test('checks and errors keep their words, and nothing that a terminal obeys', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', minLength: 1, maxLength: 200 }), (text) => {
      const line = parseConsoleLine(`ctrain: ${failedCheckLine(text)}`);
      expect(line).toMatchObject({ kind: 'check' });
      expect(JSON.stringify(line)).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    }),
  );
  expect(parseConsoleLine('ctrain: RELEASE_DENIED the vault said no')).toEqual({
    kind: 'error',
    code: 'RELEASE_DENIED',
    message: 'the vault said no',
  });
  expect(parseConsoleLine('ctrain: internal error')).toMatchObject({ kind: 'error', code: 'INTERNAL' });
});

const digest = 'a'.repeat(64);

test.each([
  ['ctrain: boot.closed', { word: 'closed' }],
  ['ctrain: boot.open ssh.service', { word: 'open', about: 'ssh.service' }],
  [`ctrain: boot.waiting node ${digest} code 22`, { word: 'waiting', about: 'node', digest, code: '22' }],
  [`ctrain: boot.fetched trainer.tar ${digest}`, { word: 'fetched', about: 'trainer.tar', digest }],
  [`ctrain: boot.refused node: digest is not ${digest}`, { word: 'refused', about: 'node', digest }],
  ['ctrain: boot.failed unpack code 2', { word: 'failed', about: 'unpack', code: '2' }],
  ['ctrain: boot.stopped signal code KILL', { word: 'stopped', about: 'signal', code: 'KILL' }],
])('%s', (line, wanted) => {
  expect(parseConsoleLine(line)).toMatchObject({ kind: 'boot', ...wanted });
});

test.each([
  ['another program', 'kernel: boot.started'],
  ['a word within a text', 'xctrain: boot.started'],
  ['an unknown word', 'ctrain: boot.exploded'],
  ['a member of every object', 'ctrain: boot.constructor'],
  ['a word with more after it', 'ctrain: boot.ready now'],
  ['an unknown step', 'ctrain: step=dancing'],
  ['an unknown state', 'ctrain: state=happy'],
  ['an unknown code', 'ctrain: code=FINE'],
  ['an unknown member', 'ctrain: loss=0.5'],
  ['a value with an escape', 'ctrain: run=\u001b[2J'],
  ['nothing', 'ctrain: '],
  ['an error of no code', 'ctrain: EVERYTHING is lost'],
])('%s is no line of ours', (_, line) => {
  expect(parseConsoleLine(line)).toBeUndefined();
});

test('any bytes are survived', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
      expect(JSON.stringify(parseConsoleLine(`ctrain: ${text}`) ?? '')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    }),
  );
});
