import type { ErrorCode } from '../../runtime/errors.ts';
import type { ConsoleLine } from '../../runtime/run-steps.ts';
import { printable } from '../../runtime/shape.ts';
import type { Cause, Evidence, LogName } from './cause.ts';
import { BOOT_CAUSES } from './causes-boot.ts';
import { QUEUE_CAUSES } from './causes-queue.ts';
import { RUN_CAUSES } from './causes-run.ts';
import { endingOf, type Facts } from './facts.ts';

/** Every cause there is, most telling first: the words of a run, then those of its boot, then what silence means. */
export const CAUSES: readonly Cause[] = [...RUN_CAUSES, ...BOOT_CAUSES, ...QUEUE_CAUSES];

/** A cause that applies. */
export interface Finding {
  readonly cause: string;
  readonly code?: ErrorCode;
  readonly says: string;
  readonly checks: readonly string[];
  readonly evidence: readonly Evidence[];
  readonly next: readonly string[];
}

/** Rows shown of one log: the newest count. */
const ROWS_SHOWN = 3;

/**
 * What became of a run, most telling first. Of the words that a run or boot ended with, the most precise cause is taken and the
 * more general ones left out; what the silence of a machine means is asked where neither says anything.
 */
export function diagnose(facts: Facts): readonly Finding[] {
  const ending = endingOf(facts);
  for (const table of [RUN_CAUSES, BOOT_CAUSES, QUEUE_CAUSES]) {
    for (const cause of table) {
      const found = cause.recognise(facts, ending);
      if (found === undefined) continue;
      const { name, code, says, next, logs = [] } = cause;
      const evidence = [...found.evidence, ...logs.flatMap((log) => rowsOf(log, facts))].map((each) => ({
        ...each,
        what: printable(each.what),
      }));
      const checks = (found.checks ?? []).map((check) => printable(check));
      const first = { cause: name, ...(code === undefined ? {} : { code }), says, checks, evidence, next };
      return [first, ...alsoSaid(facts)];
    }
  }
  return [];
}

/** Lines of the console that count whatever became of the run. */
const ALSO: readonly (Omit<Finding, 'checks' | 'evidence'> & { readonly isIt: (line: ConsoleLine) => boolean })[] = [
  {
    cause: 'door-open',
    code: 'ATTESTATION_REJECTED',
    says: 'The machine found a way into itself that should be closed.',
    next: ['deploy the machine again, from the image that the deployment names', 'docs/runbook.md#machine-unhygienic'],
    isIt: (line) => line.kind === 'boot' && line.word === 'open',
  },
  {
    cause: 'checkpoint-torn',
    says: 'A checkpoint whose writing was interrupted was passed over for an older one.',
    next: ['nothing: docs/training.md'],
    isIt: (line) => line.kind === 'step' && line.fields.step === 'checkpoint' && line.fields.state === 'skipped',
  },
  {
    cause: 'logs-lost',
    says: 'Rows of a run were not delivered to the log: its receipt has the head of the events all the same.',
    next: ['docs/runbook.md#run-silent'],
    isIt: (line) => line.kind === 'step' && line.fields.lost !== undefined,
  },
];

function alsoSaid({ console: lines = [] }: Facts): Finding[] {
  return ALSO.flatMap(({ isIt, ...finding }) => {
    const found = lines.filter(({ line }) => isIt(line)).slice(-ROWS_SHOWN);
    const evidence = found.map(({ number, line }) => ({
      source: 'console' as const,
      at: `line ${number}`,
      what: wordsOf(line),
    }));
    return found.length === 0 ? [] : [{ ...finding, checks: [], evidence }];
  });
}

function wordsOf(line: ConsoleLine): string {
  if (line.kind === 'boot') return `boot.${line.word} ${line.about}`;
  if (line.kind !== 'step') return '';
  return Object.entries(line.fields)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}

/** The refusals in a log since the run was asked for, newest last. */
function rowsOf(log: LogName, facts: Facts): Evidence[] {
  const since = facts.request.requestedAt;
  return ROWS[log](facts)
    .filter(({ at }) => Date.parse(at) >= Date.parse(since))
    .slice(-ROWS_SHOWN);
}

/** Writes of the control plane that take something away from a run. */
const TELLING =
  /(roleAssignments\/(write|delete)|vaults\/(write|delete)|storageAccounts\/(write|delete)|virtualMachines\/(write|delete|deallocate|powerOff|redeploy)\/action|networkSecurityGroups|privateEndpoints|attestationProviders)/i;

const ROWS: Readonly<Record<LogName, (facts: Facts) => Evidence[]>> = {
  trainer: ({ trainer = [], request }) =>
    trainer
      .filter(({ Outcome, RunId }) => Outcome === 'failure' && (RunId === request.runId || RunId === ''))
      .map(({ TimeGenerated, Event, Detail }) => ({
        source: 'trainer',
        at: TimeGenerated,
        what: `${Event}: ${Detail}`,
      })),
  // 401 is how every client begins.
  vault: ({ vault = [] }) =>
    vault
      .filter(({ status }) => status >= 400 && status !== 401)
      .map(({ at, operation, status, keyId, principal }) => ({
        source: 'vault',
        at,
        what: `${operation} ${keyId}: ${status}, by ${principal || 'nobody known'}`,
      })),
  // A blob that is not there yet, or a lease that is held, is a part of any run.
  storage: ({ storage = [] }) =>
    storage
      .filter(({ status }) => status >= 500 || status === 403 || status === 429)
      .map(({ at, operation, status, uri }) => ({
        source: 'storage',
        at,
        what: `${operation} ${uri.split('?')[0]}: ${status}`,
      })),
  attestation: ({ attestation = [] }) =>
    attestation
      .filter(({ ResultSignature, ResultType }) => Number(ResultSignature) >= 400 || ResultType === 'Failed')
      .map((row) => ({
        source: 'attestation',
        at: String(row.TimeGenerated),
        what: `${row.OperationName}: ${row.ResultSignature} ${row.ResultDescription ?? ''}`,
      })),
  activity: ({ activity = [] }) =>
    activity
      .filter((row) => TELLING.test(String(row.OperationNameValue)))
      .map((row) => ({
        source: 'activity',
        at: String(row.TimeGenerated),
        what: `${row.OperationNameValue}: ${row.ActivityStatusValue}, by ${row.Caller}`,
      })),
};

export function findingLines({ says, checks, evidence, next }: Finding): string[] {
  return [
    says,
    ...checks.map((check) => `  not: ${check}`),
    ...evidence.map(({ source, at, what }) => `  seen: ${source} ${at}  ${what}`),
    ...next.map((step) => `  do: ${step}`),
  ];
}
