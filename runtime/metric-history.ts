import { utf8 } from './crypto/bytes.ts';
import type { BlobStore } from './data/blob-store.ts';
import { checkShape, finite, instant, integer, list, members, oneOf, parseJson, text } from './shape.ts';

/** One value of a metric that the agreement lets out, as `metrics.json` of a run holds it. Unsigned: the receipt has the last values. */
export interface MetricPoint {
  readonly name: string;
  readonly step: number;
  readonly value: number;
  /** RFC 3339, by the machine's clock. */
  readonly at: string;
}

/** A run of more points than this keeps the newest. */
const MAXIMUM_POINTS = 20_000;
/** The file reaches the store at most this often, and whenever it is flushed. */
const WRITE_INTERVAL_MS = 2000;

const shape = members<{ version: 1; points: readonly MetricPoint[] }>({
  version: oneOf(1),
  points: list(
    members<MetricPoint>({
      name: text(/^[A-Za-z][A-Za-z0-9_.]{0,63}$/, 'a metric name'),
      step: integer(0),
      value: finite,
      at: instant,
    }),
    { maximum: MAXIMUM_POINTS },
  ),
});

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED` */
export function parseMetricHistory(bytes: Uint8Array, what = 'metrics.json'): readonly MetricPoint[] {
  return checkShape(shape, parseJson(bytes, what), what).points;
}

/** What {@link parseMetricHistory} reads. */
export function encodeMetricHistory(points: readonly MetricPoint[]): Uint8Array {
  return utf8(JSON.stringify({ version: 1, points }));
}

export function metricHistoryName(runId: string): string {
  return `${runId}/metrics.json`;
}

/** The curves of a run, over every machine and start that worked on it. Best effort: nothing of a training waits for it. */
export class MetricHistory {
  readonly #runs: BlobStore;
  readonly #name: string;
  readonly #now: () => Date;
  #points: Promise<MetricPoint[]> | undefined;
  #lastWrite = 0;
  #writing: Promise<void> = Promise.resolve();

  constructor(runs: BlobStore, runId: string, now: () => Date) {
    this.#runs = runs;
    this.#name = metricHistoryName(runId);
    this.#now = now;
  }

  add(name: string, step: number, value: number): void {
    const now = this.#now();
    const earlier = this.#points ?? this.#read();
    this.#points = earlier.then((points) => {
      // After a resume the steps since the checkpoint are made again.
      const kept = points.filter((point) => point.name !== name || point.step < step);
      return [...kept, { name, step, value, at: now.toISOString() }].slice(-MAXIMUM_POINTS);
    });
    if (now.getTime() - this.#lastWrite < WRITE_INTERVAL_MS) return;
    this.#lastWrite = now.getTime();
    this.flush().catch(() => undefined);
  }

  /** Writes what there is; one write at a time, so that an older one never lands last. */
  flush(): Promise<void> {
    this.#writing = this.#writing
      .catch(() => undefined)
      .then(async () => {
        const points = await this.#points;
        if (points !== undefined) await this.#runs.put(this.#name, encodeMetricHistory(points));
      });
    return this.#writing;
  }

  async #read(): Promise<MetricPoint[]> {
    try {
      const blob = await this.#runs.get(this.#name);
      return blob === undefined ? [] : [...parseMetricHistory(blob.bytes)];
    } catch {
      // A file that cannot be read is begun anew: it is for people, and proves nothing.
      return [];
    }
  }
}
