import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { ErrorCode } from '../../../runtime/errors.ts';
import type { RunStatus } from '../../../runtime/queue.ts';
import { CAUSES, diagnose, findingLines } from '../../../scripts/diagnose/diagnose.ts';
import type { Facts } from '../../../scripts/diagnose/facts.ts';
import { readConsole } from '../../../scripts/diagnose/gather.ts';
import { bootIn, bootSource } from '../../constructs/booted.ts';

const runId = 'run-1';
const AT = '2026-11-24T10:00:00.000Z';

const facts: Facts = {
  now: new Date('2026-11-24T10:01:00Z'),
  request: { version: 1, runId, agreementDigest: 'a'.repeat(64), requestedAt: '2026-11-24T09:59:00.000Z' },
  machine: 'running',
  ahead: [],
  fetched: false,
};

function status(state: RunStatus['state'], more: Partial<RunStatus> = {}): RunStatus {
  return { version: 1, runId, state, step: 'training', updatedAt: AT, ...more };
}

const seen = new Set<string>();
/** The first cause of these facts. */
function causeOf(more: Partial<Facts>): string | undefined {
  const cause = diagnose({ ...facts, ...more })[0]?.cause;
  if (cause !== undefined) seen.add(cause);
  return cause;
}

const refused = (code: ErrorCode, message: string, failures: readonly string[] = []) =>
  causeOf({ status: status(code === 'UNAVAILABLE' ? 'interrupted' : 'refused', { code, message, failures }) });

