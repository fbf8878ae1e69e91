/**
 * From the call on, a signal that would end this process (of systemd, or of a machine that shuts down) only asks it to end itself,
 * with a checkpoint and exit code 3; a second one ends it at once. Before it there is nothing worth keeping.
 */
export function stopSignal(): AbortSignal {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  return stop.signal;
}
