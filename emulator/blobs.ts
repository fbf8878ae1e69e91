import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { SecureTrainingError } from '../runtime/errors.ts';
import type { TlsMaterial } from './tls.ts';

export interface BlobServer {
  readonly port: number;
  readonly processId: number;
  /** Resolves when the process is gone. */
  stop(): Promise<void>;
}

export interface BlobServerOptions {
  /** Where blobs are kept; made if it is not there. */
  readonly directory: string;
  readonly account: string;
  /** Base64. Azurite wants one; nobody uses it, since only tokens are let through. */
  readonly accountKey: string;
  readonly tls: TlsMaterial;
}

/** How long Azurite has to write its index before it is killed. */
const STOP_IN_MS = 5000;

/**
 * Azurite's blob service as a child process that cannot outlive this one. It looks at the form of tokens only: put
 * storage-service.ts in front of it.
 */
export async function startBlobServer({ directory, account, accountKey, tls }: BlobServerOptions): Promise<BlobServer> {
  await mkdir(directory, { recursive: true });
  const processFile = join(directory, 'process-id');
  await previousGone(processFile);
  const [cert, key] = [join(directory, 'tls-cert.pem'), join(directory, 'tls-key.pem')];
  await writeFile(cert, tls.cert);
  await writeFile(key, tls.key, { mode: 0o600 });
  const azurite = createRequire(import.meta.url).resolve('azurite/dist/src/blob/main.js');
  const leash = fileURLToPath(new URL('./leash.ts', import.meta.url));
  const options = ['--blobHost', '127.0.0.1', '--blobPort', '0', '--location', directory, '--cert', cert, '--key', key];
  const flags = ['--oauth', 'basic', '--silent', '--skipApiVersionCheck', '--disableTelemetry'];
  const child = spawn(process.execPath, [leash, 'SIGTERM', azurite, ...options, ...flags], {
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { AZURITE_ACCOUNTS: `${account}:${accountKey}` },
  });
  const exited = new Promise<void>((done) => child.once('close', () => done()));
  await writeFile(processFile, String(child.pid ?? ''));
  return { port: await readyPort(child), processId: child.pid ?? 0, stop: () => stop(child, exited, processFile) };
}

/**
 * After an emulator was killed its blob server still writes its index for a moment, which another one must not read or
 * write meanwhile. The leash ends it within this time, so whoever has that process id later is somebody else.
 */
async function previousGone(processFile: string): Promise<void> {
  const processId = Number(await readFile(processFile, 'utf8').catch(() => ''));
  const end = Date.now() + STOP_IN_MS;
  while (Number.isInteger(processId) && processId > 0 && isAlive(processId) && Date.now() < end) await delay(50);
}

function isAlive(processId: number): boolean {
  try {
    return process.kill(processId, 0);
  } catch {
    return false;
  }
}

async function readyPort(child: ChildProcess): Promise<number> {
  if (child.stdout === null || child.stderr === null) throw new TypeError('no pipes to the blob server');
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString()).slice(-1000);
  });
  const lines = createInterface({ input: child.stdout });
  const port = await new Promise<number | undefined>((done) => {
    lines.on('line', (line) => {
      const found = /successfully listens on https:\/\/127\.0\.0\.1:(\d+)/.exec(line);
      if (found !== null) done(Number(found[1]));
    });
    child.once('close', () => done(undefined));
    child.once('error', () => done(undefined));
  });
  if (port === undefined)
    throw new SecureTrainingError('UNAVAILABLE', `the blob server did not start: ${complaint.trim()}`);
  return port;
}

/** The end of its input is what it waits for; SIGKILL for one that hangs. */
async function stop(child: ChildProcess, exited: Promise<void>, processFile: string): Promise<void> {
  child.stdin?.end();
  const killer = setTimeout(() => child.kill('SIGKILL'), STOP_IN_MS);
  await exited;
  clearTimeout(killer);
  await rm(processFile, { force: true });
}
