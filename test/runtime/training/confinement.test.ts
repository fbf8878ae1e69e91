import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { confinedCommand, readConfinement } from '../../../runtime/training/confinement.ts';
import { bundledWorker } from './worker-setup.ts';

let dir: string;
let bundleDir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ctrain-confinement-'));
  bundleDir = join(dir, 'bundle');
  await mkdir(bundleDir);
  await writeFile(join(dir, 'key.pem'), 'secret');
});
afterAll(() => rm(dir, { recursive: true }));

const hasNamespaces = spawnSync('unshare', ['--user', '--map-root-user', '--net', '--mount', 'true']).status === 0;
if (!hasNamespaces) console.log('skipped: worker has no network, because unshare is not there or not allowed');

/** What a script that is confined as the worker is prints. Awaited: a server of this process may be what it tries to reach. */
async function outputOf(source: string, confine = true): Promise<string> {
  const script = join(bundleDir, 'probe.mjs');
  await writeFile(script, source);
  const [command = '', ...parameters] = confinedCommand({ node: process.execPath, script, bundleDir, confine });
  const child = spawn(command, parameters, { cwd: bundleDir, env: {}, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  await new Promise((done) => child.once('close', done));
  return output.trim();
}

const attempt = (statement: string) => `
  import * as fs from 'node:fs'; import * as cp from 'node:child_process'; import { Worker } from 'node:worker_threads';
  try { ${statement}; console.log('allowed'); } catch (error) { console.log(error.code ?? error.name); }`;

test.each([
  ['reads its own folder', 'fs.readdirSync(import.meta.dirname)', 'allowed'],
  ['does not read a key beside it', `fs.readFileSync(import.meta.dirname + '/../key.pem')`, 'ERR_ACCESS_DENIED'],
  ['does not read the system', `fs.readFileSync('/etc/hostname')`, 'ERR_ACCESS_DENIED'],
  ['does not open the vTPM', `fs.openSync('/dev/tpmrm0', 'r+')`, 'ERR_ACCESS_DENIED'],
  ['does not write its own folder', `fs.writeFileSync(import.meta.dirname + '/x', '')`, 'ERR_ACCESS_DENIED'],
  ['starts no process', `cp.execFileSync('/bin/true')`, 'ERR_ACCESS_DENIED'],
  ['starts no thread', `new Worker('0', { eval: true })`, 'ERR_ACCESS_DENIED'],
  ['compiles no text', `new Function('return 1')`, 'EvalError'],
])('the worker %s', async (_, statement, expected) => {
  expect(await outputOf(attempt(statement))).toBe(expected);
});

test('the worker sees no environment', async () => {
  expect(await outputOf('console.log(JSON.stringify(process.env))')).toBe('{}');
});

const connect = (target: string) => `
  import { connect } from 'node:net';
  const socket = connect(${target});
  socket.on('connect', () => { console.log('connected'); process.exit(); });
  socket.on('error', ({ code }) => console.log(code));`;

test.skipIf(!hasNamespaces)('the worker reaches neither this machine nor the metadata service', async () => {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  try {
    expect(await outputOf(connect(`{ host: '127.0.0.1', port: ${port} }`), false)).toBe('connected');
    expect(await outputOf(connect(`{ host: '127.0.0.1', port: ${port} }`))).toBe('ENETUNREACH');
    expect(await outputOf(connect(`{ host: '169.254.169.254', port: 80 }`))).toBe('ENETUNREACH');
  } finally {
    server.close();
  }
});

test.skipIf(!hasNamespaces)('the worker reaches no socket that is a file, as the vTPM of the emulator is', async () => {
  const path = join(dir, 'vtpm.sock');
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((done) => server.listen(path, done));
  try {
    expect(await outputOf(connect(`{ path: ${JSON.stringify(path)} }`), false)).toBe('connected');
    expect(await outputOf(connect(`{ path: ${JSON.stringify(path)} }`))).toBe('ENOENT');
  } finally {
    server.close();
  }
});

test.skipIf(!existsSync('/proc/self/status'))('what is in force is read back, and what is not is named', async () => {
  const worker = await bundledWorker();
  const confined = await worker.start(true);
  const bare = await worker.start(false);
  try {
    expect(confined.confinement).toMatchObject({ readOnlyFiles: true, emptyEnvironment: true });
    if (hasNamespaces) {
      expect(confined.confinement).toMatchObject({ networkNamespace: true, userNamespace: true, ownRoot: true });
      expect(confined.confinement.missing).not.toContain('networkNamespace');
    }
    expect(bare.confinement).toMatchObject({ networkNamespace: false, ownRoot: false, readOnlyFiles: true });
    expect(bare.confinement.missing).toContain('networkNamespace');
  } finally {
    await Promise.all([confined.stop(), bare.stop()]);
    await worker.remove();
  }
});

test('a process that is gone is confined by nothing', () => {
  const probe = { fileRead: false, fileWrite: false, childProcess: false, workerThreads: false, nativeAddons: false };
  const report = readConfinement(2 ** 30, probe);
  expect(report.missing).toEqual(Object.keys(report).filter((name) => name !== 'missing'));
});
