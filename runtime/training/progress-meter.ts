/** PROGRESS leaves at most this often. */
const INTERVAL_MS = 200;

/** Says when progress is due and how fast rows went by since it was last read; time spent evaluating does not count. */
export interface ProgressMeter {
  add(rows: number): void;
  due(): boolean;
  /** Samples per second since the last reading; begins the next one. */
  read(): number;
  pause(): void;
  resume(): void;
}

export function progressMeter(now: () => number = () => performance.now()): ProgressMeter {
  let since = now();
  let pausedAt = 0;
  let rows = 0;
  return {
    add(count) {
      rows += count;
    },
    due: () => now() - since >= INTERVAL_MS,
    read() {
      const at = now();
      const rate = (rows / Math.max(at - since, 0.001)) * 1000;
      since = at;
      rows = 0;
      return rate;
    },
    pause() {
      pausedAt = now();
    },
    resume() {
      since += now() - pausedAt;
    },
  };
}
