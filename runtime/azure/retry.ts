import { setTimeout as delay } from 'node:timers/promises';
import { SecureTrainingError } from '../errors.ts';
import { httpFailure } from './http-failure.ts';

export interface RetryOptions {
  /** @default 6 */
  readonly attempts?: number;
  /**
   * Before the second attempt; doubles from there.
   * @default 500
   */
  readonly baseDelayInMs?: number;
  /** @default 15000 */
  readonly maxDelayInMs?: number;
  /** @default Math.random */
  readonly random?: () => number;
  /** @default - a timer */
  readonly sleep?: (milliseconds: number, abortSignal?: AbortSignal) => Promise<unknown>;
  readonly abortSignal?: AbortSignal | undefined;
}

/** A service may ask for more patience than {@link RetryOptions.maxDelayInMs}, but not for more than this. */
const LONGEST_RETRY_AFTER_IN_MS = 60_000;

/**
 * The one retry mechanism; those of the SDKs are off. Lost connections, time-outs, 408, 429 and 5xx are tried again with
 * jitter; everything else is thrown at once, failures of a request as HttpFailure for the caller to map.
 * @throws {@link SecureTrainingError} `UNAVAILABLE` after the last attempt
 */
export async function withRetry<T>(what: string, attempt: () => Promise<T>, options: RetryOptions = {}): Promise<T> {
  const { attempts = 6, sleep = timer, abortSignal } = options;
  for (let count = 1; ; count++) {
    abortSignal?.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      abortSignal?.throwIfAborted();
      const failure = httpFailure(error);
      if (failure === undefined) throw error;
      if (!failure.retryable) throw failure;
      if (count >= attempts) {
        const message = `${what}: gave up after ${attempts} attempts: ${failure.message}`;
        throw new SecureTrainingError('UNAVAILABLE', message, { failures: [failure.message] });
      }
      await sleep(waitInMs(count, failure.retryAfterInMs, options), abortSignal);
    }
  }
}

/** Half fixed, half random: a fleet that failed together does not come back together. */
function waitInMs(count: number, retryAfterInMs: number | undefined, options: RetryOptions): number {
  const { baseDelayInMs = 500, maxDelayInMs = 15_000, random = Math.random } = options;
  const backoff = Math.min(maxDelayInMs, baseDelayInMs * 2 ** (count - 1));
  const asked = Math.min(LONGEST_RETRY_AFTER_IN_MS, retryAfterInMs ?? 0);
  return asked + backoff / 2 + random() * (backoff / 2);
}

async function timer(milliseconds: number, abortSignal?: AbortSignal): Promise<void> {
  await delay(milliseconds, undefined, abortSignal === undefined ? {} : { signal: abortSignal });
}
