import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { Network } from './azure/network.ts';
import { type AzureServices, azureServices } from './azure/trainer-services.ts';
import { CheckpointChain } from './checkpoints.ts';
import { ecPublicJwk } from './crypto/jwk.ts';
import { checkCustomCode } from './custom-code.ts';
import { type EnvironmentStep, type EstablishedEnvironment, SecureEnvironment } from './environment.ts';
import { SecureTrainingError } from './errors.ts';
import { EventChain } from './events.ts';
import { exportErrors } from './export-errors.ts';
import { exportModel, exportReceipt } from './export-run.ts';
import { assertHygiene, type HygieneCheck, type HygieneReport, readProcessFacts } from './hygiene.ts';
import { openInitialWeights } from './initial-weights.ts';
import { vaultKeyId } from './keys/slots.ts';
import type { MachineConfig } from './machine-config.ts';
import { machineMemory } from './machine-memory.ts';
import { type OpenDatasets, openDatasets } from './open-datasets.ts';
import { encodePreprocessing } from './preprocessing.ts';
import { countFinished, type TakenRun, takeRun } from './queue.ts';
import { runMeasurement } from './run-measurement.ts';
import { isFinal, RunReporter } from './run-reporter.ts';
import { consoleLine, failedCheckLine } from './run-steps.ts';
import { releasedScores } from './scores-file.ts';
import { localRecipient } from './sealed-file.ts';
import { type Agreement, type AgreementOwner, verifyAgreement } from './statements/agreement.ts';
import { chainKey } from './statements/checkpoint-chain.ts';
import { evidenceDigest, type ReceiptContent } from './statements/receipt.ts';
import { readEventLog } from './tpm/event-log-file.ts';
import { openTpm } from './tpm/open.ts';
import { measureRun } from './tpm/run-measurement.ts';
import { Tpm } from './tpm/tpm.ts';
import { trainInWorker } from './train-in-worker.ts';
import { requireMemory, withoutRows } from './training/memory.ts';
import { privacyOf } from './training/privacy/terms.ts';
import type { TrainingConfig } from './training-config.ts';
import type { TrustAnchors } from './trust.ts';

/** What an entry point decides. Production has one (main.ts), the emulator another; everything else is the same program. */
export interface TrainerOptions {
  readonly machine: MachineConfig;
  readonly trust: TrustAnchors;
  readonly network: Network;
  /** Names of the environment variables of this process. */
  readonly variables: readonly string[];
  /** Checks this entry point does without, each one stated in the receipt. Production: none. */
  readonly waives: readonly HygieneCheck[];
  /** Whether a worker that the system cannot confine is refused. Production: true. */
  readonly requireConfinement: boolean;
  /** File that the kernel shows the TCG event log in; absent or empty, the machine has none. */
  readonly eventLogPath: string;
  /** Folder of the unpacked bundle. */
  readonly bundleDir: string;
  /** Called when training begins; aborted when the process is told to end: it leaves a checkpoint first. */
  readonly stop: () => AbortSignal;
  readonly now: () => Date;
  /** A line for the serial console: steps and codes of a fixed vocabulary, never data. */
  readonly say: (line: string) => void;
}

/** How long the trainer waits before it looks into an empty queue again. */
const QUEUE_POLL_MS = 2000;
const LEASE_RENEWAL_MS = 20_000;

/**
 * The broker: one run from the queue to the receipt, then the machine gives itself back.
 * @throws {@link SecureTrainingError} whatever ended the run; the store's `status.json` says the same
 */
export async function runTrainer(options: TrainerOptions): Promise<void> {
  const services = azureServices(options.network, options.machine);
  const deallocate = () =>
    services.deallocate().catch(() => options.say(consoleLine({ step: 'deallocate', state: 'failed' })));
  let hygiene: HygieneReport;
  try {
    hygiene = assertHygiene(readProcessFacts(options.variables), options.waives);
  } catch (error) {
    // Giving the machine back ends this process: there is no later to say why.
    const checks = error instanceof SecureTrainingError ? error.failures : [];
    const failures = checks.join('; ');
    options.say(consoleLine({ step: 'hygiene', state: 'failed' }));
    for (const check of checks) options.say(failedCheckLine(check));
    // No run was taken yet: the event names none.
    const nobodys = { RunId: '', Machine: options.machine.vmResourceId, Agreement: '' };
    new EventChain(nobodys, (event) => services.log('TrainingSecurity', [{ ...event }])).record(
      'run.refused',
      'failure',
      `hygiene ${failures}`,
      options.now(),
    );
    await services.flushLogs();
    await deallocate();
    throw error;
  }
  const run = await waitForRun(options, services);
  const lease = keepLease(run, options.say);
  const reporter = new RunReporter(run.request.runId, services, options.now, options.say);
  const events = new EventChain(
    {
      RunId: run.request.runId,
      Machine: options.machine.vmResourceId,
      Agreement: run.request.agreementDigest,
    },
    (event) => reporter.event(event),
  );
  const ended = await performRun(options, services, { run, lost: lease.lost, reporter, events, hygiene }).catch(
    async (error: unknown) => {
      if (isFinal(error)) events.record('run.refused', 'failure', (error as SecureTrainingError).code, options.now());
      await reporter.failed(error);
      return { error };
    },
  );
  lease.stop();
  await run.release().catch(() => undefined);
  // What another start may mend is left to the machine's unit; after any other end the machine gives itself back.
  if (ended === undefined || isFinal(ended.error)) await deallocate();
  if (ended !== undefined) throw ended.error;
}

