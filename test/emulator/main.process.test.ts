import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { emulatorNetwork } from '../../emulator/network.ts';
import { OPERATOR_CLIENT_ID } from '../../emulator/provision.ts';
import { openState } from '../../emulator/state.ts';
import { managedIdentity } from '../../runtime/azure/identity.ts';
import { startMachine } from '../../runtime/azure/resource-manager.ts';
import type { Deployment } from '../../runtime/catalogue.ts';
import { utf8 } from '../../runtime/crypto/bytes.ts';
import { writeTar } from '../../scripts/tar.ts';
import { allGone } from './processes.ts';

const directory = mkdtempSync(join(tmpdir(), 'ctrain-main-test-'));
const state = join(directory, 'state');
const bundle = join(directory, 'bundle.tar');
const deploymentFile = join(state, 'deployment.json');
const fromHere = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

beforeAll(async () => {
  writeFileSync(bundle, writeTar([{ name: 'behaviour', bytes: utf8('wait') }]));
  // Roots of AMD's size would take seconds to make.
  await openState({ stateDir: state, now: new Date(), rootKeyBits: 2048 });
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function startMain(...flags: string[]): Promise<ChildProcessWithoutNullStreams> {
  const entry = ['--entry', fromHere('./stand-in-trainer.ts')];
  const child = spawn(process.execPath, [
    fromHere('../../emulator/main.ts'),
    '--state',
    state,
    '--bundle',
    bundle,
    ...entry,
    ...flags,
  ]);
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaint += chunk.toString();
  });
  await new Promise<void>((done, fail) => {
    createInterface({ input: child.stdout }).on('line', (line) => line.startsWith('ready') && done());
    child.once('exit', () => fail(new Error(complaint)));
  });
  return child;
}

/** Starts the machine and gives the processes that must not stay: blob server, broker, worker. */
async function startAll(): Promise<number[]> {
  const { emulator, trainer } = JSON.parse(readFileSync(deploymentFile, 'utf8')) as Deployment;
  const network = emulatorNetwork({ ca: readFileSync(emulator?.caFile ?? '', 'utf8'), routes: emulator?.routes ?? {} });
  rmSync(join(state, 'serial.log'), { force: true });
  await startMachine(network, managedIdentity(network, OPERATOR_CLIENT_ID), trainer.vmIds[0] ?? '');
  for (;;) {
    const [, broker, worker] = /^working (\d+) (\d+)$/m.exec(serialLog()) ?? [];
    if (broker !== undefined)
      return [Number(readFileSync(join(state, 'blobs', 'process-id'), 'utf8')), Number(broker), Number(worker)];
    await delay(20);
  }
}

function serialLog(): string {
  try {
    return readFileSync(join(state, 'serial.log'), 'utf8');
  } catch {
    return '';
  }
}

test.each(['SIGINT', 'SIGTERM'] as const)('%s ends it and everything it started, with code 0', async (signal) => {
  const child = await startMain();
  const processes = await startAll();
  child.kill(signal);
  expect((await once(child, 'exit'))[0]).toBe(0);
  await allGone(processes);
});

test('with --parent the end of its input ends it', async () => {
  const child = await startMain('--parent');
  child.stdin.end();
  expect((await once(child, 'exit'))[0]).toBe(0);
});

test('kill -9 leaves no child behind, and the next start works at once', async () => {
  const child = await startMain();
  const processes = await startAll();
  child.kill('SIGKILL');
  await once(child, 'exit');
  const next = await startMain();
  await allGone(processes);
  next.kill('SIGTERM');
  expect((await once(next, 'exit'))[0]).toBe(0);
});

test('a second one on the same state says so in one line, with the code for wrong input', async () => {
  const child = await startMain();
  await expect(startMain()).rejects.toThrow(/^CONFIG_INVALID: an emulator is already running on .*state\n$/);
  child.kill('SIGTERM');
  await once(child, 'exit');
});
