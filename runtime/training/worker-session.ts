import { concat, utf8 } from '../crypto/bytes.ts';
import { SecureTrainingError } from '../errors.ts';
import { type StartBackendOptions, startBackend } from './backend.ts';
import { isBest, lastMetrics } from './best-weights.ts';
import { type BrokerLink, brokerLink } from './broker-link.ts';
import { stepBudget, timeBudget } from './budget.ts';
import { checkpointPace } from './checkpoint-pace.ts';
import { decodeCheckpoint, encodeCheckpoint, runFingerprint } from './checkpoint-state.ts';
import { classWeights } from './class-weights.ts';
import { probeConfinement } from './confinement.ts';
import { customProblem, failureOf, moduleFiles } from './custom-error.ts';
import {
  type CustomModules,
  customObjective,
  inputSchema,
  loadCustomModules,
  shardOpener,
  watchTensors,
} from './custom-module.ts';
import { createEngine, type Engine } from './engine.ts';
import { evaluateSplit } from './evaluation.ts';
import { createFeed } from './feed.ts';
import type { FrameChannel } from './frame-channel.ts';
import type { Frame, Metric, StartHeader } from './frames.ts';
import { leakCheck, TensorLeak } from './leak-check.ts';
import { type MemoryQuestion, requireMemory } from './memory.ts';
import { describeLayers, sizeOf } from './model-layers.ts';
import type { Position } from './order.ts';
import { poissonFeed } from './privacy/poisson-feed.ts';
import { privacyFailures, privacyTerms, sampleRate, stepsWithinBudget } from './privacy/terms.ts';
import { progressMeter } from './progress-meter.ts';
import { decodeSafeTensors, type NamedTensor } from './safetensors.ts';
import { learningRates, stoppedImproving } from './schedule.ts';
import type { Confusion, Confusions } from './scores.ts';
import { withStepRandom } from './step-random.ts';

type StartFrame = Extract<Frame, { type: 'START' | 'RESUME' }>;

/**
 * The worker's whole life: says what it may do and what computes, trains what START or RESUME tells, hands back the model.
 * Ends with an ERROR frame where it fails; text of errors that are not ours stays in stderr, which the broker keeps to itself.
 * @param modulesDir folder with the custom modules, if there are any
 * @returns whether a model was handed back
 */
export async function serveSession(
  channel: FrameChannel,
  backend: StartBackendOptions,
  modulesDir = backend.wasmDir,
): Promise<boolean> {
  const at: Place = { modules: [], step: 0 };
  try {
    await channel.send('CONFINEMENT', probeConfinement());
    const computing = await startBackend(backend);
    await channel.send('READY', computing);
    const frame = await channel.receive();
    if (frame === undefined) return false;
    if (frame.type !== 'START' && frame.type !== 'RESUME') {
      throw new SecureTrainingError('EVIDENCE_MALFORMED', `first frame is ${frame.type}, wanted START or RESUME`);
    }
    at.modules = moduleFiles(frame.header.config);
    const modules = await loadCustomModules(modulesDir, frame.header.config);
    await train(channel, frame, modules, at, computing.backend);
    return true;
  } catch (error) {
    if (at.modules.length > 0) {
      const { failure, text } = failureOf(error, at.step, at.modules);
      const { code, message } = describe(error);
      await channel.send('ERROR', { code, message, custom: failure }, utf8(text));
    } else {
      if (!(error instanceof SecureTrainingError))
        process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
      await channel.send('ERROR', describe(error));
    }
    return false;
  }
}

/** Where a run is when it fails. */
interface Place {
  /** File names of custom modules. */
  modules: readonly string[];
  step: number;
}

