import type { SecurityEvent } from '../../runtime/events.ts';
import type { JoinedLogs, RunSpan, Verdict } from './access-log.ts';
import { disagreement, isRelease, isSameKey, SLACK_MS } from './access-releases.ts';
import type { StorageRow, VaultRow } from './access-rows.ts';

/** Operations that use or show a key's public half only, or the vault's description. */
const HARMLESS = /^(key(get|list|listversions|wrap|encrypt|verify|rotationpolicyget)|vaultget)$/i;
/** Operations that use a key's private half without attestation, take it out of the vault, or bring a known one in. */
const OPENING = /^key(unwrap|decrypt|sign|backup|restore|import|export)$/i;

/** What explains a request to the vault. */
export function vaultVerdict(row: VaultRow, input: JoinedLogs, matched: ReadonlyMap<VaultRow, SecurityEvent>): Verdict {
  const isRefused = row.status >= 400;
  const unexplained = (flag: string): Verdict => ({ explained: '', flag: isRefused ? `${flag} (refused)` : flag });
  if (isRelease(row)) return releaseVerdict(row, input, matched.get(row), unexplained);
  const isOwner = input.owners.includes(row.principal);
  if (HARMLESS.test(row.operation)) {
    const isTold = isOwner || row.principal === input.trainerPrincipal || input.known.includes(row.principal);
    return isDenied(row) && !isTold
      ? unexplained('somebody who is not known asked the vault')
      : { explained: isOwner ? 'owner' : 'public half only' };
  }
  const isData = isDataKey(row, input);
  if (isData && OPENING.test(row.operation)) return unexplained('a data key used without attestation');
  const rotation = rotationOf(row, input);
  if (isOwner && rotation !== undefined) return { explained: rotation };
  // A new version harms nobody until its owner seals to it; any other change of a data key may open it.
  if (isOwner && /^key/i.test(row.operation) && (!isData || /^keycreate$/i.test(row.operation)))
    return { explained: 'owner' };
  return unexplained(
    OPENING.test(row.operation)
      ? 'a key used by somebody who is not its owner'
      : isData
        ? 'a change of a data key'
        : 'a change of a key or of the vault',
  );
}

/** What a client asks first, without a token, to be told where to get one; its address is that of what it asks next. */
export function isChallenge({ principal, status }: VaultRow): boolean {
  return principal === '' && status === 401;
}

function releaseVerdict(
  row: VaultRow,
  { runs, trainerPrincipal, agreements }: JoinedLogs,
  event: SecurityEvent | undefined,
  unexplained: (flag: string) => Verdict,
): Verdict {
  if (row.principal !== trainerPrincipal) return unexplained("a release to another identity than the machines'");
  if (event !== undefined) {
    const flag = row.status >= 400 ? undefined : disagreement(event, event, agreements);
    return flag === undefined ? { explained: event.RunId } : unexplained(flag);
  }
  // An attempt that was refused is repeated when the vault says so: the event tells how it ended.
  const during = row.status >= 400 ? runAt(runs, row.at) : undefined;
  return during === undefined
    ? { ...unexplained('a release that no run asked for'), awaits: true }
    : { explained: during };
}

/** The record of a rotation that made this version, or that gave the owner reason to retire it. */
function rotationOf({ operation, keyId, at }: VaultRow, { rotations }: JoinedLogs): string | undefined {
  const found = rotations.find(({ to, from, rotatedAt }) =>
    /^keycreate$/i.test(operation)
      ? isSameKey(to, keyId)
      : /^keyupdate$/i.test(operation) &&
        from.some((old) => old.toLowerCase() === keyId.toLowerCase()) &&
        Date.parse(at) >= Date.parse(rotatedAt),
  );
  return found === undefined ? undefined : `owner: rotation of ${found.rotatedAt}`;
}

function isDataKey({ keyId, uri }: VaultRow, { dataKeys }: JoinedLogs): boolean {
  const name = nameOf(keyId) ?? nameOf(uri);
  return name !== undefined && dataKeys.some((each) => each.toLowerCase() === name.toLowerCase());
}

function nameOf(url: string): string | undefined {
  return /\/keys\/([^/?]+)/i.exec(url)?.[1];
}

/** What explains a request to storage. */
export function storageVerdict(row: StorageRow, input: JoinedLogs): Verdict {
  const { principal, authentication, at } = row;
  if (!/^oauth$/i.test(authentication))
    return { explained: '', flag: `access by ${authentication}, not by an identity` };
  if (isDenied(row)) return { explained: '', flag: 'storage refused it' };
  if (input.owners.includes(principal)) return { explained: 'owner' };
  if (principal !== input.trainerPrincipal) {
    return input.known.includes(principal)
      ? { explained: 'known' }
      : { explained: '', flag: 'sealed data touched by somebody who is not known' };
  }
  // A machine looks into the queue before it has a run, and into datasets only for one.
  const run = runAt(input.runs, at);
  if (run !== undefined || !pathOf(row.uri).startsWith('/datasets')) return { explained: run ?? 'trainer' };
  return { explained: '', flag: "the machines' identity touched sealed data while no run was on", awaits: true };
}

/** Whether a row is worth a line although it is explained: datasets, and what runs seal. */
export function isAboutData({ uri }: StorageRow): boolean {
  return /^\/(datasets(\/|$)|runs\/[^/]+\/(model|annex|checkpoints)\/)/.test(pathOf(uri));
}

export function pathOf(uri: string): string {
  try {
    return decodeURIComponent(new URL(uri).pathname);
  } catch {
    return uri;
  }
}

/** 401 and 403; other refusals (no such blob, a condition not met) are part of how clients work. */
function isDenied({ status }: { readonly status: number }): boolean {
  return status === 401 || status === 403;
}

/** The run that was on. */
function runAt(runs: readonly RunSpan[], time: string): string | undefined {
  const at = Date.parse(time);
  return runs.find(({ from, to }) => from - SLACK_MS <= at && at <= to + SLACK_MS)?.runId;
}
