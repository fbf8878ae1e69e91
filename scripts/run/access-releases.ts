import type { SecurityEvent } from '../../runtime/events.ts';
import type { AccessLogInput, AgreedAccess } from './access-log.ts';
import type { VaultRow } from './access-rows.ts';

/** How far apart clocks of a machine and a service may be, and how long after its last event a run may still write. */
export const SLACK_MS = 5 * 60_000;

interface MatchedReleases {
  readonly byRow: ReadonlyMap<VaultRow, SecurityEvent>;
  readonly byEvent: ReadonlyMap<SecurityEvent, VaultRow>;
}

/** One row for one event: a second release of the same key in the same minute is not explained by the first. */
export function matchReleases({ trainer, vault, trainerPrincipal }: AccessLogInput): MatchedReleases {
  const byRow = new Map<VaultRow, SecurityEvent>();
  const byEvent = new Map<SecurityEvent, VaultRow>();
  const released = trainer.filter(({ Event }) => Event === 'key.released');
  // What succeeded first: a machine may refuse what a vault granted (another key, another policy), never the reverse.
  for (const event of [
    ...released.filter(({ Outcome }) => Outcome === 'success'),
    ...released.filter(({ Outcome }) => Outcome !== 'success'),
  ]) {
    const distance = ({ at }: VaultRow) => Math.abs(Date.parse(at) - Date.parse(event.TimeGenerated));
    const [nearest] = vault
      .filter(
        (row) =>
          isRelease(row) &&
          !byRow.has(row) &&
          row.principal === trainerPrincipal &&
          isSameKey(row.keyId, event.KeyId) &&
          (event.Outcome === 'failure' || row.status < 400) &&
          distance(row) <= SLACK_MS,
      )
      .sort((a, b) => distance(a) - distance(b));
    if (nearest === undefined) continue;
    byRow.set(nearest, event);
    byEvent.set(event, nearest);
  }
  return { byRow, byEvent };
}

/** The last release of the key of `event` to its run before it. */
export function releaseBefore(event: SecurityEvent, releases: readonly SecurityEvent[]): SecurityEvent | undefined {
  return releases.findLast(
    ({ RunId, KeyId, TimeGenerated }) =>
      RunId === event.RunId && isSameKey(KeyId, event.KeyId) && TimeGenerated <= event.TimeGenerated,
  );
}

/** What speaks against an access although a run asked for it: expiry is that of its release. */
export function disagreement(
  { Agreement, KeyId, Manifest }: SecurityEvent,
  { TimeGenerated }: SecurityEvent,
  agreements: ReadonlyMap<string, AgreedAccess>,
): string | undefined {
  if (Agreement === '') return 'the run names no agreement';
  const agreed = agreements.get(Agreement);
  if (agreed === undefined) return `no agreement ${Agreement.slice(0, 12)} that all its parties signed is known`;
  if (!agreed.keyIds.some((keyId) => isSameKey(keyId, KeyId))) return 'its agreement does not name this key';
  const other = Manifest.split(' ').find((digest) => digest !== '' && !agreed.manifests.includes(digest));
  if (other !== undefined) return `its agreement does not name manifest ${other.slice(0, 12)}`;
  return Date.parse(TimeGenerated) <= Date.parse(agreed.notAfter)
    ? undefined
    : `its agreement expired ${agreed.notAfter}`;
}

/** Nobody has published a row of a release yet: it may be known by its address only (docs/first-deployment.md, K5). */
export function isRelease({ operation, uri }: VaultRow): boolean {
  return /^keyrelease$/i.test(operation) || /\/release\/?(\?|$)/i.test(uri);
}

/** Vaults compare names without case; an id without a version is about the newest, which may be any. */
export function isSameKey(a: string, b: string): boolean {
  const [one, other] = [a.toLowerCase(), b.toLowerCase()];
  return one !== '' && (one === other || other.startsWith(`${one}/`) || one.startsWith(`${other}/`));
}
