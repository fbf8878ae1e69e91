import { Socket } from 'node:net';
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

/** A channel over any stream. */
export function frameChannel(socket: Duplex): FrameChannel {
  const reader = new FrameReader();
  const { channel, take } = channelOver(socket, reader);
  socket.on('data', (chunk: Uint8Array) => take(chunk.length, () => reader.push(chunk)));
  return channel;
}

/**
 * A channel over a socket that this process inherited. The system writes the bytes of a frame where they stay: a shard is
 * neither cut in pieces nor copied on its way, which is worth a tenth of a step of the native engine.
 */
export function inheritedChannel(descriptor: number): FrameChannel & { readonly socket: Socket } {
  const reader = new FrameReader();
  let received = (_count: number): void => undefined;
  const socket = new Socket({
    fd: descriptor,
    readable: true,
    writable: true,
    onread: {
      buffer: () => reader.room(),
      callback: (count) => {
        received(count);
        return true;
      },
    },
  });
  const { channel, take } = channelOver(socket, reader);
  received = (count) => take(count, () => reader.filled(count));
  socket.resume();
  return Object.assign(channel, { socket });
}

function channelOver(
  socket: Duplex,
  reader: FrameReader,
): { channel: FrameChannel; take: (count: number, frames: () => Frame[]) => void } {
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

  const take = (count: number, frames: () => Frame[]) => {
    if (ended) return;
    bytesRead += count;
    try {
      const whole = frames();
      if (drained !== undefined) return;
      waiting.push(...whole);
    } catch (error) {
      finish(error);
      socket.destroy();
      return;
    }
    if (waiting.length >= MAX_WAITING) socket.pause();
    settle();
  };
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

  const channel: FrameChannel = {
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
  return { channel, take };
}
