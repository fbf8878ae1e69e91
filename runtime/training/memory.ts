import { SecureTrainingError } from '../errors.ts';
import type { TrainingConfig } from '../training-config.ts';
import { EVALUATION_ROWS } from './evaluation.ts';
import { MAX_FRAME_BYTES, MAX_OUTSTANDING, type StartHeader } from './frames.ts';

/** What of a model decides how much memory its training takes: numbers of float32 values. */
export interface ModelSize {
  readonly weights: number;
  /** Those that have a gradient. */
  readonly trained: number;
  /** Outputs of all layers for one row. */
  readonly activations: number;
}

/** One kind of memory, and which setting makes less of it. */
interface MemoryPart {
  readonly name: string;
  readonly bytes: number;
  readonly remedy?: string;
}

/** What a run takes at its peak, worker and broker together; largest part first. */
export interface MemoryNeed {
  readonly parts: readonly MemoryPart[];
  readonly bytes: number;
  /** Of it, what lies in tensors at once. */
  readonly tensorBytes: number;
  readonly checkpointBytes: number;
}

export interface MemoryQuestion extends Pick<StartHeader, 'config' | 'drawn'> {
  readonly schema: Pick<StartHeader['schema'], 'featureCount' | 'dtype'>;
  /** Rows of each shard, by split; none where they are not known yet, and then nothing is counted for them. */
  readonly shards: StartHeader['shards'];
  /** @default - the declarative model */
  readonly model?: ModelSize;
  /** @default 'wasm', which takes the least */
  readonly backend?: string;
}

const FLOAT_BYTES = 4;
/** Two Node processes with tfjs in one of them, before there is a model; with TensorFlow's libraries more (facts: training 1.2). */
const PROCESS_BYTES = { native: 700e6, other: 350e6 } as const;
/** What an optimizer keeps, in copies of the trained weights (native/optimizers.ts). */
const SLOTS = { adam: 2, momentum: 1, sgd: 0 } as const;
/** Worker: values read back and their file; broker: that file, and sealed. */
const CHECKPOINT_COPIES = 4;
/** One on its way and one being read at either side, each sealed, open or decoded. */
const SHARD_COPIES = 3 * MAX_OUTSTANDING;
/** The window that is learned from, and the next one, which is loaded meanwhile (feed.ts). */
const WINDOWS = 2;
/** Label (float32 or int32) and place in the order of a window's row. */
const ROW_OVERHEAD_BYTES = 8;
/** A batch's features: raw, gathered, as a tensor, and turned around for the gradient of the first layer. Measured: 310 MB more for 16,000 digits and 512 units. */
const INPUT_COPIES = 4;
/** Each layer's output, before and after its activation, and the gradient of both. */
const ACTIVATION_COPIES = 4;
/** The memory of tfjs 4.22's wasm files ends here: their memory section says 65,536 pages of 64 KiB. */
const WASM_BYTES = 65_536 * 65_536;
/** Of the machine's memory, what a run may take: the rest is the kernel's and other programs'. */
const USABLE_SHARE = 0.9;
/** Parts that make less than this of the need are not worth a setting's name. */
const LARGE_SHARE = 0.2;

/** Size of the model that a configuration describes (model.ts), without building it. */
function declarativeSize({ training: { input_size, hidden_size, output_size } }: TrainingConfig): ModelSize {
  const weights = (input_size + 1) * hidden_size + (hidden_size + 1) * output_size;
  return { weights, trained: weights, activations: hidden_size + 2 * output_size };
}

