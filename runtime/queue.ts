import { sha256, toHex, utf8 } from './crypto/bytes.ts';
import type { BlobStore } from './data/blob-store.ts';
import { type ErrorCode, SecureTrainingError } from './errors.ts';

/** A run in the queue: the folder `RUN/` of container `runs`, made whole by its `run.json`, which is written last. */
export interface RunRequest {
  readonly version: 1;
  readonly runId: string;
  /** SHA-256 (hex) of the agreement's payload. */
  readonly agreementDigest: string;
  /** RFC 3339, by the clock of whoever asked. */
  readonly requestedAt: string;
}

/** How far a run is. Written by the trainer for people to read; nothing is decided on it but whether a run is still to be done. */
export interface RunStatus {
  readonly version: 1;
  readonly runId: string;
  readonly state: 'queued' | 'running' | 'interrupted' | 'refused' | 'finished';
  /** The step of design section 5 that is being done, or was when it ended. */
  readonly step: string;
  readonly code?: ErrorCode;
  readonly message?: string;
  readonly failures?: readonly string[];
  readonly progress?: RunProgress;
  readonly updatedAt: string;
}

export interface RunProgress {
  readonly epoch: number;
  readonly epochs: number;
  readonly step: number;
  readonly steps: number;
  readonly samplesPerSecond: number;
  /** Only if the agreement lets `loss` out. */
  readonly loss?: number;
  /** Of differential privacy, spent so far. @default - a run without */
  readonly epsilon?: number;
}

/** A lease lasts this long after its holder dies; a restarted machine gets its own one back at once. */
const LEASE_SECONDS = 60;

const RUN_ID = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` */
export function checkRunId(runId: string): string {
  if (!RUN_ID.test(runId)) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `run id '${runId}': wanted up to 63 of a-z, 0-9 and -, first a letter or digit`,
    );
  }
  return runId;
}

/** Puts a run in the queue: agreement first, request last, so that a half-made folder is never taken. */
export async function queueRun(runs: BlobStore, request: RunRequest, agreement: Uint8Array): Promise<void> {
  const folder = checkRunId(request.runId);
  await runs.put(`${folder}/agreement.dsse.json`, agreement);
  if ((await runs.put(`${folder}/run.json`, utf8(JSON.stringify(request)), { ifNoneMatch: '*' })) === undefined) {
    throw new SecureTrainingError('CONFIG_INVALID', `run ${folder} exists already`);
  }
}

/** A run of the queue, for those who watch. */
export interface ListedRun {
  readonly request: RunRequest;
  readonly status: RunStatus | undefined;
}

/** All runs there are, oldest first. A folder that is no run is passed over. */
export async function listRuns(runs: BlobStore): Promise<ListedRun[]> {
  const listed: ListedRun[] = [];
  for (const runId of await runFolders(runs)) {
    const request = parseRunRequest(await readBlob(runs, `${runId}/run.json`), runId);
    listed.push({ request, status: await readStatus(runs, runId) });
  }
  return listed;
}

/** Whether a run is still to be done: neither finished nor refused. */
export function isOpen(status: RunStatus | undefined): boolean {
  return status?.state !== 'finished' && status?.state !== 'refused';
}

/** Finished runs of an agreement, as far as the store shows them: the platform could hide some (docs/limitations.md). */
export async function countFinished(runs: BlobStore, agreementDigest: string): Promise<number> {
  const finished = (await listRuns(runs)).filter(
    ({ request, status }) => request.agreementDigest === agreementDigest && status?.state === 'finished',
  );
  return finished.length;
}

/** A run that this machine holds the lease of. */
export interface TakenRun {
  readonly request: RunRequest;
  readonly agreement: Uint8Array;
  /** False when the lease is lost: another machine may have the run. */
  renew(): Promise<boolean>;
  release(): Promise<void>;
}

/**
 * Takes the oldest run that is neither finished nor refused and that no other machine holds.
 * The lease id is derived from machine and run, so a machine that was killed gets its own lease back without waiting.
 */
export async function takeRun(runs: BlobStore, machineId: string): Promise<TakenRun | undefined> {
  for (const runId of await openRuns(runs)) {
    const name = `${runId}/run.json`;
    const leaseId = leaseIdFor(machineId, runId);
    if (!(await runs.acquireLease(name, leaseId, LEASE_SECONDS))) continue;
    return {
      request: parseRunRequest(await readBlob(runs, name), runId),
      agreement: await readBlob(runs, `${runId}/agreement.dsse.json`),
      renew: () => runs.renewLease(name, leaseId),
      release: () => runs.releaseLease(name, leaseId),
    };
  }
  return undefined;
}

/** Runs still to be done, oldest first. */
async function openRuns(runs: BlobStore): Promise<string[]> {
  const open: string[] = [];
  for (const runId of await runFolders(runs)) {
    const status = await readStatus(runs, runId);
    if (isOpen(status)) open.push(runId);
  }
  return open;
}

async function runFolders(runs: BlobStore): Promise<string[]> {
  const found: { runId: string; since: number }[] = [];
  for await (const blob of runs.list('')) {
    const [runId, file, ...rest] = blob.name.split('/');
    if (runId !== undefined && file === 'run.json' && rest.length === 0) {
      found.push({ runId, since: blob.lastModified.getTime() });
    }
  }
  found.sort((a, b) => a.since - b.since || (a.runId < b.runId ? -1 : 1));
  return found.map(({ runId }) => runId);
}

export async function readStatus(runs: BlobStore, runId: string): Promise<RunStatus | undefined> {
  const blob = await runs.get(`${runId}/status.json`);
  return blob === undefined ? undefined : (JSON.parse(new TextDecoder().decode(blob.bytes)) as RunStatus);
}

export async function writeStatus(runs: BlobStore, status: RunStatus): Promise<void> {
  await runs.put(`${status.runId}/status.json`, utf8(JSON.stringify(status)));
}

/**
 * A blob that must be there.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` naming it when it is not
 */
export async function readBlob(store: BlobStore, name: string): Promise<Uint8Array> {
  const blob = await store.get(name);
  if (blob === undefined) throw new SecureTrainingError('CONFIG_INVALID', `${name}: there is no such blob`);
  return blob.bytes;
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` */
function parseRunRequest(bytes: Uint8Array, runId: string): RunRequest {
  let value: Partial<RunRequest>;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes)) as Partial<RunRequest>;
  } catch (cause) {
    throw new SecureTrainingError('CONFIG_INVALID', `run ${runId}: run.json is not JSON`, { cause });
  }
  if (value.version !== 1 || value.runId !== runId || !/^[0-9a-f]{64}$/.test(value.agreementDigest ?? '')) {
    throw new SecureTrainingError('CONFIG_INVALID', `run ${runId}: run.json does not describe this run`);
  }
  return value as RunRequest;
}

/** A GUID, as blob leases want, that the same machine computes again for the same run. */
function leaseIdFor(machineId: string, runId: string): string {
  const hex = toHex(sha256(utf8(`lease/v1|${machineId}|${runId}`)));
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-');
}
