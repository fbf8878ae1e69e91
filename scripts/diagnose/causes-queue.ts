import type { Cause } from './cause.ts';
import type { Facts } from './facts.ts';

/** A trainer writes at least twice a second while it trains; before and after, each step is far shorter than this. */
const SILENT_MS = 5 * 60_000;

const isOff = ({ machine }: Facts) => machine !== undefined && machine !== 'running' && machine !== 'starting';
const waits = ({ status }: Facts) => status === undefined || status.state === 'queued';

/** What the queue and the machine say where nobody else says anything. */
export const QUEUE_CAUSES: readonly Cause[] = [
  {
    name: 'machine-gone',
    code: 'UNAVAILABLE',
    recognise: (facts) => {
      const { status, machine, now } = facts;
      if (status?.state !== 'running' || !isOff(facts)) return undefined;
      return {
        evidence: [
          { source: 'machine', at: now.toISOString(), what: `${machine}` },
          { source: 'status', at: status.updatedAt, what: `running, step ${status.step}` },
        ],
      };
    },
    says: 'The machine went away while it did the run: killed, deallocated or out of restarts.',
    next: ['ctrain train --data FILE: the same command goes on from the newest checkpoint'],
    logs: ['activity', 'trainer'],
  },
  {
    name: 'nothing-heard',
    code: 'UNAVAILABLE',
    recognise: ({ status, now }) => {
      if (status?.state !== 'running' || !(now.getTime() - Date.parse(status.updatedAt) > SILENT_MS)) return undefined;
      return { evidence: [{ source: 'status', at: status.updatedAt, what: `nothing since, step ${status.step}` }] };
    },
    says: 'Nothing was heard of the run since then, although its machine is on: it hangs, or does not reach the store.',
    next: ['ctrain doctor', 'restart the machine: the run goes on from the newest checkpoint'],
    logs: ['activity', 'trainer', 'storage'],
  },
  {
    name: 'not-started',
    code: 'UNAVAILABLE',
    recognise: (facts) => {
      if (!waits(facts) || !isOff(facts)) return undefined;
      return { evidence: [{ source: 'machine', at: facts.now.toISOString(), what: `${facts.machine}` }] };
    },
    says: 'The run waits and its machine is off: nobody started it, or it ended before it took the run.',
    next: [
      'ctrain train --data FILE: the same command starts the machine again',
      'ctrain doctor: quota, or who may start it',
    ],
    logs: ['activity'],
  },
  {
    name: 'waits-its-turn',
    recognise: (facts) => {
      if (!waits(facts) || facts.ahead.length === 0) return undefined;
      const evidence = facts.ahead.map((runId) => ({
        source: 'queue' as const,
        at: facts.now.toISOString(),
        what: runId,
      }));
      return { evidence };
    },
    says: 'The run waits for its turn: these runs come before it.',
    next: ['ctrain runs'],
  },
  {
    name: 'running',
    recognise: ({ status }) =>
      status?.state === 'running'
        ? { evidence: [{ source: 'status', at: status.updatedAt, what: `running, step ${status.step}` }] }
        : undefined,
    says: 'Nothing is wrong: the run is being done.',
    next: ['ctrain runs'],
  },
  {
    name: 'not-fetched',
    recognise: ({ status, fetched }) =>
      status?.state === 'finished' && !fetched
        ? { evidence: [{ source: 'status', at: status.updatedAt, what: 'finished' }] }
        : undefined,
    says: 'The run has finished; its model was not opened here.',
    next: ['ctrain open-model RUN'],
  },
  {
    name: 'finished',
    recognise: ({ status, fetched }) =>
      status?.state === 'finished' && fetched
        ? { evidence: [{ source: 'status', at: status.updatedAt, what: 'finished' }] }
        : undefined,
    says: 'Nothing is wrong: the run has finished and its model was opened.',
    next: ['ctrain verify models/RUN'],
  },
  {
    name: 'waiting',
    recognise: (facts) =>
      waits(facts)
        ? { evidence: [{ source: 'machine', at: facts.now.toISOString(), what: `${facts.machine ?? 'not asked'}` }] }
        : undefined,
    says: 'The run waits for its machine to take it.',
    next: ['look again in a minute: ctrain diagnose'],
  },
];
