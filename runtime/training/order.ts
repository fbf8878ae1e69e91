import { sha256, utf8 } from '../crypto/bytes.ts';

/**
 * The order of rows: a pure function of seed, epoch and shard sizes, so that a run can go on after a kill as if nothing had
 * happened. Each epoch shuffles the shards, groups them into windows that fit the shuffle buffer, and shuffles rows inside a window.
 */
export interface Window {
  /** Counts from 0. */
  readonly epoch: number;
  /** Place within the epoch; with seed and epoch it decides {@link rowOrder}. */
  readonly index: number;
  readonly shards: readonly number[];
  readonly rows: number;
  /** Rows of this epoch that come before this window. */
  readonly firstRow: number;
}

/** Where training stands: rows of this epoch already learned from. */
export interface Position {
  /** Counts from 0. */
  readonly epoch: number;
  readonly row: number;
}

/** Windows of one epoch. A shard with more rows than `bufferRows` is a window of its own; no window is empty. */
export function epochOrder(seed: number, epoch: number, shardRows: readonly number[], bufferRows: number): Window[] {
  const windows: Window[] = [];
  let shards: number[] = [];
  let rows = 0;
  let firstRow = 0;
  const close = () => {
    if (rows > 0) windows.push({ epoch, index: windows.length, shards, rows, firstRow });
    firstRow += rows;
    shards = [];
    rows = 0;
  };
  for (const shard of permutation(shardRows.length, generator(`shards|${seed}|${epoch}`))) {
    const count = shardRows[shard] ?? 0;
    if (rows + count > bufferRows) close();
    shards.push(shard);
    rows += count;
  }
  close();
  return windows;
}

/** Indices into a window's rows (its shards one after the other) in the order in which they are learned. */
export function rowOrder(seed: number, window: Window): Uint32Array {
  return permutation(window.rows, generator(`rows|${seed}|${window.epoch}|${window.index}`));
}

/**
 * Which rows of a shard an epoch learns from where it takes more or fewer than there are: all of them as often as they fit, and for
 * what is left over some, others in each epoch.
 */
export function drawnRows(seed: number, epoch: number, shard: number, rows: number, drawn: number): Uint32Array {
  const result = new Uint32Array(drawn);
  const whole = rows === 0 ? 0 : drawn - (drawn % rows);
  for (let i = 0; i < whole; i++) result[i] = i % rows;
  if (whole < drawn) {
    const some = permutation(rows, generator(`drawn|${seed}|${epoch}|${shard}`));
    result.set(some.subarray(0, drawn - whole), whole);
  }
  return result;
}

/** Every window still to come, epoch after epoch; the first one may be partly done. */
export function* windowsFrom(
  seed: number,
  epochs: number,
  shardRows: readonly number[],
  bufferRows: number,
  from: Position,
): Generator<Window> {
  for (let epoch = from.epoch; epoch < epochs; epoch++) {
    const done = epoch === from.epoch ? from.row : 0;
    for (const window of epochOrder(seed, epoch, shardRows, bufferRows)) {
      if (window.firstRow + window.rows > done) yield window;
    }
  }
}

function permutation(length: number, random: () => number): Uint32Array {
  const order = Uint32Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = below(i + 1, random);
    const moved = order[i] ?? 0;
    order[i] = order[j] ?? 0;
    order[j] = moved;
  }
  return order;
}

/** Uniform in [0, limit): values that would favour the low end are drawn again. */
function below(limit: number, random: () => number): number {
  const ceiling = 2 ** 32 - (2 ** 32 % limit);
  let value = random();
  while (value >= ceiling) value = random();
  return value % limit;
}

/** sfc32 (Chris Doty-Humphrey, PractRand 0.95), keyed by SHA-256 of its purpose: fast, and the same in every engine. */
export function generator(purpose: string): () => number {
  const key = sha256(utf8(`ctrain/order/v1|${purpose}`));
  const view = new DataView(key.buffer, key.byteOffset);
  let a = view.getUint32(0, true);
  let b = view.getUint32(4, true);
  let c = view.getUint32(8, true);
  let counter = 1;
  return () => {
    const sum = (a + b + counter) >>> 0;
    counter = (counter + 1) >>> 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) >>> 0;
    c = (((c << 21) | (c >>> 11)) + sum) >>> 0;
    return sum;
  };
}
