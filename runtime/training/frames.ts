import { concat, utf8 } from '../crypto/bytes.ts';
import { SecureTrainingError } from '../errors.ts';
import type { TrainingConfig } from '../training-config.ts';
import type { ConfinementProbe } from './confinement.ts';
import type { CustomFailure } from './custom-error.ts';
import { type Confusions, isConfusion, SCORED_SPLITS } from './scores.ts';

/**
 * What broker and worker say to each other over the inherited socket (design section 6):
 * `u32le length of the rest | u8 type | u32le header length | JSON header | body`.
 * The worker pulls: it asks with NEED, at most {@link MAX_OUTSTANDING} at a time, and the broker answers each with a BLOCK.
 */
const FRAME_TYPES = {
  START: 1,
  RESUME: 2,
  BLOCK: 3,
  STOP: 4,
  CONFINEMENT: 16,
  READY: 17,
  NEED: 18,
  PROGRESS: 19,
  CHECKPOINT: 20,
  METRIC: 21,
  MODEL: 22,
  ERROR: 23,
  BUILT: 24,
} as const;
export type FrameType = keyof typeof FRAME_TYPES;

/** Most NEEDs without their BLOCK: one shard is worked on while the next one is opened. */
export const MAX_OUTSTANDING = 2;

/** Largest header (the schema of a wide table), and largest frame (a checkpoint holds weights and both Adam moments). */
const MAX_HEADER_BYTES = 64 << 20;
export const MAX_FRAME_BYTES = 512 << 20;

const PREFIX_BYTES = 9;

/** The part of a dataset's schema that decides what the model sees; a manifest's schema is one. */
export interface InputSchema {
  readonly featureCount: number;
  readonly dtype: 'uint8' | 'float32';
  readonly classes: readonly string[];
  readonly normalisation:
    | { readonly kind: 'none' }
    | { readonly kind: 'scale'; readonly divisor: number }
    | { readonly kind: 'standard'; readonly mean: readonly number[]; readonly deviation: readonly number[] };
}

/** Everything that decides the weights; the body of RESUME is the checkpoint, of START the initial weights where there are any. Shards: rows of each, in manifest order. */
export interface StartHeader {
  readonly config: TrainingConfig;
  readonly schema: InputSchema;
  readonly shards: Readonly<Record<string, readonly number[]>>;
  /**
   * Rows that an epoch takes of each train shard, where datasets are mixed by weight.
   * @default - every row once
   */
  readonly drawn?: readonly number[];
  /**
   * Memory of the machine: a run that needs more is refused before it begins. Decides no weight, so it is no part of the fingerprint.
   * @default - there is no limit
   */
  readonly memoryBytes?: number;
}

export interface ShardHeader {
  readonly split: string;
  readonly shard: number;
}

export interface EngineInfo {
  /** tfjs backend that computed: always the one that was asked for, or the worker refuses to start. */
  readonly backend: string;
  readonly simd: boolean;
  readonly threads: number;
  readonly versions: Readonly<Record<string, string>>;
}

export interface Progress {
  readonly step: number;
  readonly steps: number;
  /** Counts from 1. */
  readonly epoch: number;
  readonly epochs: number;
  readonly loss: number;
  readonly samplesPerSecond: number;
}

export interface Metric {
  readonly name: string;
  readonly value: number;
  readonly step: number;
  /** Counts from 1. */
  readonly epoch: number;
}

/** Body of MODEL: `modelBytes` of model.json, then weights.bin. */
interface ModelHeader {
  readonly modelBytes: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly steps: number;
  /** Counts of rows: the broker lets out what is agreed on. */
  readonly scores: Confusions;
}

/** `message` is one of our own, or names only class and place; the full text of a foreign error stays in the worker's output. */
export interface ErrorHeader {
  readonly code: string;
  readonly message: string;
  /**
   * Of a run with custom code: what may be said of the failure; the body is its whole text, for the data owners.
   * @default - a run without
   */
  readonly custom?: CustomFailure;
}

export interface Headers {
  START: StartHeader;
  RESUME: StartHeader;
  BLOCK: ShardHeader;
  STOP: Record<string, never>;
  CONFINEMENT: ConfinementProbe;
  READY: EngineInfo;
  NEED: ShardHeader;
  PROGRESS: Progress;
  CHECKPOINT: { readonly step: number };
  METRIC: Metric;
  MODEL: ModelHeader;
  ERROR: ErrorHeader;
  /** A custom model is there; names of its metrics, with commas between. */
  BUILT: { readonly metrics: string };
}

export type Frame = {
  [T in FrameType]: { readonly type: T; readonly header: Headers[T]; readonly body: Uint8Array };
}[FrameType];

const NAMES = new Map<number, FrameType>(
  (Object.keys(FRAME_TYPES) as FrameType[]).map((name) => [FRAME_TYPES[name], name]),
);

type Kind = 'count' | 'number' | 'text' | 'flag' | 'record' | 'metrics' | 'scores';
/** What a header must hold. The worker runs other people's models, so the broker believes no frame by its type alone. */
const FIELDS: Readonly<Record<FrameType, Readonly<Record<string, Kind>>>> = {
  START: { config: 'record', schema: 'record', shards: 'record' },
  RESUME: { config: 'record', schema: 'record', shards: 'record' },
  BLOCK: { split: 'text', shard: 'count' },
  STOP: {},
  CONFINEMENT: {
    fileRead: 'flag',
    fileWrite: 'flag',
    childProcess: 'flag',
    workerThreads: 'flag',
    nativeAddons: 'flag',
  },
  READY: { backend: 'text', simd: 'flag', threads: 'count', versions: 'record' },
  NEED: { split: 'text', shard: 'count' },
  PROGRESS: {
    step: 'count',
    steps: 'count',
    epoch: 'count',
    epochs: 'count',
    loss: 'number',
    samplesPerSecond: 'number',
  },
  CHECKPOINT: { step: 'count' },
  METRIC: { name: 'text', value: 'number', step: 'count', epoch: 'count' },
  MODEL: { modelBytes: 'count', metrics: 'metrics', steps: 'count', scores: 'scores' },
  ERROR: { code: 'text', message: 'text' },
  BUILT: { metrics: 'text' },
};

