import type { SecurityEvent } from '../../runtime/events.ts';
import { brokenLinks } from './access-chain.ts';
import { disagreement, matchReleases, releaseBefore } from './access-releases.ts';
import type { StorageRow, VaultRow } from './access-rows.ts';
import { isAboutData, isChallenge, pathOf, storageVerdict, vaultVerdict } from './access-verdicts.ts';

/** What an agreement that all its parties signed lets happen. */
export interface AgreedAccess {
  /** Versioned ids of the keys it names. */
  readonly keyIds: readonly string[];
  /** Hex digests. */
  readonly manifests: readonly string[];
  /** RFC 3339. */
  readonly notAfter: string;
}

/** What an owner signed about a rotation of keys. */
export interface OwnersRotation {
  readonly from: readonly string[];
  readonly to: string;
  /** RFC 3339. */
  readonly rotatedAt: string;
}

export interface AccessLogInput {
  readonly trainer: readonly SecurityEvent[];
  readonly vault: readonly VaultRow[];
  readonly storage: readonly StorageRow[];
  /** The vault whose log it is: of other owners' there is none here. */
  readonly vaultHost: string;
  /** Object id of the machines' identity. */
  readonly trainerPrincipal: string;
  /** Object ids that a data owner acts under: may use keys of the owner's own, and read and write sealed data. */
  readonly owners: readonly string[];
  /** Object ids of people and programs that may read and write sealed data; never enough for a key. */
  readonly known: readonly string[];
  /** Names of the keys that data are sealed to. */
  readonly dataKeys: readonly string[];
  /** Agreements that hold, by digest. */
  readonly agreements: ReadonlyMap<string, AgreedAccess>;
  readonly rotations: readonly OwnersRotation[];
  /**
   * What is younger may lack its counterpart in another log.
   * @default - every log is complete
   */
  readonly completeUntil?: Date;
}

/** What verdicts are found by: the input, trainers' events in their order, and what follows from them. */
export interface JoinedLogs extends AccessLogInput {
  readonly runs: readonly RunSpan[];
  /** Successful ones, as the trainers tell. */
  readonly releases: readonly SecurityEvent[];
}

/** When a run was on: from its first event to its last, in milliseconds since 1970. */
export interface RunSpan {
  readonly runId: string;
  readonly from: number;
  readonly to: number;
}

/** What is made of an access: what explains it, or why nothing does. */
export interface Verdict {
  /** Run, `owner`, `known`, a rotation or a word for what needs no explanation; '' beside a flag. */
  readonly explained: string;
  readonly flag?: string;
  /** The flag rests on a row that is missing: it may still be on its way. */
  readonly awaits?: true;
}

/** One line of the joined log. */
export interface AccessEntry {
  readonly at: string;
  readonly source: 'trainer' | 'vault' | 'storage';
  /** Machine, object id, or '' where the log names nobody. */
  readonly who: string;
  readonly what: string;
  readonly outcome: 'success' | 'failure';
  readonly keyId: string;
  readonly manifest: string;
  /** Of a vault's row: what Azure's other logs know the request by. */
  readonly correlationId?: string;
  readonly explained: string;
  readonly flag?: string;
  /** What would be flagged, were the logs complete up to here. */
  readonly pending?: string;
}

/**
 * Joins what trainers say with what vault and storage saw, and flags what no run under an agreement explains: releases
 * nobody's run asked for, any other use or change of a data key, reads by others, and what a trainer says that the vault
 * knows nothing of. Oldest first. Only what is explained and touches nothing sealed has no line.
 */
