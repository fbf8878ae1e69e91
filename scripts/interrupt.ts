/** What a shell says of a command that ctrl-C ended: 128 and the signal's number (SIGINT is 2). */
export const INTERRUPTED_EXIT_CODE = 130;

/** Somebody pressed ctrl-C; the message says what is left, and how to go on. */
export class Interruption extends Error {
  override readonly name = 'Interruption';
}

/** Work that ends in good order when its signal is aborted: by the first ctrl-C. The second one leaves at once. */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const onSignal = () => {
    if (stop.signal.aborted) process.exit(INTERRUPTED_EXIT_CODE);
    console.error('\nstopping; ctrl-C again leaves at once');
    stop.abort();
  };
  const signals = ['SIGINT', 'SIGTERM'] as const;
  for (const signal of signals) process.on(signal, onSignal);
  try {
    return await work(stop.signal);
  } finally {
    for (const signal of signals) process.off(signal, onSignal);
  }
}
