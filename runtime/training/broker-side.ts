import { type ChildProcess, spawn } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { type ErrorCode, EXIT_CODES, SecureTrainingError } from '../errors.ts';
import type { TrainingConfig } from '../training-config.ts';
import type { BackendName } from './backend-name.ts';
import { type ConfinementReport, confinedCommand, readConfinement } from './confinement.ts';
import { CustomModuleError, moduleFiles, readFailure } from './custom-error.ts';
import { type FrameChannel, frameChannel } from './frame-channel.ts';
import {
  type EngineInfo,
  type ErrorHeader,
  type Frame,
  type FrameType,
  type InputSchema,
  MAX_OUTSTANDING,
  type Metric,
  type Progress,
  type ShardHeader,
} from './frames.ts';
import { type Confusions, rowsOf, SCORED_SPLITS } from './scores.ts';

export interface StartWorkerOptions {
  /** The Node binary, normally `process.execPath`. */
  readonly node: string;
  /** Bundled worker, for example `<bundleDir>/worker.mjs`. */
  readonly script: string;
  /** The only folder that the worker may read; holds the wasm file. */
  readonly bundleDir: string;
  /** Whether to use namespaces and `no_new_privs` where the system has them. Node's permission model is always on. */
  readonly confine: boolean;
  /**
   * The only backend that will do; a worker that cannot have it says so and ends.
   * @default - native where the bundle has it, else wasm
   */
  readonly backend?: BackendName;
}

/** A running worker that has named its backend and waits for START. */
export interface WorkerHandle {
  readonly pid: number;
  readonly engine: EngineInfo;
  readonly confinement: ConfinementReport;
  /** What the worker wrote to stdout and stderr, the last 64 KiB. It may hold data: seal it to the owners or drop it. */
  output(): string;
  /** Kills the worker and waits for its end. */
  stop(): Promise<void>;
}

export interface RunWorkerOptions {
  readonly config: TrainingConfig;
  readonly schema: InputSchema;
  /** Rows of each shard by split (`train`, and where present `validation` and `test`). */
  readonly shards: Readonly<Record<string, readonly number[]>>;
  /**
   * Rows that an epoch takes of each train shard, where datasets are mixed by weight.
   * @default - every row once
   */
  readonly drawn?: readonly number[];
  /**
   * A checkpoint of the same run to go on from.
   * @default - from the first step
   */
  readonly resume?: Uint8Array;
  /**
   * A safetensors file to start from, as the configuration names it.
   * @default - the seed decides
   */
  readonly initialWeights?: Uint8Array;
  /** Opens and checks one shard: Arrow IPC bytes. At most two calls are open at a time. */
  openShard(split: string, index: number): Promise<Uint8Array>;
  /**
   * Asks the worker for a last checkpoint, gives it 20 seconds, then kills it; the call rejects with the signal's reason.
   * @default - runs to the end
   */
  readonly abortSignal?: AbortSignal;
  /**
   * How long a run with custom code may go without a word of its worker, while nothing is asked of this side.
   * @default 600_000
   */
  readonly silenceInMs?: number;
  /**
   * What the machine has: a run that needs more is refused before it begins.
   * @default - no limit
   */
  readonly memoryBytes?: number;
  /** Names of a custom model's own metrics, once it is built. */
  onBuilt?(metrics: readonly string[]): void;
  onProgress?(progress: Progress): void;
  /** Training goes on meanwhile; the next checkpoint waits until this one's promise is settled. */
  onCheckpoint?(step: number, bytes: Uint8Array): Promise<void>;
  onMetric?(metric: Metric): void;
}

export interface WorkerResult {
  readonly model: { readonly modelJson: Uint8Array; readonly weights: Uint8Array };
  readonly metrics: Readonly<Record<string, number>>;
  readonly steps: number;
  /** Rows by true and predicted class, of each split that was measured. What of it may leave says the agreement. */
  readonly scores: Confusions;
  readonly engine: EngineInfo;
}

