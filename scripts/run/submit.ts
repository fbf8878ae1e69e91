import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import { deallocateMachine, machineState, startMachine } from '../../runtime/azure/resource-manager.ts';
import type { BlobStore } from '../../runtime/data/blob-store.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { putInitialWeights } from '../../runtime/initial-weights.ts';
import {
  isOpen,
  type ListedRun,
  listRuns,
  queueRun,
  type RunProgress,
  type RunStatus,
  readStatus,
  writeStatus,
} from '../../runtime/queue.ts';
import { verifyAgreement } from '../../runtime/statements/agreement.ts';
import type { Context } from '../context.ts';
import { Interruption } from '../interrupt.ts';
import type { StepState } from '../progress.ts';
import { count } from '../progress.ts';

/** How often a watcher looks: the emulator is next door, Azure bills by the request. */
const POLL_MS = { emulator: 200, azure: 3000 } as const;
/** A machine that is not there although a run is: looked at this often before it is called gone. */
const GONE_AFTER_POLLS = 15;

export function runStore({ network, credential, deployment }: Context): BlobStore {
  return blobStore(network, credential, deployment.storage.blobEndpoint, 'runs');
}

export interface Submission {
  readonly runId: string;
  /** True when an unfinished run of the same agreement goes on instead of a new one. */
  readonly attached: boolean;
}

/**
 * Queues a run of an agreement, or goes on with an unfinished one of the same agreement, and starts the machine.
 * @param initialWeights the file that the agreement names, where it names one
 * @throws {@link SecureTrainingError} `CONSENT_MISSING` when a signature is missing or the agreement has expired
 */
export async function submitRun(
  context: Context,
  agreement: Uint8Array,
  now: Date,
  initialWeights?: Uint8Array,
): Promise<Submission> {
  const { agreement: agreed, digest } = verifyAgreement(agreement, {
    trainerSha256: context.deployment.trainer.bundleSha256,
    now,
  });
  const runs = runStore(context);
  const unfinished = (await listRuns(runs)).findLast(
    ({ request, status }) => request.agreementDigest === digest && isOpen(status),
  );
  const runId = unfinished?.request.runId ?? newRunId(now);
  if (unfinished === undefined) {
    await putInitialWeights(runs, runId, agreed, initialWeights);
    await queueRun(runs, { version: 1, runId, agreementDigest: digest, requestedAt: now.toISOString() }, agreement);
  }
  if (unfinished?.status?.state !== 'running' || (await currentMachineState(context)) !== 'running') {
    await writeStatus(runs, { version: 1, runId, state: 'queued', step: 'queued', updatedAt: now.toISOString() });
  }
  await startMachine(context.network, context.credential, machineOf(context));
  return { runId, attached: unfinished !== undefined };
}

/** The run that was asked for last: names tell only the second. */
export function newestRun(listed: readonly ListedRun[]): ListedRun | undefined {
  return listed.toSorted((a, b) => (a.request.requestedAt < b.request.requestedAt ? -1 : 1)).at(-1);
}

/**
 * Follows a run to its end.
 * @param signal ends the watching, and the machine too where it would end with this command
 * @throws {@link SecureTrainingError} with the code the trainer ended with; `UNAVAILABLE` when the machine went away
 */
export async function watchRun(
  context: Context,
  runId: string,
  show: (state: StepState) => void,
  signal?: AbortSignal,
): Promise<RunStatus> {
  const runs = runStore(context);
  for (let missed = 0; ; ) {
    if (signal?.aborted) throw await stopped(context, runId);
    const status = await readStatus(runs, runId);
    if (status?.state === 'finished') return status;
    if (status?.state === 'refused' || status?.state === 'interrupted') {
      throw new SecureTrainingError(
        status.code ?? 'UNAVAILABLE',
        `run ${runId}, ${status.step}: ${status.message ?? 'ended'}`,
        {
          failures: status.failures ?? [],
        },
      );
    }
    if (status !== undefined) show(stateOf(status));
    // A start takes long where the bundle is large.
    missed = ['starting', 'running'].includes(await currentMachineState(context)) ? 0 : missed + 1;
    if (missed > GONE_AFTER_POLLS) {
      throw new SecureTrainingError(
        'UNAVAILABLE',
        `run ${runId}: the machine stopped during ${status?.step ?? 'start'}; the same command goes on from the newest checkpoint`,
      );
    }
    await delay(POLL_MS[context.deployment.kind], undefined, signal === undefined ? {} : { signal }).catch(
      () => undefined,
    );
  }
}

/** Ends an emulated machine as its shutdown does, with a checkpoint; another one goes on without anybody who watches. */
async function stopped(context: Context, runId: string): Promise<Interruption> {
  if (context.startedEmulator !== true) {
    return new Interruption(`${runId} goes on in the deployment: the same command follows it again`);
  }
  await deallocateMachine(context.network, context.credential, machineOf(context));
  while ((await currentMachineState(context)) !== 'deallocated') await delay(POLL_MS.emulator);
  const status = await readStatus(runStore(context), runId);
  if (status?.state === 'finished') return new Interruption(`${runId} has finished: the same command opens its model`);
  const [, step] = /checkpoint, of step (\d+),/.exec(status?.message ?? '') ?? [];
  return new Interruption(
    step === undefined
      ? `stopped: the same command goes on with ${runId}`
      : `stopped after step ${step}, checkpoint kept: the same command goes on from there`,
  );
}

async function currentMachineState(context: Context): Promise<string> {
  return machineState(context.network, context.credential, machineOf(context));
}

function machineOf({ deployment }: Context): string {
  const [first] = deployment.trainer.vmIds;
  if (first === undefined) throw new SecureTrainingError('CONFIG_INVALID', 'the deployment has no trainer machine');
  return first;
}

function stateOf({ step, progress }: RunStatus): StepState {
  if (progress === undefined) return { fraction: 0, detail: step };
  return { fraction: progress.steps === 0 ? 0 : progress.step / progress.steps, detail: progressText(progress) };
}

export function progressText({ epoch, epochs, samplesPerSecond, loss, epsilon }: RunProgress): string {
  const spent = epsilon === undefined ? '' : `, epsilon ${epsilon.toFixed(2)}`;
  const shown = `${loss === undefined ? '' : `, loss ${loss.toFixed(4)}`}${spent}`;
  return `epoch ${epoch}/${epochs}, ${count(samplesPerSecond)} samples/s${shown}`;
}

/** Sorts by time, and two made in the same second differ. */
function newRunId(now: Date): string {
  const stamp = now.toISOString().replace(/[-:]/g, '').slice(0, 15).toLowerCase();
  return `run-${stamp.replace('t', '-')}-${randomBytes(3).toString('hex')}`;
}