const vault = 'release of training-key by kv.vault.azure.net: status 403, Forbidden, ';
const ENDINGS: readonly [string, ErrorCode, string][] = [
  ['process', 'ATTESTATION_REJECTED', 'trainer process rejected: process: not (environment is scrubbed)'],
  ['worker-confinement', 'ATTESTATION_REJECTED', 'worker is not confined: worker: not (network is empty)'],
  ['no-vtpm', 'ATTESTATION_REJECTED', 'no vTPM at /dev/tpmrm0'],
  ['pcr-used', 'ATTESTATION_REJECTED', 'pcr 15 already holds something else: wanted one run a boot'],
  ['revocation-list', 'ATTESTATION_REJECTED', 'evidence is not genuine: not (revocation list is current)'],
  ['debug', 'ATTESTATION_REJECTED', 'environment rejected: not (debug is off)'],
  ['secure-boot', 'ATTESTATION_REJECTED', 'environment rejected: not (secure boot is on)'],
  ['firmware-old', 'ATTESTATION_REJECTED', 'environment rejected: not (launch tcb is new enough)'],
  ['not-genuine', 'ATTESTATION_REJECTED', 'evidence is not genuine: not (root is the pinned key)'],
  ['environment-policy', 'ATTESTATION_REJECTED', 'environment rejected: not (vmpl is 0)'],
  ['token-rejected', 'ATTESTATION_REJECTED', 'attestation token rejected: not (nonce is ours)'],
  [
    'attestation-policy',
    'ATTESTATION_REJECTED',
    'attestation by https://a: status 400, PolicyEvaluationError, refuses',
  ],
  ['attestation-refused', 'ATTESTATION_REJECTED', 'attestation by https://a: status 400, InvalidParameter'],
  ['machine-rejected', 'ATTESTATION_REJECTED', 'something new'],
  [
    'release-policy',
    'RELEASE_DENIED',
    `${vault}Target environment attestation does not meet key release policy requirements.`,
  ],
  ['release-role', 'RELEASE_DENIED', `${vault}Caller is not authorized to perform action on resource.`],
  [
    'release-firewall',
    'RELEASE_DENIED',
    `${vault}Client address is not authorized and caller is not a trusted service.`,
  ],
  [
    'release-firewall',
    'RELEASE_DENIED',
    `${vault}Public network access is disabled and request is not from a trusted service`,
  ],
  ['release-key-disabled', 'RELEASE_DENIED', `${vault}Operation release is not allowed on a disabled key.`],
  ['release-key-expired', 'RELEASE_DENIED', `${vault}Operation is not allowed on an expired or not yet valid key.`],
  ['release-token', 'RELEASE_DENIED', `${vault}Target environment attestation statement cannot be verified.`],
  ['release-key-gone', 'RELEASE_DENIED', 'release of training-key by kv: no version 12 of this key'],
  ['release-not-exportable', 'RELEASE_DENIED', `${vault}The key is not exportable.`],
  ['release-reply', 'RELEASE_DENIED', 'reply of kv for key training-key rejected: not (policy is the one agreed on)'],
  ['release-refused', 'RELEASE_DENIED', `${vault}no`],
  ['agreement-expired', 'CONSENT_MISSING', 'agreement a: it expired at 2026-01-01T00:00:00Z'],
  ['agreement-used-up', 'CONSENT_MISSING', 'agreement a: its 2 runs are used up'],
  ['agreement-unsigned', 'CONSENT_MISSING', 'agreement a: no valid signature of owner (abc)'],
  ['agreement-other-trainer', 'CONSENT_MISSING', `agreement a: trainer ${'b'.repeat(64)} is not one it names`],
  ['agreement-other-code', 'CONSENT_MISSING', "agreement a: the trainer's custom code is none, agreed was ab"],
  ['agreement-replaced', 'CONSENT_MISSING', 'run r: its agreement is not the one it was asked for with'],
  [
    'manifest-replaced',
    'CONSENT_MISSING',
    'o/d/1/manifest.dsse.json: found d version 1 (aa), agreed was d version 2 (bb)',
  ],
  ['consent-missing', 'CONSENT_MISSING', 'something new'],
  ['checkpoint-refused', 'CIPHERTEXT_REJECTED', 'run-1/checkpoints/00000020.json: it is no checkpoint of this run'],
  [
    'slot-missing',
    'CIPHERTEXT_REJECTED',
    'train-0.sealed: none of its 1 key slot is of a key that the agreement names',
  ],
  ['weights-refused', 'CIPHERTEXT_REJECTED', 'w.sealed: they are not the weights agreed on'],
  ['shard-refused', 'CIPHERTEXT_REJECTED', 'train-0.sealed: region 0 is altered, or sealed under another key'],
  ['manifest-malformed', 'EVIDENCE_MALFORMED', 'manifest: no valid signature'],
  ['checkpoint-malformed', 'EVIDENCE_MALFORMED', 'checkpoint: state is not JSON'],
  ['malformed', 'EVIDENCE_MALFORMED', 'keys.json is not JSON'],
  [
    'storage-firewall',
    'CONFIG_INVALID',
    'read runs/r/run.json: status 403, AuthorizationFailure, This request is not authorized',
  ],
  ['storage-role', 'CONFIG_INVALID', 'read runs/r/run.json: status 403, AuthorizationPermissionMismatch'],
  ['not-finite', 'CONFIG_INVALID', 'worker: loss is not finite after step 3: try a lower learning_rate'],
  ['memory', 'CONFIG_INVALID', 'this run needs about 9.1 GB of memory (weights 9.0 GB), the machine has 4.0 GB for it'],
  ['privacy-budget', 'CONFIG_INVALID', 'privacy_budget is 0.1, less than one step takes: wanted more'],
  ['custom-module', 'CONFIG_INVALID', 'custom module: it threw (TypeError at model.ts:3), step 4'],
  ['blob-missing', 'CONFIG_INVALID', 'o/d/1/manifest.dsse.json: there is no such blob'],
  ['configuration', 'CONFIG_INVALID', 'input_size is 7, the data has 8'],
  ['lease-lost', 'UNAVAILABLE', 'the lease of the run was lost to another machine'],
  ['told-to-stop', 'UNAVAILABLE', 'the trainer was told to stop; the last good checkpoint, of step 40, is kept'],
  ['worker-died', 'UNAVAILABLE', 'worker ended by SIGKILL'],
  [
    'no-identity',
    'UNAVAILABLE',
    'token of identity 123 for https://vault.azure.net: gave up after 6 attempts: status 500',
  ],
  ['name-unresolved', 'UNAVAILABLE', 'release of k by kv: gave up after 6 attempts: no answer: ENOTFOUND'],
  ['certificate', 'UNAVAILABLE', 'attestation by https://a: certificate refused: SELF_SIGNED_CERT_IN_CHAIN'],
  ['vault-away', 'UNAVAILABLE', 'release of k by kv: gave up after 6 attempts: no answer: ECONNREFUSED'],
  ['attestation-away', 'UNAVAILABLE', 'attestation by https://a: gave up after 6 attempts: status 503'],
  ['storage-away', 'UNAVAILABLE', 'write runs/run-1/checkpoints/x: gave up after 6 attempts: status 500'],
  ['interrupted', 'UNAVAILABLE', 'something new'],
];

