import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { TokenCredential } from '@azure/core-auth';
import { emulatorNetwork } from '../emulator/network.ts';
import { OPERATOR_CLIENT_ID } from '../emulator/state.ts';
import { managedIdentity } from '../runtime/azure/identity.ts';
import { operatorCredential } from '../runtime/azure/operator-identity.ts';
import { azureNetwork, type Network } from '../runtime/azure/network.ts';
import type { Deployment } from '../runtime/catalogue.ts';
import { SecureTrainingError } from '../runtime/errors.ts';

/** Where the emulator keeps its keys, blobs and logs, below the working folder. */
export const EMULATOR_STATE = '.ctrain/emulator';

/** What a command works with: a deployment, a way to reach it, and whose name it acts in. */
export interface Context {
  readonly deployment: Deployment;
  readonly network: Network;
  readonly credential: TokenCredential;
  /** Stops the emulator if this command started it. */
  close(): Promise<void>;
}

/**
 * Opens a deployment file, or the emulator (started when it is not running) when none is named.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for a file that is no deployment, `UNAVAILABLE` when the emulator does not start
 */
export async function openContext(deploymentFile?: string, log: (line: string) => void = () => undefined): Promise<Context> {
  if (deploymentFile === undefined) return openEmulator(log);
  const deployment = await readDeployment(deploymentFile);
  log(`deployment: ${deploymentFile} (${deployment.kind})`);
  if (deployment.kind === 'emulator') return emulatorContext(deployment, async () => undefined);
  return { deployment, network: azureNetwork(), credential: operatorCredential(), close: async () => undefined };
}

async function openEmulator(log: (line: string) => void): Promise<Context> {
  const file = resolve(EMULATOR_STATE, 'deployment.json');
  const running = await readDeployment(file).catch(() => undefined);
  if (running !== undefined && (await answers(running))) {
    log(`deployment: emulator (running, ${EMULATOR_STATE})`);
    return emulatorContext(running, async () => undefined);
  }
  log(`deployment: emulator (starting, ${EMULATOR_STATE})`);
  const stop = await startEmulatorProcess(resolve(EMULATOR_STATE));
  return emulatorContext(await readDeployment(file), stop);
}

async function emulatorContext(deployment: Deployment, close: () => Promise<void>): Promise<Context> {
  if (deployment.emulator === undefined) {
    throw new SecureTrainingError('CONFIG_INVALID', "the deployment says emulator but has no 'emulator' section");
  }
  const network = emulatorNetwork({
    ca: await readFile(deployment.emulator.caFile, 'utf8'),
    routes: deployment.emulator.routes,
  });
  return { deployment, network, credential: managedIdentity(network, OPERATOR_CLIENT_ID), close };
}

/** Runs the emulator for as long as this process lives: it stops when its standard input ends, however we end. */
async function startEmulatorProcess(stateDir: string): Promise<() => Promise<void>> {
  const main = fileURLToPath(new URL('../emulator/main.ts', import.meta.url));
  const child = spawn(process.execPath, [main, '--state', stateDir, '--parent'], { stdio: ['pipe', 'pipe', 'pipe'] });
  const exited = new Promise<void>((done) => child.once('exit', () => done()));
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString()).slice(-2000);
  });
  const ready = new Promise<boolean>((done) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith('ready')) done(true);
    });
    child.once('exit', () => done(false));
  });
  if (!(await ready)) throw new SecureTrainingError('UNAVAILABLE', `the emulator did not start: ${complaint.trim()}`);
  child.unref();
  return async () => {
    child.ref();
    child.stdin.end();
    await exited;
  };
}

async function readDeployment(path: string): Promise<Deployment> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new SecureTrainingError('CONFIG_INVALID', `there is no deployment file at ${path}`, { cause });
  });
  try {
    const value = JSON.parse(text) as Partial<Deployment>;
    if (value.version === 1 && (value.kind === 'azure' || value.kind === 'emulator')) return value as Deployment;
  } catch {
    // Falls through to the one refusal.
  }
  throw new SecureTrainingError('CONFIG_INVALID', `${path} is not a deployment file: wanted version 1, kind azure or emulator`);
}

/** Whether the emulator of this deployment file still listens. */
async function answers(deployment: Deployment): Promise<boolean> {
  const port = Object.values(deployment.emulator?.routes ?? {})[0];
  if (port === undefined) return false;
  return new Promise((done) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => {
      socket.destroy();
      done(true);
    });
    socket.once('error', () => done(false));
  });
}
