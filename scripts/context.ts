import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { TokenCredential } from '@azure/core-auth';
import { emulatorNetwork } from '../emulator/network.ts';
import { OPERATOR_CLIENT_ID } from '../emulator/state.ts';
import { managedIdentity } from '../runtime/azure/identity.ts';
import { azureNetwork, type Network } from '../runtime/azure/network.ts';
import { operatorCredential } from '../runtime/azure/operator-identity.ts';
import type { Deployment } from '../runtime/catalogue.ts';
import { SecureTrainingError } from '../runtime/errors.ts';
import { spawnEmulator } from './emulator-process.ts';

/** Where the emulator keeps its keys, blobs and logs, below the working folder. */
export const EMULATOR_STATE = '.ctrain/emulator';

/** What a command works with: a deployment, a way to reach it, and whose name it acts in. */
export interface Context {
  readonly deployment: Deployment;
  readonly network: Network;
  readonly credential: TokenCredential;
  /**
   * Whether the emulator was started for this command, and ends with it.
   * @default false
   */
  readonly startedEmulator?: boolean;
  /** Stops the emulator if this command started it. */
  close(): Promise<void>;
}

/** A deployment before anything of it is contacted or started: bad input is told without either. */
export interface ChosenDeployment {
  /** `undefined`: an emulator that has never run here. */
  readonly deployment: Deployment | undefined;
  /** Whether {@link open} would start nothing. */
  readonly running: boolean;
  open(): Promise<Context>;
}

/** How long to wait for another command's emulator on the same folder to be ready, or gone. */
const EMULATOR_PATIENCE_MS = 20_000;

/**
 * Opens a deployment file, or the emulator (started when it is not running) when none is named.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for a file that is no deployment, `UNAVAILABLE` when the emulator does not start
 */
export async function openContext(
  deploymentFile?: string,
  log: (line: string) => void = () => undefined,
): Promise<Context> {
  return (await chooseDeployment(deploymentFile, log)).open();
}

/**
 * Finds out which deployment a command is about, and says so.
 * @param emulatorBundle trainer of an emulator that is started for this, instead of one built from the sources
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for a file that is no deployment
 */
export async function chooseDeployment(
  deploymentFile: string | undefined,
  log: (line: string) => void,
  emulatorBundle?: string,
): Promise<ChosenDeployment> {
  if (deploymentFile === undefined) {
    const deployment = await readDeployment(emulatorDeploymentFile()).catch(() => undefined);
    const runs = deployment !== undefined && (await answers(deployment));
    log(`deployment: emulator (${runs ? 'running' : 'started for this command'}, ${EMULATOR_STATE})`);
    return { deployment, running: runs, open: () => openEmulator(emulatorBundle) };
  }
  const deployment = await readDeployment(deploymentFile);
  log(`deployment: ${deploymentFile} (${deployment.kind})`);
  if (deployment.kind === 'emulator')
    return { deployment, running: true, open: () => emulatorContext(deployment, async () => undefined) };
  return {
    deployment,
    running: true,
    open: async () => ({
      deployment,
      network: azureNetwork(),
      credential: operatorCredential(),
      close: async () => undefined,
    }),
  };
}

/** Another command's emulator may be starting, or ending because that command was killed: then this one waits its turn. */
async function openEmulator(bundle: string | undefined): Promise<Context> {
  for (const end = Date.now() + EMULATOR_PATIENCE_MS; ; ) {
    const running = await readDeployment(emulatorDeploymentFile()).catch(() => undefined);
    if (running !== undefined && (await answers(running))) return emulatorContext(running, async () => undefined);
    const stop = await startEmulatorProcess(resolve(EMULATOR_STATE), bundle);
    if (stop !== undefined) {
      return {
        ...(await emulatorContext(await readDeployment(emulatorDeploymentFile()), stop)),
        startedEmulator: true,
      };
    }
    if (Date.now() > end) {
      throw new SecureTrainingError('UNAVAILABLE', `an emulator is running on ${EMULATOR_STATE} but does not answer`);
    }
  }
}

function emulatorDeploymentFile(): string {
  return resolve(EMULATOR_STATE, 'deployment.json');
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

/**
 * Runs the emulator for as long as this process lives: it stops when its standard input ends, however we end.
 * `undefined` when another one has the folder.
 */
async function startEmulatorProcess(
  stateDir: string,
  bundle: string | undefined,
): Promise<(() => Promise<void>) | undefined> {
  const child = spawnEmulator(stateDir, bundle);
  const exited = new Promise<void>((done) => child.once('exit', () => done()));
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString()).slice(-2000);
  });
  const ready = new Promise<boolean>((done) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith('ready')) done(true);
    });
    child.once('close', () => done(false));
  });
  const isReady = await ready;
  if (!isReady && complaint.includes('already running')) return undefined;
  if (!isReady) throw new SecureTrainingError('UNAVAILABLE', `the emulator did not start: ${complaint.trim()}`);
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
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    `${path} is not a deployment file: wanted version 1, kind azure or emulator`,
  );
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
