import { inheritedChannel } from './training/frame-channel.ts';
import { serveSession } from './training/worker-session.ts';

/** The broker ends a worker as soon as it has heard its last word; this is for one that does not. */
const FAREWELL_MS = 10_000;

/**
 * Entry point of the worker process: the model and the rows it learns from, and nothing else. It is started by
 * training/broker-side.ts with one socket, descriptor 3, and reads what computes, the wasm or the native libraries beside this one.
 */
// The broker says when to stop, by a frame: the same signal may reach both, and the last checkpoint comes after it.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined);
const channel = inheritedChannel(3);
const { socket } = channel;
const [backend] = process.argv.slice(2);
const done = await serveSession(channel, {
  wasmDir: import.meta.dirname,
  nativeDir: import.meta.dirname,
  ...(backend === undefined ? {} : { backend }),
});
process.exitCode = done ? 0 : 1;
socket.end();
// The broker may be in the middle of a block: a process that ended now would fail that write, and its own last word, the reason,
// would be lost unread with the socket.
const patience = setTimeout(() => socket.destroy(), FAREWELL_MS);
await channel.drain();
clearTimeout(patience);
socket.destroy();