describe('how a run ended', () => {
  test.each(ENDINGS)('%s', (wanted, code, message) => {
    expect(refused(code, message)).toBe(wanted);
  });

  test('each failed check is a line, with the evidence of the vault and of the trainer since the run was asked for', () => {
    const [row, early] = [AT, '2026-11-24T09:00:00.000Z'].map((at) => ({
      at,
      operation: 'KeyRelease',
      keyId: 'https://kv/keys/k/1',
      uri: '',
      principal: 'p',
      address: '',
      status: 403,
      correlationId: '',
    }));
    const [finding] = diagnose({
      ...facts,
      status: status('refused', {
        code: 'RELEASE_DENIED',
        message: 'reply of kv',
        failures: ['a is b', 'c\u001b[2J is d'],
      }),
      vault:
        row === undefined || early === undefined ? [] : [early, row, { ...row, status: 401 }, { ...row, status: 200 }],
    });
    expect(finding === undefined ? [] : findingLines(finding)).toEqual([
      "The vault's answer does not hold: another policy, another key, or not signed by a vault.",
      '  not: a is b',
      '  not: c?[2J is d',
      `  seen: status ${AT}  refused in step training: RELEASE_DENIED`,
      `  seen: vault ${AT}  KeyRelease https://kv/keys/k/1: 403, by p`,
      '  do: do not go on before the data owner knows',
      '  do: docs/runbook.md',
    ]);
  });

  test('the console has the last word where the status could not be written', () => {
    const text = [
      `ctrain: run=${runId} step=agreement`,
      `ctrain: run=${runId} step=training`,
      `ctrain: run=${runId} step=training state=interrupted code=UNAVAILABLE`,
      'ctrain: failed=no answer: ECONNREFUSED',
      'ctrain: UNAVAILABLE read datasets/x: gave up after 6 attempts: no answer: ECONNREFUSED',
    ].join('\n');
    const [finding] = diagnose({ ...facts, status: status('running'), console: readConsole(text) });
    expect(finding).toMatchObject({
      cause: 'storage-away',
      checks: ['no answer: ECONNREFUSED'],
      evidence: [{ source: 'console', at: 'line 3' }],
    });
    // A later start counts more.
    const again = `${text}\nctrain: run=${runId} step=agreement`;
    expect(causeOf({ status: status('running'), console: readConsole(again) })).toBe('running');
  });

  test('a fault of ours', () => {
    expect(causeOf({ status: status('interrupted', { message: 'internal error of the trainer' }) })).toBe('internal');
  });
});

describe('boots, by the script that machines run', () => {
  const root = mkdtempSync(join(tmpdir(), 'ctrain-diagnose-'));
  afterAll(() => rmSync(root, { recursive: true }));
  const { bundle, node, config } = bootSource(root);
  const blobs = { node, 'trainer.tar': bundle };
  const booted = (lines: readonly string[]) =>
    causeOf({ status: status('queued'), console: readConsole(`kernel: hello\n${lines.join('\n')}\n`) });
  const altered = Buffer.from('altered');

  test.each<[string, Omit<Parameters<typeof bootIn>[1], 'config'>]>([
    ['boot-node-digest', { blobs: { ...blobs, node: altered } }],
    ['boot-bundle-digest', { blobs: { ...blobs, 'trainer.tar': altered } }],
    ['boot-no-identity', { blobs, identity: false, cutOff: true }],
    ['boot-storage-name', { blobs, failures: [22, 6], cutOff: true }],
    ['boot-storage-network', { blobs, failures: [7], cutOff: true }],
    ['boot-storage-network', { blobs, failures: [28], cutOff: true }],
    ['boot-storage-certificate', { blobs, failures: [60], cutOff: true }],
    ['boot-disk', { blobs, failures: [23], cutOff: true }],
    ['boot-not-published', { blobs, failures: [22], cutOff: true }],
    ['boot-waiting', { blobs, failures: [99], cutOff: true }],
    ['boot-command-failed', { blobs, broken: { install: 1 } }],
    ['boot-command-failed', { blobs, broken: { tar: 2 } }],
    ['boot-trainer-silent', { blobs }],
  ])('%s', (wanted, booting) => {
    expect(booted(bootIn(root, { config, ...booting }).serial)).toBe(wanted);
  });

  test.each([
    ['boot-setup', ['ctrain: boot.closed']],
    ['boot-fetching', ['ctrain: boot.closed', 'ctrain: boot.started']],
    ['boot-fetching', ['ctrain: boot.started', `ctrain: boot.fetched node ${'a'.repeat(64)}`]],
    ['boot-silent', []],
    ['trainer-refused-process', ['ctrain: boot.ready', 'ctrain: step=hygiene state=failed', 'ctrain: failed=x']],
    ['trainer-killed', ['ctrain: boot.ready', 'ctrain: step=waiting for=run', 'ctrain: boot.stopped signal code KILL']],
    // An earlier boot's end says nothing of this one.
    ['boot-fetching', ['ctrain: boot.started', 'ctrain: boot.failed unpack code 2', 'ctrain: boot.started']],
  ])('%s: %j', (wanted, lines) => {
    expect(booted(lines)).toBe(wanted);
  });

  test('a machine that is on and whose console nobody gave', () => {
    expect(causeOf({ status: status('queued') })).toBe('boot-unseen');
  });

  test('every word of the boot script is one that the parser knows', () => {
    const said = JSON.stringify(config).match(/boot\.[a-z]+/g) ?? [];
    const parser = readFileSync(new URL('../../../runtime/run-steps.ts', import.meta.url), 'utf8');
    expect(new Set(said).size).toBeGreaterThanOrEqual(9);
    for (const word of said) expect(parser).toContain(`  ${word.slice('boot.'.length)}: /^`);
  });
});