async function waitForRun(options: TrainerOptions, services: AzureServices): Promise<TakenRun> {
  for (let first = true; ; first = false) {
    const run = await takeRun(services.runs, options.machine.vmResourceId);
    if (run !== undefined) return run;
    if (first) options.say(consoleLine({ step: 'waiting', for: 'run' }));
    await new Promise((done) => setTimeout(done, QUEUE_POLL_MS));
  }
}

interface Performing {
  readonly run: TakenRun;
  /** Aborted when another machine may have the run. */
  readonly lost: AbortSignal;
  readonly reporter: RunReporter;
  readonly events: EventChain;
  readonly hygiene: HygieneReport;
}

async function performRun(
  options: TrainerOptions,
  services: AzureServices,
  { run, lost, reporter, events, hygiene }: Performing,
): Promise<void> {
  const { machine, trust, now } = options;
  const { runId } = run.request;
  const startedOn = now().toISOString();

  await reporter.step('agreement');
  const { agreement, digest } = verifyAgreement(run.agreement, {
    trainerSha256: machine.bundleSha256,
    now: now(),
    runIndex: await countFinished(services.runs, run.request.agreementDigest),
  });
  if (digest !== run.request.agreementDigest) {
    throw new SecureTrainingError(
      'CONSENT_MISSING',
      `run ${runId}: its agreement is not the one it was asked for with`,
    );
  }
  checkCustomCode(options.bundleDir, agreement);
  // Before any key is asked for: what does not fit without a single row will not with all of them.
  requireMemory(withoutRows(agreement.configuration), machineMemory());
  events.record('run.started', 'success', `agreement ${digest}`, now());

  const receiptKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const environment = await establish(options, services, { agreement, digest, runId, receiptKey, reporter, events });

  await reporter.step('opening data');
  const data = await openDatasets(
    services.datasets,
    environment.keys,
    agreement.configuration,
    ({ owner }, { dataset, version, manifestDigest: Manifest }, error) => {
      if (!isFinal(error)) return;
      const KeyId = vaultKeyId(owner);
      events.record('data.opened', 'failure', `${owner.ownerId}/${dataset}/${version}`, now(), { KeyId, Manifest });
    },
  );
  for (const { ownerId, dataset, version, digest: Manifest } of data.manifests) {
    const owner = agreement.owners.find((each) => each.ownerId === ownerId);
    const KeyId = owner === undefined ? '' : vaultKeyId(owner);
    events.record('data.opened', 'success', `${ownerId}/${dataset}/${version}`, now(), { KeyId, Manifest });
  }
  const chain = checkpointChain(services, agreement, digest, runId, environment, data);

  const initialWeights = await openInitialWeights(services.runs, runId, agreement, environment.keys);

  await reporter.step('training');
  const { result, worker } = await trainInWorker(options, {
    agreement,
    data,
    initialWeights,
    chain,
    lost: AbortSignal.any([lost, toldToStop(options.stop())]),
    reporter,
    events,
    sealErrors: (text) => exportErrors(services.runs, runId, agreement.owners, text),
  });
  lost.throwIfAborted();

  await reporter.step('exporting');
  const scores = releasedScores(result.scores, agreement);
  const files = {
    ...result.model,
    preprocessing: encodePreprocessing(data.schema),
    ...(scores === undefined ? {} : { scores }),
  };
  const model = await exportModel(services.runs, runId, files, agreement.recipients.model);
  events.record('model.sealed', 'success', `model ${model.map((file) => file.sealedSha256).join(' ')}`, now());
  events.record('run.finished', 'success', `steps ${result.steps}`, now());
  await exportReceipt(
    services.runs,
    {
      runId,
      agreementDigest: digest,
      manifests: data.manifests,
      trainerSha256: machine.bundleSha256,
      configuration: agreement.configuration,
      metrics: released(result.metrics, agreement),
      ...spent(agreement.configuration, data, result.steps),
      model,
      checkpointChainHead: chain.head,
      eventLogHead: events.head,
      evidence: { ...environment.evidence },
      evidenceSha256: evidenceDigest({ ...environment.evidence }),
      releases: environment.keys.map(({ owner, replySha256, nonceEchoed }) => ({
        ownerId: owner.ownerId,
        vaultHost: owner.vaultHost,
        keyId: vaultKeyId(owner),
        replySha256,
        nonceEchoed,
      })),
      confinement: { ...worker.confinement },
      hygiene: { ...hygiene },
      hardware: trust.hardware,
      engine: { backend: result.engine.backend, versions: result.engine.versions },
      startedOn,
      finishedOn: now().toISOString(),
      receiptKey: ecPublicJwk(receiptKey),
    },
    environment.keys,
    receiptKey,
  );
  await reporter.finished();
}

