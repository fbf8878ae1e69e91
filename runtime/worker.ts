import { Socket } from 'node:net';
import { frameChannel } from './training/frame-channel.ts';
import { serveSession } from './training/worker-session.ts';

/**
 * Entry point of the worker process: the model and the rows it learns from, and nothing else. It is started by
 * training/broker-side.ts with one socket, descriptor 3, and reads one file, the wasm beside this one.
 */
const socket = new Socket({ fd: 3, readable: true, writable: true });
const channel = frameChannel(socket);
const done = await serveSession(channel, import.meta.dirname);
process.exitCode = done ? 0 : 1;
socket.end();
// The broker may be in the middle of a block: a process that ended now would fail that write, and its own last word, the reason,
// would be lost unread with the socket. A broker that keeps its end open must not keep this process, though.
const patience = setTimeout(() => socket.destroy(), 10_000);
await channel.drain();
clearTimeout(patience);
socket.destroy();