async function train(
  channel: FrameChannel,
  { type, header: given, body }: StartFrame,
  modules: CustomModules,
  at: Place,
  backend: string,
): Promise<void> {
  const fingerprint = runFingerprint(given);
  const start = { ...given, schema: inputSchema(given, modules) };
  checkStart(start);
  const { training } = start.config;
  const limit = start.memoryBytes ?? Number.POSITIVE_INFINITY;
  // Before there is a model: to make one that does not fit would be the end.
  if (modules.model === undefined) requireMemory({ ...start, backend }, limit);
  const objective = await customObjective(modules, start);
  if (objective !== undefined)
    requireOwnMemory({ ...start, backend, model: sizeOf(describeLayers(objective.model)) }, limit);
  const engine =
    objective === undefined
      ? createEngine(start.config, undefined, classWeights(start.config, start.schema.classes))
      : watchTensors(createEngine(start.config, objective));
  if (objective !== undefined) await channel.send('BUILT', { metrics: objective.metrics.join() });
  const open = modules.dataset === undefined ? undefined : shardOpener(modules.dataset, start);
  const custom = objective !== undefined;
  const leaks = leakCheck(() => engine.tensorCount());
  const link = brokerLink(channel, start, open);
  const rows = start.drawn?.reduce((sum, count) => sum + count, 0) ?? rowsOf(start, 'train');
  const steps = stepsWithinBudget(start.config, rows, stepBudget(start.config, rows));
  const rateOf = learningRates(start.config, steps);
  const history: Metric[] = [];
  let validated: Confusion | undefined;
  let position: Position = { epoch: 0, row: 0 };
  let step = 0;
  let minutes = 0;
  let best: readonly NamedTensor[] | undefined;
  if (type === 'START' && training.initial_weights !== undefined) {
    engine.load(decodeSafeTensors(body).tensors);
  }
  if (type === 'RESUME') {
    const state = decodeCheckpoint(body, fingerprint);
    engine.restore(state.tensors);
    ({ position, step, best, minutes = 0 } = state);
    at.step = step;
    history.push(...state.history);
  }

  const budget = timeBudget(start.config, minutes, () => performance.now());
  let saved = step;
  let sent: Promise<void> = Promise.resolve();
  const saveCheckpoint = async () => {
    const tensors = engine.snapshot();
    // The loss of a step is that of the weights before it: what is kept must be good to go on from.
    if (!tensors.every(({ values }) => values.every(Number.isFinite))) throw diverged(step, custom);
    const spent = budget.spent();
    const bytes = encodeCheckpoint(
      {
        ...{ step, position, history, tensors },
        ...(best === undefined ? {} : { best }),
        ...(spent === undefined ? {} : { minutes: spent }),
      },
      fingerprint,
    );
    saved = step;
    // One on its way at a time; training goes on while it is sent.
    await sent;
    sent = channel.send('CHECKPOINT', { step }, bytes);
    sent.catch(() => undefined);
  };
  const stopIfAsked = async () => {
    if (!link.stopping) return;
    if (step > 0) await saveCheckpoint();
    await sent;
    throw new SecureTrainingError('UNAVAILABLE', `stopped after step ${step}`);
  };
  const report = async (name: string, value: number) => {
    if (!Number.isFinite(value)) throw diverged(step, custom);
    const metric = { name, value, step, epoch: position.epoch + 1 };
    history.push(metric);
    await channel.send('METRIC', metric);
  };

  const validate = async () => {
    const { metrics, confusion } = await evaluateSplit('validation', engine, link, start);
    validated = confusion;
    for (const [name, value] of Object.entries(metrics)) await report(`validation_${name}`, value);
  };

  const isPrivate = training.epochs > 0 && privacyTerms(start.config) !== undefined;
  const source = { schema: start.schema, fetch: (shard: number) => link.fetch('train', shard) };
  const feed = isPrivate
    ? await poissonFeed({
        ...source,
        shards: start.shards.train ?? [],
        sampleRate: sampleRate(start.config, rows),
        steps: Math.ceil(rows / training.batch_size),
        done: Math.ceil(position.row / training.batch_size),
      })
    : createFeed({
        ...source,
        seed: training.seed,
        epochs: training.epochs,
        shardRows: start.shards.train ?? [],
        ...(start.drawn === undefined ? {} : { drawn: start.drawn }),
        bufferRows: training.shuffle_rows,
        batchRows: training.batch_size,
        from: position,
      });
  const meter = progressMeter();
  const pace = checkpointPace(training.checkpoint_steps);
  await stopIfAsked();
  let ended = step >= steps || (step > 0 && budget.over());
  for (; position.epoch < training.epochs; position = { epoch: position.epoch + 1, row: 0 }) {
    while (!ended) {
      const batch = await feed.next();
      if (batch === undefined) break;
      at.step = step + 1;
      withStepRandom(training.seed, step, () => engine.step(batch, rateOf?.(step)));
      step++;
      leaks.afterStep();
      // What was drawn by chance counts as what was expected.
      const taken = isPrivate ? Math.min(training.batch_size, rows - position.row) : batch.rows;
      position = { epoch: position.epoch, row: position.row + taken };
      meter.add(batch.rows);
      ended = step === steps || budget.over();
      if (meter.due() || ended) {
        const loss = engine.loss();
        if (!Number.isFinite(loss)) throw diverged(step, custom);
        const { epochs } = training;
        const samplesPerSecond = meter.read();
        await channel.send('PROGRESS', { step, steps, epoch: position.epoch + 1, epochs, loss, samplesPerSecond });
      }
      // Before the checkpoint, so that one taken here does not lack it.
      if (position.row === rows || ended) await report('loss', engine.loss());
      if (pace.due(step) || ended) await pace.take(saveCheckpoint);
      await link.breathe();
      await stopIfAsked();
    }
    const epoch = position.epoch + 1;
    leaks.afterEpoch(epoch);
    const due = ended || epoch === training.epochs || epoch % (training.validation_epochs ?? 1) === 0;
    if (due && rowsOf(start, 'validation') > 0) {
      // A checkpoint taken when training stopped early has it already.
      if (!history.some(({ name, step: at }) => name === 'validation_loss' && at === step)) {
        meter.pause();
        await validate();
        meter.resume();
        leaks.afterEpoch(epoch);
        if (training.keep === 'best' && isBest(history)) best = engine.weights();
      }
      if (stoppedImproving(history, training.early_stopping_epochs ?? 0)) {
        if (saved < step) await saveCheckpoint();
        break;
      }
    }
    if (ended) break;
  }
  if (training.epochs === 0 && rowsOf(start, 'validation') > 0) await validate();
  if (best !== undefined) engine.load(best);
  // Of the weights that are handed back: others than the last validation's, or a resume has come after it.
  if ((best !== undefined || validated === undefined) && rowsOf(start, 'validation') > 0) {
    validated = (await evaluateSplit('validation', engine, link, start)).confusion;
  }
  const metrics = lastMetrics(history, best !== undefined);
  await finish(channel, engine, link, start, { metrics, validated, step, sent });
}