function toldToStop(stop: AbortSignal): AbortSignal {
  const told = new AbortController();
  const reason = () => told.abort(new SecureTrainingError('UNAVAILABLE', 'the trainer was told to stop'));
  stop.addEventListener('abort', reason, { once: true });
  return told.signal;
}

interface Establishing {
  readonly agreement: Agreement;
  readonly digest: string;
  readonly runId: string;
  readonly receiptKey: KeyObject;
  readonly reporter: RunReporter;
  readonly events: EventChain;
}

/** Steps 6 to 9 of design section 5. The TPM is open only here: nothing after it can use one. */
async function establish(
  options: TrainerOptions,
  services: AzureServices,
  { agreement, digest, runId, receiptKey, reporter, events }: Establishing,
): Promise<EstablishedEnvironment> {
  const tpm = new Tpm(await openTpm(options.machine.vtpm));
  try {
    await reporter.step('measuring');
    const measurement = runMeasurement(options.machine.bundleSha256, digest, runId);
    await measureRun(tpm, measurement);
    const eventLog = readEventLog(options.eventLogPath);
    if (eventLog === undefined) options.say(consoleLine({ step: 'measuring', missing: 'event-log' }));
    await reporter.step('environment');
    const environment = await SecureEnvironment.establish({
      tpm,
      services,
      trust: options.trust,
      agreement,
      agreementDigest: digest,
      runId,
      receiptKey: ecPublicJwk(receiptKey),
      runMeasurement: measurement,
      ...(eventLog === undefined ? {} : { eventLog }),
      now: options.now,
      onStep: ({ name, state }) => {
        const event = {
          verifyEnvironment: 'environment.verified',
          setupAttestation: 'attestation.accepted',
          // Every release is an event of its own.
          initializeEncryption: undefined,
        } as const;
        const Event = event[name];
        if (Event !== undefined) events.record(Event, outcomeOf(state), name, options.now());
        options.say(consoleLine({ step: name, state }));
      },
      onRelease: (owner, state) =>
        events.record('key.released', outcomeOf(state), `owner ${owner.ownerId}`, options.now(), {
          KeyId: vaultKeyId(owner),
          Manifest: manifestsOf(owner),
        }),
    });
    return environment;
  } finally {
    await tpm.close();
  }
}

function checkpointChain(
  services: AzureServices,
  agreement: Agreement,
  digest: string,
  runId: string,
  { keys }: EstablishedEnvironment,
  data: OpenDatasets,
): CheckpointChain {
  const [first] = keys;
  if (first === undefined) throw new SecureTrainingError('RELEASE_DENIED', 'no owner released a key');
  const keyId = vaultKeyId(first.owner);
  return new CheckpointChain({
    runs: services.runs,
    runId,
    chainKey: chainKey(data.ceks, digest, runId),
    recipients: [
      { keyId, key: first.owner.key },
      ...agreement.recipients.checkpoints.map((recipient) => localRecipient(recipient.key)),
    ],
    opener: { keyId, key: first.key },
    kept: agreement.configuration.training.checkpoints_kept,
  });
}

/** Digests of all manifests that a key is released for, as the agreement lists them. */
function manifestsOf({ datasets }: AgreementOwner): string {
  return datasets.map(({ manifestDigest }) => manifestDigest).join(' ');
}

function outcomeOf(state: EnvironmentStep['state']): 'success' | 'failure' {
  return state === 'success' ? 'success' : 'failure';
}

/** What the run has spent of its rows' privacy; nothing where it promises none. */
function spent(config: TrainingConfig, { shards }: OpenDatasets, steps: number): Pick<ReceiptContent, 'privacy'> {
  if (config.training.epochs === 0) return {};
  const privacy = privacyOf(
    config,
    shards.train.reduce((sum, rows) => sum + rows, 0),
    steps,
  );
  return privacy === undefined ? {} : { privacy: { epsilon: privacy.epsilon, delta: privacy.delta, steps } };
}

/** The metrics the agreement lets out, rounded to four digits after the point. */
function released(metrics: Readonly<Record<string, number>>, { metrics: allowed }: Agreement): Record<string, number> {
  const entries = Object.entries(metrics).filter(([name, value]) => allowed.includes(name) && Number.isFinite(value));
  return Object.fromEntries(entries.map(([name, value]) => [name, Math.round(value * 10_000) / 10_000]));
}

/** Holds the lease while the run lasts; `lost` is aborted when another machine may have the run. */
function keepLease(run: TakenRun, say: (line: string) => void): { readonly lost: AbortSignal; stop(): void } {
  const lost = new AbortController();
  const timer = setInterval(() => {
    run.renew().then(
      (held) => {
        if (!held)
          lost.abort(new SecureTrainingError('UNAVAILABLE', 'the lease of the run was lost to another machine'));
      },
      () => say(consoleLine({ step: 'lease', state: 'not-renewed' })),
    );
  }, LEASE_RENEWAL_MS);
  timer.unref();
  return { lost: lost.signal, stop: () => clearInterval(timer) };
}