/** Estimates what a run takes. Nothing is allocated. */
export function memoryNeed(question: MemoryQuestion): MemoryNeed {
  const { config, schema, shards, drawn, backend } = question;
  const { training } = config;
  const { weights, trained, activations } = question.model ?? declarativeSize(config);
  const slots = SLOTS[training.optimizer === 'sgd' && (training.momentum ?? 0) > 0 ? 'momentum' : training.optimizer];
  // The best weights are kept beside the current ones.
  const kept = training.keep === 'best' ? 2 : 1;
  const state = FLOAT_BYTES * (kept * weights + slots * trained);
  // The native engine's graph has variables of its own (native/compile.ts).
  const copies = backend === 'native' ? 2 : 1;
  const own = training.dataset !== undefined;
  const rowBytes = schema.featureCount * (schema.dtype === 'uint8' && !own ? 1 : FLOAT_BYTES);
  const train = drawn ?? shards.train ?? [];
  const total = train.reduce((sum, rows) => sum + rows, 0);
  // With privacy any row may be drawn at any step (privacy/poisson-feed.ts).
  const isPrivate = (training.privacy_noise ?? 0) > 0;
  const windowRows = isPrivate ? total : Math.min(total, Math.max(training.shuffle_rows, largest(train)));
  const splits = Object.entries(shards).filter(([, rows]) => rows.some((count) => count > 0));
  const evaluates = splits.some(([split]) => split !== 'train');
  const batchRows = Math.max(training.batch_size, evaluates ? EVALUATION_ROWS : 0);
  const batch =
    FLOAT_BYTES *
    batchRows *
    (INPUT_COPIES * schema.featureCount + ACTIVATION_COPIES * activations + training.output_size);
  const modelRemedy = training.model === undefined ? 'training.hidden_size' : "the model's layers";
  const parts: MemoryPart[] = [
    { name: 'weights, gradients and optimizer', bytes: copies * state + FLOAT_BYTES * trained, remedy: modelRemedy },
    { name: 'checkpoint on its way', bytes: CHECKPOINT_COPIES * state, remedy: modelRemedy },
    { name: 'batch', bytes: batch, remedy: 'training.batch_size' },
    {
      name: isPrivate ? 'all rows, as privacy wants' : 'shuffle buffer',
      bytes: (isPrivate ? 1 : WINDOWS) * windowRows * (rowBytes + ROW_OVERHEAD_BYTES),
      ...(isPrivate ? {} : { remedy: 'training.shuffle_rows' }),
    },
    {
      name: 'shards on their way',
      bytes: SHARD_COPIES * largest(Object.values(shards).flat()) * rowBytes,
      remedy: 'the rows of a sealed object',
    },
    { name: 'processes', bytes: PROCESS_BYTES[backend === 'native' ? 'native' : 'other'] },
  ];
  parts.sort((a, b) => b.bytes - a.bytes);
  return {
    parts,
    bytes: parts.reduce((sum, part) => sum + part.bytes, 0),
    tensorBytes: copies * state + FLOAT_BYTES * trained + batch,
    checkpointBytes: state,
  };
}

/** What is known of a run before its datasets are opened. A model of one's own counts for nothing: its size is not known. */
export function withoutRows(config: TrainingConfig): MemoryQuestion {
  const featureCount = config.training.input_size;
  const unknown = { weights: 0, trained: 0, activations: 0 };
  const model = config.training.model === undefined ? {} : { model: unknown };
  return { config, schema: { featureCount, dtype: 'uint8' }, shards: {}, ...model };
}

/**
 * Refuses a run that would end by lack of memory, in one line that says what to lower. A process that is killed for it says nothing.
 * @param machineBytes memory of the machine
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`
 */
export function requireMemory(question: MemoryQuestion, machineBytes: number): MemoryNeed {
  const need = memoryNeed(question);
  const usable = machineBytes * USABLE_SHARE;
  if (need.bytes > usable) {
    const large = need.parts.filter(({ bytes }) => bytes > LARGE_SHARE * need.bytes);
    const listed = large.map(({ name, bytes }) => `${name} ${gigabytes(bytes)}`).join(', ');
    throw tooLarge(
      `this run needs about ${gigabytes(need.bytes)} of memory (${listed}), the machine has ${gigabytes(usable)} for it`,
      large,
    );
  }
  const { backend = question.config.training.backend } = question;
  if (backend === 'wasm' && need.tensorBytes > WASM_BYTES) {
    const tensors = need.parts.filter(({ name }) => name === 'batch' || name.startsWith('weights'));
    throw tooLarge(
      `this run needs about ${gigabytes(need.tensorBytes)} for tensors, the wasm backend has ${gigabytes(WASM_BYTES)}`,
      tensors.slice(0, 1),
    );
  }
  requireCheckpoint(question);
  return need;
}

/**
 * Refuses a model whose checkpoint no run could keep, on whatever machine.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`
 */
export function requireCheckpoint(question: Pick<MemoryQuestion, 'config' | 'model'>): void {
  const { checkpointBytes } = memoryNeed({ ...withoutRows(question.config), ...question });
  if (checkpointBytes <= MAX_FRAME_BYTES) return;
  const remedy = question.config.training.model === undefined ? 'training.hidden_size' : "the model's layers";
  const message = `a checkpoint of this model takes ${gigabytes(checkpointBytes)} (weights and optimizer), a run keeps at most ${gigabytes(MAX_FRAME_BYTES)}`;
  throw tooLarge(message, [{ remedy }]);
}

function tooLarge(problem: string, parts: readonly Pick<MemoryPart, 'remedy'>[]): SecureTrainingError {
  const remedies = [...new Set(parts.flatMap(({ remedy }) => remedy ?? []))];
  const message = remedies.length === 0 ? problem : `${problem}: lower ${remedies.join(' or ')}`;
  return new SecureTrainingError('CONFIG_INVALID', message, { failures: [message] });
}

function largest(rows: readonly number[]): number {
  return rows.reduce((most, count) => Math.max(most, count), 0);
}

function gigabytes(bytes: number): string {
  return bytes < 1e9 ? `${Math.ceil(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}
