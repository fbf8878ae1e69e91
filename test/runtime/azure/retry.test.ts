import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HttpFailure } from '../../../runtime/azure/http-failure.ts';
import { type RetryOptions, withRetry } from '../../../runtime/azure/retry.ts';
import { SecureTrainingError } from '../../../runtime/errors.ts';

/** Runs withRetry on attempts that fail as listed and then succeed; nothing sleeps. */
async function run(failures: readonly unknown[], options: RetryOptions = {}) {
  const waits: number[] = [];
  let attempts = 0;
  const sleep = async (milliseconds: number): Promise<void> => {
    waits.push(milliseconds);
  };
  const attempt = async (): Promise<string> => {
    const failure = failures[attempts++];
    if (failure !== undefined) throw failure;
    return 'done';
  };
  const result = await withRetry('ask', attempt, { sleep, random: () => 1, ...options }).catch(
    (error: unknown) => error,
  );
  return { result, waits, attempts };
}

const status = (value: number, retryAfterInMs?: number): HttpFailure =>
  new HttpFailure(`status ${value}`, { status: value, retryAfterInMs });

test.each([408, 429, 500, 502, 503, 504])('status %i is tried again', async (value) => {
  expect(await run([status(value), status(value)])).toMatchObject({ result: 'done', attempts: 3 });
});

test.each([400, 401, 403, 404, 409, 412, 501])('status %i is thrown at once, as it is', async (value) => {
  expect(await run([status(value)])).toMatchObject({
    result: { name: 'HttpFailure', status: value },
    attempts: 1,
    waits: [],
  });
});

test('an error that is not about a request is thrown at once, as it is', async () => {
  const error = new SecureTrainingError('CONFIG_INVALID', 'no');
  expect(await run([error])).toMatchObject({ result: error, attempts: 1 });
});

test('a lost connection is tried again', async () => {
  const reset = Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' });
  expect(await run([reset])).toMatchObject({ result: 'done', attempts: 2 });
});

test('the last attempt ends in UNAVAILABLE, with the reason', async () => {
  const { result, attempts } = await run(Array(9).fill(status(503)), { attempts: 3 });
  expect(attempts).toBe(3);
  expect(result).toMatchObject({
    code: 'UNAVAILABLE',
    message: 'ask: gave up after 3 attempts: status 503',
    failures: ['status 503'],
  });
});

test('waits double up to the ceiling', async () => {
  const { waits } = await run(Array(9).fill(status(500)), { attempts: 6, baseDelayInMs: 100, maxDelayInMs: 500 });
  expect(waits).toEqual([100, 200, 400, 500, 500]);
});

test('what a service asks for is waited, up to a minute', async () => {
  const { waits } = await run([status(429, 3000), status(429, 86_400_000)], { baseDelayInMs: 100 });
  expect(waits).toEqual([3100, 60_200]);
});

test('half of a wait is random', async () => {
  await fc.assert(
    fc.asyncProperty(fc.double({ min: 0, max: 1, noNaN: true }), async (random) => {
      const { waits } = await run([status(500)], { baseDelayInMs: 100, random: () => random });
      expect(waits[0]).toBeCloseTo(50 + random * 50);
    }),
  );
});

test('an abort ends it, before an attempt and in the middle of one', async () => {
  const abort = new AbortController();
  const reason = new Error('enough');
  const attempt = async (): Promise<never> => {
    abort.abort(reason);
    throw status(500);
  };
  await expect(withRetry('ask', attempt, { abortSignal: abort.signal })).rejects.toBe(reason);
  await expect(withRetry('ask', async () => 'done', { abortSignal: abort.signal })).rejects.toBe(reason);
});
