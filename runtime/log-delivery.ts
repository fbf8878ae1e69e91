import type { TableName } from './catalogue.ts';

export type LogRow = Readonly<Record<string, unknown>>;

export interface LogDeliveryOptions {
  /** Hands rows of one table on, in their order; rejects when it cannot tell that all of them arrived. */
  readonly send: (table: TableName, rows: readonly LogRow[]) => Promise<void>;
  /** Waits between two attempts. */
  readonly pause: () => Promise<unknown>;
  /** Waits for company: rows that nobody is waiting for go together. */
  readonly gather: () => Promise<unknown>;
  /**
   * Rows that are kept at most.
   * @default 50_000
   */
  readonly maximumRows?: number;
}

/** Told at once: what somebody may have to act on. */
const URGENT: TableName = 'TrainingSecurity';
/** Rows of one call: a service may take it and its answer be lost, and then they all come twice. */
const BATCH_ROWS = 2_000;
/** Attempts that a run's end waits for. */
const LAST_ATTEMPTS = 3;

/**
 * Delivers log rows in the background, in the order of each table, and again until they have arrived: training never waits for
 * them, and a service that is away for a while loses none. Rows may come twice, never changed: events are told apart by `Head`,
 * metrics by run, name, step and time. Memory only: what a machine has not delivered when it dies is lost, and the chain
 * of events shows where.
 */
export class LogDelivery {
  readonly #options: LogDeliveryOptions;
  readonly #maximum: number;
  readonly #waiting = new Map<TableName, LogRow[]>();
  #rows = 0;
  #dropped = 0;
  #failures = 0;
  #pumping: Promise<void> | undefined;
  #gathering: Promise<void> | undefined;
  #hurry: (() => void) | undefined;
  #givesUpAfter = Number.POSITIVE_INFINITY;

  constructor(options: LogDeliveryOptions) {
    this.#options = options;
    this.#maximum = options.maximumRows ?? 50_000;
  }

  /** Rows that were given up because more came than could be kept. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Rows that are not known to have arrived. */
  get pending(): number {
    return this.#rows;
  }

  add(table: TableName, rows: readonly LogRow[]): void {
    const queue = this.#waiting.get(table) ?? [];
    queue.push(...rows);
    this.#waiting.set(table, queue);
    this.#rows += rows.length;
    this.#bound();
    if (table === URGENT) this.#hurry?.();
    this.#start(table === URGENT);
  }

  /** Delivers what there is, and gives up after some attempts that failed. @returns rows that did not get through */
  async flush(): Promise<number> {
    this.#givesUpAfter = this.#failures + LAST_ATTEMPTS;
    this.#hurry?.();
    await this.#gathering;
    this.#start(true);
    await this.#pumping;
    this.#givesUpAfter = Number.POSITIVE_INFINITY;
    return this.#rows;
  }

  #start(atOnce: boolean): void {
    if (this.#pumping !== undefined || this.#rows === 0) return;
    if (atOnce) {
      this.#pumping = this.#pump().finally(() => {
        this.#pumping = undefined;
      });
      return;
    }
    if (this.#gathering !== undefined) return;
    const hurried = new Promise<void>((resolve) => {
      this.#hurry = resolve;
    });
    this.#gathering = Promise.race([this.#options.gather(), hurried]).then(() => {
      this.#gathering = undefined;
      this.#hurry = undefined;
      this.#start(true);
    });
  }

  async #pump(): Promise<void> {
    for (;;) {
      const next = this.#next();
      if (next === undefined) return;
      const [table, queue] = next;
      const batch = queue.slice(0, BATCH_ROWS);
      try {
        await this.#options.send(table, batch);
        this.#failures = 0;
        this.#rows -= remove(queue, batch);
      } catch {
        this.#failures++;
        if (this.#failures >= this.#givesUpAfter) return;
        await this.#options.pause();
      }
    }
  }

  #next(): [TableName, LogRow[]] | undefined {
    const urgent = this.#waiting.get(URGENT);
    if (urgent !== undefined && urgent.length > 0) return [URGENT, urgent];
    return [...this.#waiting].find(([, queue]) => queue.length > 0);
  }

  /** Metrics go before events, old before new. */
  #bound(): void {
    const last = (table: TableName) => Number(table === URGENT);
    const tables = [...this.#waiting].sort(([one], [other]) => last(one) - last(other));
    for (const [, queue] of tables) {
      const excess = Math.min(queue.length, this.#rows - this.#maximum);
      if (excess <= 0) continue;
      queue.splice(0, excess);
      this.#rows -= excess;
      this.#dropped += excess;
    }
  }
}

/** Takes out what was delivered; some of it may have been dropped meanwhile. */
function remove(queue: LogRow[], delivered: readonly LogRow[]): number {
  const first = queue[0];
  const from = first === undefined ? -1 : delivered.indexOf(first);
  return from < 0 ? 0 : queue.splice(0, delivered.length - from).length;
}
