import { join } from 'node:path';
import type { CheckpointChain, Torn } from './checkpoints.ts';
import { SecureTrainingError } from './errors.ts';
import type { EventChain } from './events.ts';
import { machineMemory } from './machine-memory.ts';
import type { OpenDatasets } from './open-datasets.ts';
import { isFinal, type RunReporter } from './run-reporter.ts';
import { consoleLine } from './run-steps.ts';
import type { Agreement } from './statements/agreement.ts';
import { runWorker, startWorker, type WorkerHandle, type WorkerResult } from './training/broker-side.ts';
import { CustomModuleError } from './training/custom-error.ts';
import { privacyOf } from './training/privacy/terms.ts';

/** What of an entry point's options matters to the worker. */
export interface WorkerSurroundings {
  /** Folder of the unpacked bundle. */
  readonly bundleDir: string;
  /** Whether a worker that the system cannot confine is refused. Production: true. */
  readonly requireConfinement: boolean;
  readonly say: (line: string) => void;
  readonly now: () => Date;
}

/** One run, ready to train. */
export interface Training {
  readonly agreement: Agreement;
  readonly lost: AbortSignal;
  readonly data: OpenDatasets;
  readonly initialWeights: Uint8Array | undefined;
  readonly chain: CheckpointChain;
  readonly reporter: RunReporter;
  readonly events: EventChain;
  /** For the owners' eyes. */
  readonly sealErrors: (text: string) => Promise<void>;
}

/**
 * Starts a worker, goes on from the newest checkpoint if there is one, and feeds it until it hands the model back. Every checkpoint
 * that is taken up or sealed and every object that is opened is an event.
 * @throws {@link SecureTrainingError} `ATTESTATION_REJECTED` for a worker that is not confined as it must be, else what the worker says
 */
export async function trainInWorker(
  options: WorkerSurroundings,
  { agreement, data, initialWeights, chain, lost, reporter, events, sealErrors }: Training,
): Promise<{ result: WorkerResult; worker: WorkerHandle }> {
  const { backend } = agreement.configuration.training;
  const skipped = (step: number, why: Torn) => {
    options.say(consoleLine({ step: 'checkpoint', state: 'skipped', checkpoint: step, reason: why }));
    events.record('checkpoint.skipped', 'failure', `step ${step} ${why}`, options.now());
  };
  const resume = await chain.newest(skipped).catch((error: unknown) => {
    if (isFinal(error))
      events.record('checkpoint.opened', 'failure', (error as SecureTrainingError).code, options.now());
    throw error;
  });
  if (resume !== undefined) {
    options.say(consoleLine({ step: 'resuming', checkpoint: resume.step }));
    events.record('checkpoint.opened', 'success', `step ${resume.step} tag ${chain.head}`, options.now(), {
      KeyId: chain.openerKeyId,
    });
  }
  const worker = await startWorker({
    node: process.execPath,
    script: join(options.bundleDir, 'worker.mjs'),
    bundleDir: options.bundleDir,
    confine: true,
    ...(backend === undefined || backend === 'auto' ? {} : { backend }),
  });
  let kept = resume?.step;
  const trainRows = data.shards.train.reduce((sum, rows) => sum + rows, 0);
  const openShard = recordedOpening(data, events, options.now);
  try {
    const { missing } = worker.confinement;
    if (missing.length > 0) {
      if (options.requireConfinement) {
        const failures = missing.map((name) => `worker: not (${name})`);
        throw new SecureTrainingError('ATTESTATION_REJECTED', `worker is not confined: ${failures.join('; ')}`, {
          failures,
        });
      }
      options.say(consoleLine({ step: 'worker', missing: missing.join(',') }));
    }
    // Hundreds of times slower than the others: nobody may take it for a machine that hangs.
    if (worker.engine.backend === 'cpu') options.say(consoleLine({ step: 'worker', backend: 'cpu', warning: 'slow' }));
    const result = await runWorker(worker, {
      config: agreement.configuration,
      schema: data.schema,
      shards: data.shards,
      ...(data.drawn === undefined ? {} : { drawn: data.drawn }),
      ...(initialWeights === undefined ? {} : { initialWeights }),
      ...(resume === undefined ? {} : { resume: resume.bytes }),
      memoryBytes: machineMemory(),
      openShard,
      abortSignal: lost,
      // Reckoned here: of how much the worker has spent it need not be believed.
      onProgress: (progress) =>
        reporter.progress(
          progress,
          agreement.metrics,
          privacyOf(agreement.configuration, trainRows, progress.step)?.epsilon,
        ),
      onCheckpoint: async (step, bytes) => {
        await chain.save({ step, bytes });
        kept = step;
        events.record('checkpoint.sealed', 'success', `step ${step} tag ${chain.head}`, options.now());
      },
      onMetric: (metric) => {
        if (agreement.metrics.includes(metric.name)) reporter.metric(metric);
      },
    });
    return { result, worker };
  } catch (error) {
    if (error instanceof CustomModuleError) {
      const text = `${error.message}\n\n${error.text}\n\noutput of the worker:\n${worker.output()}`;
      // What it said is worth less than that the run is told to have ended.
      await sealErrors(text).catch(() => options.say(consoleLine({ step: 'sealing-errors', state: 'failed' })));
    }
    const ends = isFinal(error) || (lost.aborted && error === lost.reason);
    throw ends && kept !== undefined ? naming(kept, error as SecureTrainingError) : error;
  } finally {
    await worker.stop();
  }
}

/** An end for good, or one that was asked for: what it leaves is worth knowing. */
function naming(kept: number, cause: SecureTrainingError): SecureTrainingError {
  const message = `${cause.message}; the last good checkpoint, of step ${kept}, is kept`;
  return new SecureTrainingError(cause.code, message, { cause, failures: cause.failures });
}

/** Opens shards; every opening and every refusal is an event. */
function recordedOpening(data: OpenDatasets, events: EventChain, now: () => Date): OpenDatasets['open'] {
  return async (split, index) => {
    const about = data.describe(split, index);
    const record = (outcome: 'success' | 'failure') =>
      events.record('object.opened', outcome, about?.name ?? `${split} ${index}`, now(), {
        KeyId: about?.keyId ?? '',
        Manifest: about?.manifestDigest ?? '',
      });
    try {
      const opened = await data.open(split, index);
      record('success');
      return opened;
    } catch (error) {
      if (isFinal(error)) record('failure');
      throw error;
    }
  };
}