interface Ending {
  readonly metrics: Readonly<Record<string, number>>;
  /** Of the validation split. */
  readonly validated: Confusion | undefined;
  readonly step: number;
  readonly sent: Promise<void>;
}

/** Final metrics and the model. Evaluated again after a resume, so that they do not depend on where a run was cut. */
async function finish(channel: FrameChannel, engine: Engine, link: BrokerLink, start: StartHeader, ending: Ending) {
  const metrics: Record<string, number> = { ...ending.metrics };
  let scores: Confusions = ending.validated === undefined ? {} : { validation: ending.validated };
  if (rowsOf(start, 'test') > 0) {
    const { metrics: measured, confusion } = await evaluateSplit('test', engine, link, start);
    for (const [name, value] of Object.entries(measured)) metrics[`test_${name}`] = value;
    if (confusion !== undefined) scores = { ...scores, test: confusion };
  }
  const wrong = Object.values(metrics).some((value) => !Number.isFinite(value));
  if (wrong) throw diverged(ending.step, start.config.training.model !== undefined);
  const { modelJson, weights } = await engine.exportModel();
  await ending.sent;
  const header = { modelBytes: modelJson.length, metrics, steps: ending.step, scores };
  await channel.send('MODEL', header, concat(modelJson, weights));
  engine.dispose();
}

function checkStart({ config, schema, shards, drawn }: StartHeader): void {
  const { input_size, output_size } = config.training;
  const failures: string[] = [];
  if (input_size !== schema.featureCount) {
    failures.push(`input_size is ${input_size}, the dataset has ${schema.featureCount} features`);
  }
  // How many outputs a model of one's own has is its author's business.
  if (config.training.model === undefined && schema.classes.length === 0) {
    failures.push('labels are values: the declarative model tells classes apart, training.model names one of your own');
  }
  if (config.training.model === undefined && output_size < schema.classes.length) {
    failures.push(`output_size is ${output_size}, the dataset has ${schema.classes.length} classes`);
  }
  if ((config.training.early_stopping_epochs ?? 0) > 0 && (shards.validation ?? []).every((rows) => rows === 0)) {
    failures.push('early_stopping_epochs is set, the validation split has no rows');
  }
  if (config.training.keep === 'best' && (shards.validation ?? []).every((rows) => rows === 0)) {
    failures.push('keep is best, the validation split has no rows');
  }
  if (config.training.epochs > 0) failures.push(...privacyFailures(config, rowsOf({ shards }, 'train')));
  if (drawn !== undefined && drawn.length !== (shards.train ?? []).length)
    failures.push('drawn is not one number a shard');
  const isEmpty = (split: string) => (shards[split] ?? []).every((rows) => rows === 0);
  if (config.training.epochs > 0 && isEmpty('train')) failures.push('the train split has no rows');
  if (config.training.epochs === 0 && isEmpty('validation') && isEmpty('test')) {
    failures.push('epochs is 0, and neither the validation nor the test split has rows to measure');
  }
  if (failures.length > 0) throw new SecureTrainingError('CONFIG_INVALID', failures.join('; '), { failures });
}

function rowsOf({ shards }: Pick<StartHeader, 'shards'>, split: string): number {
  return (shards[split] ?? []).reduce((sum, rows) => sum + rows, 0);
}

/** What a custom model takes is told in words of the broker's own. */
function requireOwnMemory(question: MemoryQuestion, limit: number): void {
  try {
    requireMemory(question, limit);
  } catch (error) {
    throw customProblem('memory', (error as Error).message);
  }
}

function diverged(step: number, custom: boolean): SecureTrainingError {
  const message =
    step === 0
      ? 'what is measured of the initial weights is not finite'
      : `loss is not finite after step ${step}: try a lower learning_rate, or normalised features`;
  return custom ? customProblem('diverged', message) : new SecureTrainingError('CONFIG_INVALID', message);
}

/** Of a foreign error only class and place leave the worker: its text may quote data (design section 8). */
function describe(error: unknown): { code: string; message: string } {
  if (error instanceof SecureTrainingError) return { code: error.code, message: error.message };
  if (error instanceof TensorLeak) return { code: 'INTERNAL', message: error.message };
  const place =
    error instanceof Error ? /([\w.-]+\.m?[jt]s:\d+:\d+)/.exec(error.stack?.split('\n    at ')[1] ?? '') : null;
  const name = error instanceof Error ? error.constructor.name : typeof error;
  return { code: 'INTERNAL', message: `${name} at ${place?.[1] ?? 'an unknown place'}` };
}
