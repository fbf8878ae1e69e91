import { rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { concat } from '../../runtime/crypto/bytes.ts';
import type { TpmTransport } from '../../runtime/tpm/transport.ts';
import { HEADER_LENGTH, MAX_BUFFER } from '../../runtime/tpm/wire.ts';
import type { SoftwareTpm } from './software-tpm.ts';

export interface VtpmServer {
  /** Ends every connection and removes the socket. */
  close(): Promise<void>;
}

/**
 * Puts the TPM behind a unix socket that carries plain TPM buffers, for any number of clients. Each connection is as an
 * opening of /dev/tpmrm0: what it loaded is flushed when it ends, even when its process was killed.
 */
export async function serveVtpm(tpm: Pick<SoftwareTpm, 'connect'>, socketPath: string): Promise<VtpmServer> {
  // A socket left by a killed emulator would make the address "in use".
  await rm(socketPath, { force: true });
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    serveClient(socket, tpm.connect());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path: socketPath }, resolve);
  });
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

function serveClient(socket: Socket, client: TpmTransport): void {
  let pending: Uint8Array = new Uint8Array();
  let last: Promise<unknown> = Promise.resolve();
  socket.on('error', () => socket.destroy());
  socket.once('close', () => {
    last = last.then(() => client.close());
  });
  socket.on('data', (chunk) => {
    pending = concat(pending, chunk);
    for (let size = nextSize(pending); size !== undefined && size <= pending.length; size = nextSize(pending)) {
      const command = pending.slice(0, size);
      pending = pending.slice(size);
      last = last.then(() => respond(socket, client, command));
    }
  });
}

/** Length of the command at the front, `undefined` while its header is not there. What cannot be one is given as it is, to be refused. */
function nextSize(pending: Uint8Array): number | undefined {
  if (pending.length < HEADER_LENGTH) return undefined;
  const size = new DataView(pending.buffer, pending.byteOffset).getUint32(2);
  return size < HEADER_LENGTH || size > MAX_BUFFER ? pending.length : size;
}

async function respond(socket: Socket, client: TpmTransport, command: Uint8Array): Promise<void> {
  try {
    const response = await client.transceive(command);
    if (!socket.destroyed) socket.write(response, () => response.fill(0));
  } catch (error) {
    // Not a refusal but a fault of this program or of what fills an NV index: the client sees its connection end.
    socket.destroy(error instanceof Error ? error : new Error(String(error)));
  }
}
