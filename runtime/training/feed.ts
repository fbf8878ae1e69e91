import { allocateLabels, type FeatureArray, type LabelArray } from '../data/arrow-shard.ts';
import type { Batch } from './engine.ts';
import type { InputSchema } from './frames.ts';
import { drawnRows, type Position, rowOrder, type Window, windowsFrom } from './order.ts';

/** The rows of one shard, checked against schema and configuration. */
export interface ShardRows {
  readonly features: FeatureArray;
  readonly labels: LabelArray;
  readonly rows: number;
}

export interface FeedOptions {
  readonly seed: number;
  readonly epochs: number;
  readonly shardRows: readonly number[];
  /**
   * Rows that an epoch takes of each shard, where datasets are mixed by weight.
   * @default shardRows, every row once
   */
  readonly drawn?: readonly number[];
  readonly bufferRows: number;
  readonly batchRows: number;
  readonly schema: InputSchema;
  readonly from: Position;
  /** Gets one training shard; called in the order of need. */
  fetch(shard: number): Promise<ShardRows>;
}

/** Batches of one run, epoch after epoch. A batch crosses shards and windows, never epochs; an epoch's last one may be short. */
export interface Feed {
  /** The next batch of the current epoch, `undefined` at its end; the call after that begins the next epoch. Overwrites the last batch. */
  next(): Promise<Batch | undefined>;
}

export function createFeed(options: FeedOptions): Feed {
  const { schema, seed, batchRows } = options;
  const drawn = options.drawn ?? options.shardRows;
  const rowsPerEpoch = drawn.reduce((sum, rows) => sum + rows, 0);
  const normalise = normaliser(schema);
  const windows = oneAhead(windowsFrom(seed, options.epochs, drawn, options.bufferRows, options.from), (window) =>
    loadWindow(window, drawn, options),
  );
  const features = new Float32Array(batchRows * schema.featureCount);
  const batch = { features, labels: allocateLabels(batchRows, schema.classes) };
  let current: LoadedWindow | undefined;
  let row = options.from.row;

  return {
    async next() {
      if (row >= rowsPerEpoch) {
        row = 0;
        return undefined;
      }
      const wanted = Math.min(batchRows, rowsPerEpoch - row);
      let rows = 0;
      while (rows < wanted) {
        if (current === undefined) {
          const next = await windows.next();
          if (next.done) throw new Error('the order of rows ended before the epoch');
          current = next.value;
        }
        const { window, order, features, labels } = current;
        const start = row - window.firstRow;
        const count = Math.min(wanted - rows, window.rows - start);
        for (let i = 0; i < count; i++) {
          const source = order[start + i] ?? 0;
          normalise(features, source, batch.features, rows + i);
          batch.labels[rows + i] = labels[source] ?? 0;
        }
        rows += count;
        row += count;
        if (start + count === window.rows) current = undefined;
      }
      return { ...batch, rows };
    },
  };
}

/** Writes row `from` of the source as row `to` of the target, as float32 and normalised. */
export type Normalise = (source: FeatureArray, from: number, target: Float32Array, to: number) => void;

/** Bytes go through a table, so that each value is divided once and not once a row. */
export function normaliser({ featureCount: width, normalisation, dtype }: InputSchema): Normalise {
  if (normalisation.kind === 'standard') {
    const mean = Float64Array.from(normalisation.mean);
    // A constant column has no deviation: it becomes zero, not infinite.
    const deviation = Float64Array.from(normalisation.deviation, (value) => value || 1);
    return (source, from, target, to) => {
      for (let i = 0, s = from * width, t = to * width; i < width; i++) {
        target[t + i] = ((source[s + i] as number) - (mean[i] as number)) / (deviation[i] as number);
      }
    };
  }
  const divisor = normalisation.kind === 'scale' ? normalisation.divisor : 1;
  if (dtype === 'uint8') {
    const table = Float32Array.from({ length: 256 }, (_, value) => value / divisor);
    return (source, from, target, to) => {
      for (let i = 0, s = from * width, t = to * width; i < width; i++) {
        target[t + i] = table[source[s + i] as number] as number;
      }
    };
  }
  if (divisor === 1) {
    return (source, from, target, to) => target.set(source.subarray(from * width, (from + 1) * width), to * width);
  }
  return (source, from, target, to) => {
    for (let i = 0, s = from * width, t = to * width; i < width; i++) {
      target[t + i] = (source[s + i] as number) / divisor;
    }
  };
}

interface LoadedWindow {
  readonly window: Window;
  readonly order: Uint32Array;
  readonly features: FeatureArray;
  readonly labels: LabelArray;
}

/** One contiguous copy of a window's shards: a row is then found by its index alone, and the shards' bytes are free again. */
async function loadWindow(
  window: Window,
  drawn: readonly number[],
  { fetch, schema, seed, shardRows }: FeedOptions,
): Promise<LoadedWindow> {
  const values = window.rows * schema.featureCount;
  const features = schema.dtype === 'uint8' ? new Uint8Array(values) : new Float32Array(values);
  const labels = allocateLabels(window.rows, schema.classes);
  let filled = 0;
  const copies = window.shards.map((shard) => {
    const start = filled;
    const count = drawn[shard] ?? 0;
    filled += count;
    return fetch(shard).then((rows) => {
      if (count === shardRows[shard]) {
        features.set(rows.features, start * schema.featureCount);
        labels.set(rows.labels, start);
        return;
      }
      const width = schema.featureCount;
      drawnRows(seed, window.epoch, shard, rows.rows, count).forEach((row, i) => {
        features.set(rows.features.subarray(row * width, (row + 1) * width), (start + i) * width);
        labels[start + i] = rows.labels[row] ?? 0;
      });
    });
  });
  await Promise.all(copies);
  return { window, order: rowOrder(seed, window), features, labels };
}

/** Results in order; loads one item further than is asked for, so that the next arrives while this one is used. */
export async function* oneAhead<T, R>(items: Iterable<T>, load: (item: T) => Promise<R>): AsyncGenerator<R, undefined> {
  let pending: Promise<R> | undefined;
  for (const item of items) {
    const next = load(item);
    // Awaited one turn later: without this a failure in between would be an unhandled rejection.
    next.catch(() => undefined);
    if (pending !== undefined) yield await pending;
    pending = next;
  }
  if (pending !== undefined) yield await pending;
  return undefined;
}
