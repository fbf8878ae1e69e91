import { open } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { SecureTrainingError } from '../errors.ts';
import { HEADER_LENGTH, MAX_BUFFER } from './wire.ts';

/** Key generation on a slow TPM takes seconds; what takes a minute has hung. */
const RESPONSE_TIMEOUT_IN_MS = 60_000;

/** Whatever takes a TPM command and gives its response. Commands are answered one at a time, in the order given. */
export interface TpmTransport {
  transceive(command: Uint8Array): Promise<Uint8Array>;
  close(): Promise<void>;
}

/**
 * The kernel's TPM with its resource manager: one write is a command, one read its response, and what a process
 * leaves loaded is flushed when it closes the device.
 */
export async function openTpmDevice(path = '/dev/tpmrm0'): Promise<TpmTransport> {
  const file = await open(path, 'r+').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') throw new SecureTrainingError('ATTESTATION_REJECTED', `no vTPM at ${path}`, { cause });
    if (cause.code === 'EACCES')
      throw new SecureTrainingError('CONFIG_INVALID', `no permission for ${path}`, { cause });
    throw unavailable(`vTPM at ${path} does not open: ${cause.code}`, cause);
  });
  const exchange = async (command: Uint8Array): Promise<Uint8Array> => {
    const buffer = new Uint8Array(MAX_BUFFER);
    try {
      await file.write(command, 0, command.length, null);
      const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
      return buffer.slice(0, bytesRead);
    } catch (cause) {
      throw unavailable(`vTPM at ${path} does not answer`, cause);
    } finally {
      buffer.fill(0);
    }
  };
  return { transceive: oneAtATime(exchange), close: () => file.close() };
}

/** A TPM behind a unix socket that carries plain command and response buffers: the emulator's vTPM, or swtpm. */
export async function connectTpmSocket(path: string): Promise<TpmTransport> {
  const socket = connect(path);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', (cause) => reject(unavailable(`vTPM at ${path} does not answer`, cause)));
  });
  // Errors are reported to whoever waits for a response; without a listener they would end the process.
  socket.on('error', () => {});
  return {
    transceive: oneAtATime((command) => exchangeOverSocket(socket, command)),
    close: async () => {
      if (socket.destroyed) return;
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.destroy();
      await closed;
    },
  };
}

function exchangeOverSocket(socket: Socket, command: Uint8Array): Promise<Uint8Array> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  if (socket.destroyed || socket.readableEnded) return Promise.reject(unavailable('vTPM connection is closed'));
  const response = new Uint8Array(MAX_BUFFER);
  let received = 0;
  const onData = (chunk: Buffer): void => {
    const fits = received + chunk.length <= MAX_BUFFER;
    if (fits) response.set(chunk, received);
    // A response may be a decrypted key: leave no second copy of it.
    chunk.fill(0);
    received += chunk.length;
    const size = received < HEADER_LENGTH ? HEADER_LENGTH : new DataView(response.buffer).getUint32(2);
    if (!fits || size < HEADER_LENGTH || size > MAX_BUFFER || received > size) fail('vTPM answers with a wrong length');
    else if (received === size) settle(() => resolve(response.slice(0, size)));
  };
  const onClose = (): void => fail('vTPM closed the connection');
  const onError = (cause: Error): void => fail('vTPM does not answer', cause);
  const timer = setTimeout(() => fail(`vTPM did not answer in ${RESPONSE_TIMEOUT_IN_MS} ms`), RESPONSE_TIMEOUT_IN_MS);

  function settle(finish: () => void): void {
    clearTimeout(timer);
    socket.off('data', onData).off('close', onClose).off('end', onClose).off('error', onError);
    finish();
    response.fill(0);
  }
  /** The stream is out of step from here on, so nothing may use it again. */
  function fail(message: string, cause?: unknown): void {
    settle(() => reject(unavailable(message, cause)));
    socket.destroy();
  }

  socket.on('data', onData).on('close', onClose).on('end', onClose).on('error', onError);
  socket.write(command);
  return promise;
}

function oneAtATime(exchange: (command: Uint8Array) => Promise<Uint8Array>): TpmTransport['transceive'] {
  let last: Promise<unknown> = Promise.resolve();
  return (command) => {
    const next = last.then(() => exchange(command));
    last = next.catch(() => {});
    return next;
  };
}

function unavailable(message: string, cause?: unknown): SecureTrainingError {
  return new SecureTrainingError('UNAVAILABLE', message, { cause });
}
