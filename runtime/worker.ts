import { Socket } from 'node:net';
import { frameChannel } from './training/frame-channel.ts';
import { serveSession } from './training/worker-session.ts';

/**
 * Entry point of the worker process: the model and the rows it learns from, and nothing else. It is started by
 * training/broker-side.ts with one socket, descriptor 3, and reads what computes, the wasm or the native libraries beside this one.
 */
const socket = new Socket({ fd: 3, readable: true, writable: true });
const [backend] = process.argv.slice(2);
const done = await serveSession(frameChannel(socket), {
  wasmDir: import.meta.dirname,
  nativeDir: import.meta.dirname,
  ...(backend === undefined ? {} : { backend }),
});
process.exitCode = done ? 0 : 1;
socket.end();
// A broker that has gone, or that keeps its end open, must not keep this process.
socket.on('end', () => socket.destroy());
socket.unref();