describe('what nobody said', () => {
  test.each<[string, Partial<Facts>]>([
    ['machine-gone', { status: status('running'), machine: 'stopped' }],
    ['nothing-heard', { status: status('running', { updatedAt: '2026-11-24T09:50:00.000Z' }) }],
    ['not-started', { status: status('queued'), machine: 'deallocated' }],
    ['waits-its-turn', { status: status('queued'), ahead: ['run-0'] }],
    ['running', { status: status('running') }],
    ['not-fetched', { status: status('finished'), machine: 'deallocated' }],
    ['finished', { status: status('finished'), fetched: true }],
    ['waiting', { machine: 'running', console: readConsole('ctrain: boot.ready\nctrain: step=waiting for=run') }],
  ])('%s', (wanted, more) => {
    expect(causeOf(more)).toBe(wanted);
  });

  test.each([
    ['door-open', 'ctrain: boot.open ssh.service\nctrain: boot.closed\nctrain: boot.started', 'boot.open ssh.service'],
    [
      'checkpoint-torn',
      'ctrain: step=checkpoint state=skipped checkpoint=40 reason=object-truncated',
      'step=checkpoint state=skipped checkpoint=40 reason=object-truncated',
    ],
    ['logs-lost', 'ctrain: run=run-1 lost=7', 'run=run-1 lost=7'],
  ])('%s is told beside the end', (wanted, text, what) => {
    const found = diagnose({
      ...facts,
      console: readConsole(text),
      status: status('refused', { code: 'CONFIG_INVALID', message: 'x' }),
    });
    expect(found.map(({ cause }) => cause)).toEqual(['configuration', wanted]);
    expect(found[1]?.evidence).toMatchObject([{ source: 'console', at: 'line 1', what }]);
  });
});

test('every cause was met above, has a name of its own, and names only commands and pages that there are', () => {
  const names = CAUSES.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  expect(names.filter((name) => !seen.has(name))).toEqual([]);
  const cli = readFileSync(new URL('../../../scripts/cli.ts', import.meta.url), 'utf8');
  const runbook = readFileSync(new URL('../../../docs/runbook.md', import.meta.url), 'utf8');
  for (const line of CAUSES.flatMap(({ next }) => next)) {
    for (const [, command] of line.matchAll(/ctrain ([a-z-]+)/g)) expect(cli).toContain(`/commands/${command}.ts`);
    for (const [, page = ''] of line.matchAll(/(docs\/[\w.-]+\.md)/g))
      expect(readFileSync(new URL(`../../../${page}`, import.meta.url), 'utf8')).not.toBe('');
    for (const [, entry] of line.matchAll(/runbook\.md#([\w-]+)/g)) expect(runbook).toContain(`## ${entry}\n`);
  }
});
