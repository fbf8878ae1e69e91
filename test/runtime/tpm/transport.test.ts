import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { connectTpmSocket, openTpmDevice } from '../../../runtime/tpm/transport.ts';
import { frame, u8, u16 } from '../../../runtime/tpm/wire.ts';

let folder: string;
let path: string;
let server: Server | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ctrain-tpm-'));
  path = join(folder, 'sock');
});
afterEach(() => {
  server?.close();
  server = undefined;
  rmSync(folder, { recursive: true, force: true });
});

/** A peer that answers each command in its own way. */
async function listen(answer: (socket: Socket, command: Buffer) => void): Promise<void> {
  server = createServer((socket) => socket.on('data', (command) => answer(socket, command)).on('error', () => {}));
  server.listen(path);
  await once(server, 'listening');
}

const command = frame(0x8001, 0x17b, u16(1));
const response = frame(0x8001, 0, u16(1), u8(7));
const unavailable = (message: string) => expect.objectContaining({ code: 'UNAVAILABLE', message });

test('puts a response together from its pieces', async () => {
  await listen((socket) => {
    socket.write(response.subarray(0, 4), () => setImmediate(() => socket.write(response.subarray(4))));
  });
  const transport = await connectTpmSocket(path);
  expect(await transport.transceive(command)).toEqual(response);
  await transport.close();
});

test('sends one command at a time, in order', async () => {
  const seen: number[] = [];
  let open = 0;
  await listen((socket, bytes) => {
    expect(++open).toBe(1);
    seen.push(bytes[11] ?? 0);
    setImmediate(() => {
      open--;
      socket.write(response);
    });
  });
  const transport = await connectTpmSocket(path);
  await Promise.all([1, 2, 3].map((n) => transport.transceive(frame(0x8001, 0x17b, u16(n)))));
  expect(seen).toEqual([1, 2, 3]);
  await transport.close();
});

test.each([
  ['ends the connection', (socket: Socket) => socket.end(), 'vTPM closed the connection'],
  ['ends it amid a response', (socket: Socket) => socket.end(response.subarray(0, 11)), 'vTPM closed the connection'],
  [
    'sends more than a response',
    (socket: Socket) => socket.write(Buffer.concat([response, response])),
    'vTPM answers with a wrong length',
  ],
  [
    'states an impossible length',
    (socket: Socket) => socket.write(new Uint8Array(10).fill(0xff)),
    'vTPM answers with a wrong length',
  ],
  [
    'sends more than a TPM may',
    (socket: Socket) => socket.write(new Uint8Array(5000)),
    'vTPM answers with a wrong length',
  ],
])('gives up a peer that %s', async (_what, answer, message) => {
  await listen((socket) => answer(socket));
  const transport = await connectTpmSocket(path);
  await expect(transport.transceive(command)).rejects.toThrow(unavailable(message));
  await expect(transport.transceive(command)).rejects.toThrow(unavailable('vTPM connection is closed'));
  await transport.close();
});

test('closing fails what waits', async () => {
  await listen(() => {});
  const transport = await connectTpmSocket(path);
  const waiting = transport.transceive(command);
  const rejected = expect(waiting).rejects.toThrow(unavailable('vTPM closed the connection'));
  await new Promise((resolve) => setImmediate(resolve));
  await transport.close();
  await rejected;
  await transport.close();
});

test('says what is wrong with a path', async () => {
  await expect(connectTpmSocket(path)).rejects.toThrow(unavailable(`vTPM at ${path} does not answer`));
  await expect(openTpmDevice(path)).rejects.toThrow(
    expect.objectContaining({ code: 'ATTESTATION_REJECTED', message: `no vTPM at ${path}` }),
  );
  await expect(openTpmDevice(folder)).rejects.toThrow(unavailable(`vTPM at ${folder} does not open: EISDIR`));
});
