import type { Row } from '../../runtime/alerts/condition.ts';
import type { ErrorCode } from '../../runtime/errors.ts';
import type { SecurityEvent } from '../../runtime/events.ts';
import type { ListedRun, RunStatus } from '../../runtime/queue.ts';
import { CAUSES, STEPS } from './causes.ts';
import type { ConsoleFacts } from './console.ts';

export interface Facts {
  readonly run: ListedRun;
  readonly console: ConsoleFacts | undefined;
  /** Of this run, in the order in which they came. */
  readonly events: readonly SecurityEvent[];
  /** Of the vault, of any time. */
  readonly vault: readonly Row[];
  readonly now: Date;
}

/** Where a run stands, why, what says so, and what to do next. */
export interface Diagnosis {
  /** Nothing where nothing is wrong. */
  readonly code: ErrorCode | undefined;
  readonly what: string;
  /** What it rests on, a line each. */
  readonly evidence: readonly string[];
  readonly todo: string;
}

/** A machine that trains says how far it is every half second. */
const SILENT_AFTER_MS = 30_000;
/** A boot with its download takes some minutes. */
const BOOT_MS = 10 * 60_000;

/** What a download at boot ends with: 1 is ours, the others curl's (constructs/boot.ts). */
const FETCH_CODES: Readonly<Record<string, string>> = {
  '1': 'the identity has no token yet',
  '6': 'the name of the store is not found',
  '7': 'there is no way to the store',
  '22': 'the store refused, or has no such blob',
  '28': 'the store was too slow',
};

/** Joins what status, console, events and vault log say. Nothing of it is proof: the platform writes most of it. */
export function diagnose(facts: Facts): Diagnosis {
  const { status } = facts.run;
  if (status?.state === 'finished') {
    return fine(`the run finished on ${status.updatedAt}`, 'ctrain train with the same agreement opens its model');
  }
  if (status?.state === 'refused' || status?.state === 'interrupted') return ended(facts, status);
  if (status?.state === 'running') return running(facts, status);
  return beforeRun(facts);
}

function ended({ events, vault, run }: Facts, status: RunStatus): Diagnosis {
  const code = status.code ?? (status.state === 'interrupted' ? 'UNAVAILABLE' : 'CONFIG_INVALID');
  const { what, todo } = CAUSES[code];
  const failed = events.filter(({ Outcome, Event }) => Outcome === 'failure' && Event !== 'run.refused');
  return {
    code,
    what: `it was ${status.state} ${where(status.step)}: ${what}`,
    evidence: [
      ...(status.message === undefined ? [] : [`status, ${status.updatedAt}: ${status.message}`]),
      ...(status.failures ?? [])
        .filter((failure) => !status.message?.includes(failure))
        .map((each) => `failed check: ${each}`),
      ...failed.map(({ TimeGenerated, Event, Detail }) => `event, ${TimeGenerated}: ${Event} failed, ${Detail}`),
      ...(code === 'RELEASE_DENIED' ? refusals(vault, run.request.requestedAt) : []),
    ],
    todo,
  };
}

function running({ now, console }: Facts, status: RunStatus): Diagnosis {
  const silent = now.getTime() - Date.parse(status.updatedAt);
  if (silent <= SILENT_AFTER_MS) return fine(`it is running, ${where(status.step)}`, 'ctrain watch follows it');
  const stopped = console?.stopped;
  return {
    code: 'UNAVAILABLE',
    what: `nothing was heard for ${Math.round(silent / 1000)} s ${where(status.step)}: the machine has stopped, or cannot reach the store`,
    evidence: [
      `status, ${status.updatedAt}: the last word of the run`,
      ...(stopped === undefined
        ? []
        : [`console: the trainer's unit ended, ${stopped.result}, status ${stopped.code}`]),
    ],
    todo: CAUSES.UNAVAILABLE.todo,
  };
}

function beforeRun({ run, console, now }: Facts): Diagnosis {
  const asked = `request, ${run.request.requestedAt}: the run was put in the queue`;
  if (console?.refused !== undefined) {
    return {
      code: 'CONSENT_MISSING',
      what: 'the machine refused what it fetched at boot: it is not what the deployment pins',
      evidence: [`console: ${console.refused}`],
      todo: 'publish the bundle that bundleSha256 of the environment names (ctrain publish-trainer), or deploy with the digest of the one that is there',
    };
  }
  if (console?.hygiene !== undefined) {
    return {
      code: 'ATTESTATION_REJECTED',
      what: 'the trainer refused to start on its machine: something there could read memory',
      evidence: console.hygiene.split('; ').map((failure) => `failed check: ${failure}`),
      todo: 'deploy the machine anew; docs/runbook.md#machine-unhygienic',
    };
  }
  if (console?.waitingFor !== undefined) {
    const { what, code } = console.waitingFor;
    return {
      code: 'UNAVAILABLE',
      what: `the machine waits for ${what} at boot, and does not get it`,
      evidence: [`console: the last attempt ended with code ${code}, ${FETCH_CODES[code] ?? 'which curl explains'}`],
      todo: 'is it published (ctrain publish-trainer), has the identity its roles, and does the store resolve to its private endpoint? ctrain doctor asks all three',
    };
  }
  if (console?.open !== undefined) {
    return {
      code: 'ATTESTATION_REJECTED',
      what: 'the machine found a way in that should be closed',
      evidence: [`console: ${console.open} is active`],
      todo: 'deploy the machine anew from the pinned image',
    };
  }
  if (console?.stopped !== undefined) {
    return {
      code: 'UNAVAILABLE',
      what: 'the trainer ended before it took the run',
      evidence: [`console: ${console.stopped.result}, status ${console.stopped.code}`],
      todo: CAUSES.UNAVAILABLE.todo,
    };
  }
  const waited = now.getTime() - Date.parse(run.request.requestedAt);
  if (waited <= BOOT_MS)
    return fine('it is in the queue, and its machine has had little time yet', 'ctrain watch follows it');
  return {
    code: 'UNAVAILABLE',
    what: `no machine took the run in ${Math.round(waited / 60_000)} minutes`,
    evidence: [
      asked,
      console?.isWaiting === true
        ? 'console: the trainer waits for a run, so it looks at another store or another machine holds the lease'
        : 'console: no word of a boot',
    ],
    todo: 'start the same command again, which starts the machine; az vm boot-diagnostics get-boot-log --output tsv > console.log, then ctrain diagnose --console console.log',
  };
}

/** Releases that the vault refused since the run was asked for. */
function refusals(vault: readonly Row[], since: string): string[] {
  return vault
    .filter(({ TimeGenerated, OperationName, HttpStatusCode }) => {
      const isLater = String(TimeGenerated) >= since;
      return isLater && OperationName === 'KeyRelease' && Number(HttpStatusCode) >= 400;
    })
    .map(({ TimeGenerated, HttpStatusCode, ResultSignature, Id, CallerIpAddress }) => {
      return `vault, ${TimeGenerated}: KeyRelease of ${Id} refused with ${HttpStatusCode} ${ResultSignature ?? ''}, asked from ${CallerIpAddress}`;
    });
}

function where(step: string): string {
  return STEPS[step] ?? `at '${step}'`;
}

function fine(what: string, todo: string): Diagnosis {
  return { code: undefined, what, evidence: [], todo };
}
