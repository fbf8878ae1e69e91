import type { AzureServices } from './azure/trainer-services.ts';
import { SecureTrainingError } from './errors.ts';
import type { SecurityEvent } from './events.ts';
import { MetricHistory } from './metric-history.ts';
import { type RunProgress, type RunStatus, writeStatus } from './queue.ts';
import { consoleLine, failedCheckLine, type RunStep } from './run-steps.ts';
import type { Metric, Progress } from './training/frames.ts';

/** Progress reaches the store at most this often. */
const STATUS_INTERVAL_MS = 500;

/**
 * What leaves the machine while a run lasts: `status.json`, log rows, and lines on the serial console.
 * Best effort but for the last word: a log service that is down never stops a training.
 */
export class RunReporter {
  readonly #runId: string;
  readonly #services: AzureServices;
  readonly #now: () => Date;
  readonly #say: (line: string) => void;
  readonly #history: MetricHistory;
  #step: RunStep = 'agreement';
  #lastProgress: RunProgress | undefined;
  #lastWrite = 0;
  /** One status write at a time, so that an older one never lands last. */
  #writing: Promise<void> = Promise.resolve();
  #busy = false;

  constructor(runId: string, services: AzureServices, now: () => Date, say: (line: string) => void) {
    this.#runId = runId;
    this.#services = services;
    this.#now = now;
    this.#say = say;
    this.#history = new MetricHistory(services.runs, runId, now);
  }

  async step(step: RunStep): Promise<void> {
    this.#step = step;
    this.#say(consoleLine({ run: this.#runId, step }));
    await this.#write({ state: 'running' });
  }

  /** @param epsilon of differential privacy, spent so far; - a run without */
  progress(progress: Progress, allowed: readonly string[], epsilon?: number): void {
    const { loss, ...rest } = progress;
    this.#lastProgress = {
      ...rest,
      samplesPerSecond: Math.round(rest.samplesPerSecond),
      ...(allowed.includes('loss') ? { loss: Math.round(loss * 10_000) / 10_000 } : {}),
      ...(epsilon === undefined ? {} : { epsilon: Math.round(epsilon * 10_000) / 10_000 }),
    };
    const now = this.#now().getTime();
    if (this.#busy || now - this.#lastWrite < STATUS_INTERVAL_MS) return;
    this.#write({ state: 'running' }).catch(() => undefined);
  }

  metric({ name, value, step }: Metric): void {
    const rounded = Math.round(value * 10_000) / 10_000;
    const row = {
      TimeGenerated: this.#now().toISOString(),
      RunId: this.#runId,
      Step: step,
      Metric: name,
      Value: rounded,
    };
    this.#services.log('TrainingMetrics', [row]);
    this.#history.add(name, step, rounded);
  }

  event(event: SecurityEvent): void {
    this.#services.log('TrainingSecurity', [{ ...event }]);
  }

  async finished(): Promise<void> {
    await this.#flushLogs();
    await this.#history.flush().catch(() => undefined);
    await this.#write({ state: 'finished' });
    this.#say(consoleLine({ run: this.#runId, state: 'finished' }));
  }

  /** Says why a run ended; never throws, for the reason is what counts. */
  async failed(error: unknown): Promise<void> {
    const known = error instanceof SecureTrainingError ? error : undefined;
    const state = isFinal(error) ? 'refused' : 'interrupted';
    this.#say(consoleLine({ run: this.#runId, step: this.#step, state, code: known?.code ?? 'INTERNAL' }));
    for (const failure of known?.failures ?? []) this.#say(failedCheckLine(failure));
    await this.#flushLogs();
    await this.#history.flush().catch(() => undefined);
    await this.#write({
      state,
      ...(known === undefined ? {} : { code: known.code }),
      message: known?.message ?? 'internal error of the trainer: see the serial console',
      failures: known?.failures ?? [],
    }).catch(() => undefined);
  }

  async #flushLogs(): Promise<void> {
    const lost = await this.#services.flushLogs();
    if (lost > 0) this.#say(consoleLine({ run: this.#runId, lost }));
  }

  #write(part: Pick<RunStatus, 'state' | 'code' | 'message' | 'failures'>): Promise<void> {
    this.#lastWrite = this.#now().getTime();
    this.#busy = true;
    const status: RunStatus = {
      version: 1,
      runId: this.#runId,
      step: this.#step,
      ...(this.#lastProgress === undefined ? {} : { progress: this.#lastProgress }),
      ...part,
      updatedAt: this.#now().toISOString(),
    };
    const written = this.#writing.catch(() => undefined).then(() => writeStatus(this.#services.runs, status));
    this.#writing = written.finally(() => {
      this.#busy = false;
    });
    return this.#writing;
  }
}

/** Whether the same run would be refused again: we know why, and it is not a service that was away. */
export function isFinal(error: unknown): boolean {
  return error instanceof SecureTrainingError && error.code !== 'UNAVAILABLE';
}
