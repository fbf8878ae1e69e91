import { EMPTY_HEAD, nextHead, type SecurityEvent } from '../../runtime/events.ts';

/**
 * Events whose chain (runtime/events.ts) does not lead to them: one before is missing, or something was changed. A run that
 * was taken up again begins a chain of its own. Rows may come in any order; that a chain's last events are missing only the
 * head in the run's receipt shows.
 */
export function brokenLinks(events: readonly SecurityEvent[]): ReadonlySet<SecurityEvent> {
  const runs = Map.groupBy(events, ({ RunId }) => RunId);
  return new Set([...runs.values()].flatMap((run) => run.filter((event, index) => !isLinked(event, index, run))));
}

function isLinked({ Head, ...body }: SecurityEvent, index: number, run: readonly SecurityEvent[]): boolean {
  const follows = (head: string | undefined) => head !== undefined && nextHead(head, body) === Head;
  // The row before is nearly always the one; rows of one millisecond may be exchanged.
  return follows(run[index - 1]?.Head) || follows(EMPTY_HEAD) || run.some((other) => follows(other.Head));
}