export function joinAccessLogs(input: AccessLogInput): AccessEntry[] {
  const trainer = input.trainer.toSorted((a, b) => compare(a.TimeGenerated, b.TimeGenerated));
  const all: JoinedLogs = { ...input, trainer, runs: runsOf(trainer), releases: trainer.filter(isReleased) };
  const matched = matchReleases(all);
  const broken = brokenLinks(trainer);
  const entries = [
    ...trainer.map((event) => {
      const verdict = broken.has(event)
        ? {
            explained: '',
            flag: 'events of this run before this one are missing or were changed',
            awaits: true as const,
          }
        : trainerVerdict(event, all, matched.byEvent);
      return entryOf(trainerFacts(event), verdict, input.completeUntil);
    }),
    ...input.vault
      .filter((row) => !isChallenge(row))
      .map((row) => entryOf(vaultFacts(row), vaultVerdict(row, all, matched.byRow), input.completeUntil)),
    ...input.storage.flatMap((row) => {
      const entry = entryOf(storageFacts(row), storageVerdict(row, all), input.completeUntil);
      return entry.flag === undefined && entry.pending === undefined && !isAboutData(row) ? [] : [entry];
    }),
  ];
  return entries.sort((a, b) => compare(a.at, b.at));
}

type Facts = Omit<AccessEntry, 'explained' | 'flag' | 'pending'>;

function entryOf(facts: Facts, { explained, flag, awaits }: Verdict, completeUntil: Date | undefined): AccessEntry {
  if (flag === undefined) return { ...facts, explained };
  const mayCome = awaits === true && completeUntil !== undefined && Date.parse(facts.at) > completeUntil.getTime();
  return { ...facts, explained: '', ...(mayCome ? { pending: flag } : { flag }) };
}

function trainerFacts(event: SecurityEvent): Facts {
  const { TimeGenerated: at, Machine: who, Event, Detail, Outcome: outcome, KeyId: keyId, Manifest: manifest } = event;
  return { at, source: 'trainer', who, what: `${Event} ${Detail}`.trimEnd(), outcome, keyId, manifest };
}

function vaultFacts({ at, principal, operation, address, status, keyId, correlationId }: VaultRow): Facts {
  const what = `${operation} from ${address === '' ? 'an unknown address' : address}`;
  return { at, source: 'vault', who: principal, what, outcome: outcomeOf(status), keyId, manifest: '', correlationId };
}

function storageFacts({ at, principal, operation, uri, status }: StorageRow): Facts {
  const what = `${operation} ${pathOf(uri)}`;
  return { at, source: 'storage', who: principal, what, outcome: outcomeOf(status), keyId: '', manifest: '' };
}

const OPENINGS = ['data.opened', 'object.opened', 'checkpoint.opened'];

function trainerVerdict(
  event: SecurityEvent,
  { releases, agreements, vaultHost }: JoinedLogs,
  matched: ReadonlyMap<SecurityEvent, VaultRow>,
): Verdict {
  const { Event, Outcome, RunId } = event;
  if (Outcome === 'failure') return { explained: RunId === '' ? 'refused before any run' : RunId };
  if (Event === 'key.released') {
    const isOurs = event.KeyId.toLowerCase().startsWith(`https://${vaultHost}/`.toLowerCase());
    if (isOurs && !matched.has(event)) {
      const flag = 'the trainer says it was released this key, the vault has no such release';
      return { explained: '', flag, awaits: true };
    }
    return verdictOf(disagreement(event, event, agreements), RunId);
  }
  if (!OPENINGS.includes(Event)) return { explained: RunId };
  const release = releaseBefore(event, releases);
  if (release === undefined) {
    return { explained: '', flag: 'opened by a run that was released no such key before', awaits: true };
  }
  // A run that began in time may go on: an agreement's end stops the next release.
  return verdictOf(disagreement(event, release, agreements), RunId);
}

function verdictOf(flag: string | undefined, explained: string): Verdict {
  return flag === undefined ? { explained } : { explained: '', flag };
}

function isReleased({ Event, Outcome }: SecurityEvent): boolean {
  return Event === 'key.released' && Outcome === 'success';
}

function runsOf(trainer: readonly SecurityEvent[]): RunSpan[] {
  const runs = Map.groupBy(
    trainer.filter(({ RunId }) => RunId !== ''),
    ({ RunId }) => RunId,
  );
  return [...runs].map(([runId, events]) => {
    const [first, last] = [events[0], events.at(-1)].map((event) => Date.parse(event?.TimeGenerated ?? ''));
    return { runId, from: first ?? 0, to: last ?? 0 };
  });
}

/** What no log shows to be refused counts as granted. */
function outcomeOf(status: number): AccessEntry['outcome'] {
  return status >= 400 ? 'failure' : 'success';
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