const CHECKS: Readonly<Record<Kind, (value: unknown) => boolean>> = {
  count: (value) => Number.isSafeInteger(value) && (value as number) >= 0,
  number: (value) => Number.isFinite(value),
  text: (value) => typeof value === 'string',
  flag: (value) => typeof value === 'boolean',
  record: isRecord,
  metrics: (value) => isRecord(value) && Object.values(value).every(Number.isFinite),
  scores: (value) =>
    isRecord(value) &&
    Object.entries(value).every(
      ([split, confusion]) => SCORED_SPLITS.some((known) => known === split) && isConfusion(confusion),
    ),
};

/** The bytes of a frame in two parts, so that a large body is never copied. */
export function encodeFrame<T extends FrameType>(
  type: T,
  header: Headers[T],
  body: Uint8Array = new Uint8Array(0),
): readonly [Uint8Array, Uint8Array] {
  const json = utf8(JSON.stringify(header));
  const rest = PREFIX_BYTES - 4 + json.length + body.length;
  if (json.length > MAX_HEADER_BYTES || rest > MAX_FRAME_BYTES) {
    throw new RangeError(`${type} frame of ${rest} bytes, header ${json.length}: more than the limit`);
  }
  const prefix = new Uint8Array(PREFIX_BYTES);
  const view = new DataView(prefix.buffer);
  view.setUint32(0, rest, true);
  view.setUint8(4, FRAME_TYPES[type]);
  view.setUint32(5, json.length, true);
  return [concat(prefix, json), body];
}

/**
 * Cuts a stream into frames. Each body is fresh memory of its own (8-byte aligned, as Arrow likes it), written once.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` from push and end
 */
export class FrameReader {
  #prefix = new Uint8Array(PREFIX_BYTES);
  #target = this.#prefix;
  #filled = 0;
  #type: FrameType | undefined;
  #header: Uint8Array | undefined;
  #bodyLength = 0;

  /** Frames that are whole after this chunk. */
  push(chunk: Uint8Array): Frame[] {
    const frames: Frame[] = [];
    for (let offset = 0; offset < chunk.length; ) {
      const part = chunk.subarray(offset, offset + this.#target.length - this.#filled);
      this.room().set(part);
      frames.push(...this.filled(part.length));
      offset += part.length;
    }
    return frames;
  }

  /** Where the next bytes belong, never empty. Whoever writes there says how many they were to {@link filled}. */
  room(): Uint8Array {
    return this.#target.subarray(this.#filled);
  }

  /** The frame that is whole after so many bytes, if one is. */
  filled(count: number): Frame[] {
    this.#filled += count;
    // An empty header or body is whole as soon as it begins, hence the loop.
    while (this.#filled === this.#target.length) {
      const frame = this.#advance();
      if (frame !== undefined) return [frame];
    }
    return [];
  }

  /** To be called where the stream ends. */
  end(): void {
    if (this.#target !== this.#prefix || this.#filled > 0) throw malformed('stream ends inside a frame');
  }

  #advance(): Frame | undefined {
    if (this.#type === undefined) {
      this.#readPrefix();
      return undefined;
    }
    if (this.#header === undefined) {
      this.#header = this.#target;
      this.#expect(new Uint8Array(this.#bodyLength));
      return undefined;
    }
    const frame = { type: this.#type, header: parseHeader(this.#type, this.#header), body: this.#target } as Frame;
    this.#type = undefined;
    this.#header = undefined;
    this.#expect(this.#prefix);
    return frame;
  }

  #readPrefix(): void {
    const view = new DataView(this.#prefix.buffer);
    const rest = view.getUint32(0, true);
    const headerLength = view.getUint32(5, true);
    this.#bodyLength = rest - (PREFIX_BYTES - 4) - headerLength;
    const type = NAMES.get(view.getUint8(4));
    if (type === undefined) throw malformed(`frame type ${view.getUint8(4)} is not known`);
    if (rest > MAX_FRAME_BYTES) throw malformed(`${type} frame of ${rest} bytes, wanted at most ${MAX_FRAME_BYTES}`);
    if (headerLength > MAX_HEADER_BYTES || this.#bodyLength < 0) {
      throw malformed(`${type} frame of ${rest} bytes has a header of ${headerLength}`);
    }
    this.#type = type;
    this.#expect(new Uint8Array(headerLength));
  }

  #expect(target: Uint8Array<ArrayBuffer>): void {
    this.#target = target;
    this.#filled = 0;
  }
}

function parseHeader(type: FrameType, bytes: Uint8Array): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new SecureTrainingError('EVIDENCE_MALFORMED', `header of ${type} is not JSON`, { cause });
  }
  if (!isRecord(header)) throw malformed(`header of ${type} is not an object`);
  const wrong = Object.entries(FIELDS[type]).find(([field, kind]) => !CHECKS[kind](header[field]));
  if (wrong !== undefined) throw malformed(`header of ${type}: ${wrong[0]} is not a ${wrong[1]}`);
  return header;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function malformed(message: string): SecureTrainingError {
  return new SecureTrainingError('EVIDENCE_MALFORMED', message);
}