/** The most of a worker's own output that is kept. */
const OUTPUT_BYTES = 64 * 1024;
const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 20_000;
const MESSAGE_LENGTH = 500;
const SILENCE_MS = 600_000;

/** What {@link runWorker} needs of a handle and nobody else. */
interface RunningWorker extends WorkerHandle {
  readonly channel: FrameChannel;
  /** Says how the process ended. */
  readonly ended: Promise<string>;
}

/**
 * Starts a worker, reads back what confines it, and waits until its backend computes.
 * @throws {@link SecureTrainingError} `UNAVAILABLE` where it does not start; else what the worker says
 */
export async function startWorker(options: StartWorkerOptions): Promise<WorkerHandle> {
  const [command = '', ...parameters] = confinedCommand(options);
  // Never inherited: neither the environment nor the output streams, where a library might print rows.
  const child = spawn(command, parameters, {
    cwd: options.bundleDir,
    env: {},
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  });
  const output = boundedOutput(child);
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(`did not start: ${error.message}`));
    child.once('exit', (code, signal) =>
      resolve(signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`),
    );
  });
  const stop = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  const timer = setTimeout(() => child.kill('SIGKILL'), START_TIMEOUT_MS);
  try {
    return await adoptWorker({ socket: child.stdio[3] as Duplex, pid: child.pid ?? 0, ended, output, stop });
  } finally {
    clearTimeout(timer);
  }
}

export interface AdoptedWorker extends Pick<WorkerHandle, 'pid' | 'output' | 'stop'> {
  readonly socket: Duplex;
  /** Says how it ended. */
  readonly ended: Promise<string>;
}

/**
 * Waits for the first words of whatever serves a session at the other end of a socket.
 * @throws {@link SecureTrainingError} as {@link startWorker}; it is stopped then
 */
export async function adoptWorker({ socket, pid, ended, output, stop }: AdoptedWorker): Promise<WorkerHandle> {
  try {
    const channel = frameChannel(socket);
    const { header: probe } = await expectFrame(channel, ended, 'CONFINEMENT');
    const confinement = readConfinement(pid, probe);
    const { header: engine } = await expectFrame(channel, ended, 'READY');
    const worker: RunningWorker = { pid, engine, confinement, output, stop, channel, ended };
    return worker;
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * Feeds a worker until it hands the model back.
 * @throws {@link SecureTrainingError} `UNAVAILABLE` where the worker died (start another and resume), `EVIDENCE_MALFORMED` where it
 *   breaks the protocol, else what the worker or one of the callbacks says
 */
export async function runWorker(handle: WorkerHandle, options: RunWorkerOptions): Promise<WorkerResult> {
  const worker = handle as RunningWorker;
  const { channel } = worker;
  const { resume, initialWeights, abortSignal, config, schema, shards } = options;
  abortSignal?.throwIfAborted();
  const server = new ShardServer(worker, options);
  // A failure outside the loop below, of a shard or a checkpoint, ends the worker and with it the loop.
  let failure: unknown;
  const fail = (reason: unknown) => {
    failure ??= reason;
    return worker.stop();
  };
  let deadline: NodeJS.Timeout | undefined;
  const abort = () => {
    channel.send('STOP', {}).catch(worker.stop);
    deadline = setTimeout(() => worker.stop(), STOP_TIMEOUT_MS);
  };
  abortSignal?.addEventListener('abort', abort, { once: true });
  let saving: Promise<void> = Promise.resolve();
  const modules = moduleFiles(config);
  const custom = modules.length > 0;
  const silence = custom ? watchSilence(worker, server, options.silenceInMs ?? SILENCE_MS, fail) : undefined;
  try {
    const { featureCount, dtype, classes, normalisation } = schema;
    const mixed = options.drawn === undefined ? {} : { drawn: options.drawn };
    const limit = options.memoryBytes === undefined ? {} : { memoryBytes: options.memoryBytes };
    const header = { config, schema: { featureCount, dtype, classes, normalisation }, shards, ...mixed, ...limit };
    channel.send(resume === undefined ? 'START' : 'RESUME', header, resume ?? initialWeights).catch(worker.stop);
    for (;;) {
      const frame = await nextFrame(channel, worker.ended, modules);
      silence?.heard(frame);
      switch (frame.type) {
        case 'NEED':
          server.answer(frame.header).catch(fail);
          break;
        case 'BUILT':
          options.onBuilt?.(frame.header.metrics.split(',').filter((name) => name !== ''));
          break;
        case 'PROGRESS':
          options.onProgress?.(custom ? { ...frame.header, loss: coarse(frame.header.loss) } : frame.header);
          break;
        case 'METRIC':
          options.onMetric?.(custom ? { ...frame.header, value: coarse(frame.header.value) } : frame.header);
          break;
        case 'CHECKPOINT':
          await saving;
          saving = options.onCheckpoint?.(frame.header.step, frame.body) ?? Promise.resolve();
          saving.catch(fail);
          break;
        case 'MODEL': {
          await saving;
          const { modelBytes, metrics, steps, scores } = frame.header;
          if (modelBytes > frame.body.length)
            throw malformed(`model of ${frame.body.length} bytes, wanted ${modelBytes}`);
          const model = { modelJson: frame.body.slice(0, modelBytes), weights: frame.body.slice(modelBytes) };
          requireCounts(scores, options);
          return { model, metrics: custom ? coarsened(metrics) : metrics, steps, scores, engine: worker.engine };
        }
        default:
          throw malformed(`found a ${frame.type} frame while training`);
      }
    }
  } catch (error) {
    await worker.stop();
    await saving.catch(fail);
    if (failure !== undefined) throw failure;
    abortSignal?.throwIfAborted();
    throw error;
  } finally {
    silence?.stop();
    clearTimeout(deadline);
    abortSignal?.removeEventListener('abort', abort);
  }
}

/**
 * Answers NEEDs and holds the worker to what it may ask: without a limit it could make the broker hold any amount of plaintext.
 * A block that the worker has read may not yet count as sent here, so sending has an allowance of its own.
 */
class ShardServer {
  readonly #channel: FrameChannel;
  readonly #options: RunWorkerOptions;
  readonly #stop: () => Promise<void>;
  #opening = 0;
  #sending = 0;

  constructor({ channel, stop }: RunningWorker, options: RunWorkerOptions) {
    this.#channel = channel;
    this.#stop = stop;
    this.#options = options;
  }

  /** Whether the worker waits for this side. */
  get busy(): boolean {
    return this.#opening + this.#sending > 0;
  }

  async answer({ split, shard }: ShardHeader): Promise<void> {
    const { shards, openShard } = this.#options;
    if (!Object.hasOwn(shards, split) || shards[split]?.[shard] === undefined) {
      throw malformed(`it asks for shard ${shard} of a split that has none`);
    }
    if (this.#opening >= MAX_OUTSTANDING || this.#sending >= 2 * MAX_OUTSTANDING) {
      throw malformed(`it asks for more than ${MAX_OUTSTANDING} shards at a time`);
    }
    this.#opening++;
    const bytes = await openShard.call(this.#options, split, shard).finally(() => this.#opening--);
    this.#sending++;
    // A write that fails says only that the worker is gone: why, its last frame or its exit tells whoever receives.
    const sent = this.#channel.send('BLOCK', { split, shard }, bytes).catch(this.#stop);
    await sent.finally(() => this.#sending--);
  }
}

interface SilenceWatch {
  heard(frame: Frame): void;
  stop(): void;
}

/** A custom module may wait for ever, or loop: no error ever comes of it, so somebody else has to say so. */
function watchSilence(
  worker: RunningWorker,
  server: ShardServer,
  limitInMs: number,
  fail: (reason: unknown) => Promise<void>,
): SilenceWatch {
  let step = 0;
  const timer = setInterval(() => {
    if (server.busy) return;
    const failure = { problem: 'silent', step } as const;
    fail(new CustomModuleError(failure, `nothing for ${limitInMs} ms\n${worker.output()}`)).catch(() => undefined);
  }, limitInMs);
  return {
    heard(frame) {
      if (frame.type === 'PROGRESS' || frame.type === 'CHECKPOINT') step = frame.header.step;
      timer.refresh();
    },
    stop: () => clearInterval(timer),
  };
}

async function expectFrame<T extends FrameType>(
  channel: FrameChannel,
  ended: Promise<string>,
  type: T,
): Promise<Extract<Frame, { type: T }>> {
  const frame = await nextFrame(channel, ended);
  if (frame.type !== type) throw malformed(`found a ${frame.type} frame, wanted ${type}`);
  return frame as Extract<Frame, { type: T }>;
}

/**
 * The next frame that is neither the end nor an error.
 * @param modules file names of custom modules, if there are any
 */
async function nextFrame(
  channel: FrameChannel,
  ended: Promise<string>,
  modules: readonly string[] = [],
): Promise<Frame> {
  let frame: Frame | undefined;
  try {
    frame = await channel.receive();
  } catch (cause) {
    if (cause instanceof SecureTrainingError && cause.message !== 'stream ends inside a frame') throw cause;
    throw new SecureTrainingError('UNAVAILABLE', `worker ${await ended}`, { cause });
  }
  if (frame === undefined) throw new SecureTrainingError('UNAVAILABLE', `worker ${await ended}`);
  if (frame.type === 'ERROR' && modules.length > 0) throw customError(frame.header, frame.body, modules);
  if (frame.type === 'ERROR') throw workerError(frame.header);
  return frame;
}

/** The worker's words are bounded and kept to one line: it is the less trusted of the two. */
function workerError({ code, message }: ErrorHeader): Error {
  const text = `worker: ${message.replaceAll(/[^\x20-\x7e]+/g, ' ').slice(0, MESSAGE_LENGTH)}`;
  return Object.hasOwn(EXIT_CODES, code) ? new SecureTrainingError(code as ErrorCode, text) : new Error(text);
}

/** Four digits, whatever the size: the more of a number a custom module may choose, the more of a row fits into it. */
function coarse(value: number): number {
  return Number(value.toPrecision(4));
}

function coarsened(metrics: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(metrics).map(([name, value]) => [name, coarse(value)]));
}

/** As many classes as the model has outputs, and every row counted once. */
function requireCounts(scores: Confusions, { config, shards }: RunWorkerOptions): void {
  const { output_size } = config.training;
  for (const split of SCORED_SPLITS) {
    const confusion = scores[split];
    if (confusion === undefined) continue;
    const rows = (shards[split] ?? []).reduce((sum, each) => sum + each, 0);
    if (confusion.length === output_size && rowsOf(confusion) === rows) continue;
    throw malformed(
      `scores of ${split} count ${rowsOf(confusion)} rows of ${confusion.length} classes, wanted ${rows} of ${output_size}`,
    );
  }
}

/** Nothing that stands in the worker's message is said: the custom module could have written it. */
function customError({ code, custom }: ErrorHeader, body: Uint8Array, modules: readonly string[]): Error {
  const text = new TextDecoder().decode(body.subarray(0, OUTPUT_BYTES));
  // Asked for by this side, or a service's doing: to be tried again.
  if (code === 'UNAVAILABLE') return new SecureTrainingError('UNAVAILABLE', 'worker: stopped');
  return new CustomModuleError(readFailure(custom, modules), text);
}

function boundedOutput(child: ChildProcess): () => string {
  let kept = Buffer.alloc(0);
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      kept = Buffer.concat([kept, chunk]).subarray(-OUTPUT_BYTES);
    });
  }
  return () => kept.toString('utf8');
}

function malformed(message: string): SecureTrainingError {
  return new SecureTrainingError('EVIDENCE_MALFORMED', `worker: ${message}`);
}
