import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { SecureTrainingError } from '../runtime/errors.ts';

/** One emulator a state folder. Holds a folder for sockets, whose paths must be short (108 bytes on Linux, 104 on macOS). */
export interface Instance {
  readonly socketDir: string;
  release(): Promise<void>;
}

/**
 * A listening socket is what the operating system takes back when a process dies, however it dies: no stale lock, no
 * process id that somebody else has by now.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when another emulator uses the folder
 */
export async function claimInstance(stateDir: string): Promise<Instance> {
  const digest = createHash('sha256').update(resolve(stateDir)).digest('hex').slice(0, 16);
  const socketDir = join(tmpdir(), `ctrain-${digest}`);
  await mkdir(socketDir, { recursive: true, mode: 0o700 });
  const path = join(socketDir, 'lock.sock');
  if (await answers(path))
    throw new SecureTrainingError('CONFIG_INVALID', `an emulator is already running on ${stateDir}`);
  await rm(path, { force: true });
  const server = createServer((socket) => socket.destroy());
  server.listen(path);
  await once(server, 'listening');
  server.unref();
  return {
    socketDir,
    async release() {
      server.close();
      await rm(socketDir, { recursive: true, force: true });
    },
  };
}

async function answers(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
