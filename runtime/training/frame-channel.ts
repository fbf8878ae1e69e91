import type { Duplex } from 'node:stream';
import { encodeFrame, type Frame, FrameReader, type FrameType, type Headers } from './frames.ts';

/** Frames over a socket, in order. */
export interface FrameChannel {
  /** Resolves once the bytes are handed on, so that a sender who waits never piles up frames in memory. */
  send<T extends FrameType>(type: T, header: Headers[T], body?: Uint8Array): Promise<void>;
  /** The next frame, `undefined` at the end of the stream. @throws `EVIDENCE_MALFORMED`, or the socket's error */
  receive(): Promise<Frame | undefined>;
  /** Reads on and drops everything, until the other side closes its end. */
  drain(): Promise<void>;
  /** Bytes received so far. */
  readonly bytesRead: number;
}

/** Reading stops while this many frames wait to be received. */
const MAX_WAITING = 8;

export function frameChannel(socket: Duplex): FrameChannel {
  const reader = new FrameReader();
  const waiting: Frame[] = [];
  let receiver: { resolve: (frame: Frame | undefined) => void; reject: (reason: unknown) => void } | undefined;
  let ended = false;
  let failure: unknown;
  let bytesRead = 0;
  let drained: (() => void) | undefined;

  const settle = () => {
    if (receiver === undefined || (waiting.length === 0 && !ended)) return;
    const { resolve, reject } = receiver;
    receiver = undefined;
    const frame = waiting.shift();
    if (frame !== undefined) resolve(frame);
    else if (failure !== undefined) reject(failure);
    else resolve(undefined);
    if (waiting.length < MAX_WAITING && socket.isPaused()) socket.resume();
  };
  const finish = (error?: unknown) => {
    if (ended) return;
    ended = true;
    failure = error;
    drained?.();
    settle();
  };

  socket.on('data', (chunk: Uint8Array) => {
    if (drained !== undefined) return;
    bytesRead += chunk.length;
    try {
      waiting.push(...reader.push(chunk));
    } catch (error) {
      finish(error);
      socket.destroy();
      return;
    }
    if (waiting.length >= MAX_WAITING) socket.pause();
    settle();
  });
  socket.on('error', finish);
  socket.on('close', () => finish());
  socket.on('end', () => {
    try {
      reader.end();
      finish();
    } catch (error) {
      finish(error);
    }
  });

  return {
    async send(type, header, body) {
      const [head, rest] = encodeFrame(type, header, body);
      await new Promise<void>((resolve, reject) => {
        const done = (error?: Error | null) => (error ? reject(error) : resolve());
        if (rest.length === 0) return void socket.write(head, done);
        socket.cork();
        socket.write(head);
        socket.write(rest, done);
        socket.uncork();
      });
    },
    receive() {
      if (receiver !== undefined) throw new Error('two readers of one channel');
      return new Promise((resolve, reject) => {
        receiver = { resolve, reject };
        settle();
      });
    },
    drain() {
      if (ended) return Promise.resolve();
      return new Promise((resolve) => {
        drained = resolve;
        waiting.length = 0;
        socket.resume();
      });
    },
    get bytesRead() {
      return bytesRead;
    },
  };
}
