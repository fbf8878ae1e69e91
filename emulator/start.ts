import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { blobStore } from '../runtime/azure/blob-store.ts';
import { managedIdentity } from '../runtime/azure/identity.ts';
import type { Network } from '../runtime/azure/network.ts';
import { type Deployment, TRAINER_BUNDLE } from '../runtime/catalogue.ts';
import type { TrustAnchors } from '../runtime/trust.ts';
import { buildTrainerBundle } from '../scripts/bundle.ts';
import { startBlobServer } from './blobs.ts';
import { deploymentOf, placesIn, writeDeployment } from './deployment.ts';
import { FaultBoard } from './faults.ts';
import { Firmware, type MachineChanges } from './firmware.ts';
import { foreignEnvironment, writeEnvironment } from './foreign-client.ts';
import { startForwardProxy } from './forward-proxy.ts';
import { Machine } from './machine.ts';
import { emulatorNetwork } from './network.ts';
import { OPERATOR_CLIENT_ID, provisionContainers, provisionKey, publishBundle } from './provision.ts';
import type { MachineControl } from './resource-manager.ts';
import type { LoggedRequest } from './service-host.ts';
import { type Services, startServices, trustOf } from './services.ts';
import { claimInstance } from './single-instance.ts';
import { type EmulatorState, openState } from './state.ts';
import { openVaultState } from './vault-state.ts';
import { serveVtpm } from './vtpm/serve.ts';

export interface EmulatorOptions {
  /** Where it keeps its keys, blobs and logs. */
  readonly stateDir: string;
  /**
   * How the machine differs from a genuine one.
   * @default - not at all
   */
  readonly machine?: MachineChanges;
  /**
   * Tar file of the trainer.
   * @default - built from the sources
   */
  readonly bundle?: string;
  /**
   * Script that starts the bundle, with BUNDLE_DIR MACHINE.json PLACE.json.
   * @default - emulator/trainer-entry.ts
   */
  readonly entry?: string;
  /**
   * Gets each line of the machine's serial console, which also stands in `serial.log`.
   * @default - only the file
   */
  readonly onSerial?: (line: string) => void;
  /**
   * Bits of the made-up AMD roots.
   * @default 4096 as AMD's, which take seconds to make, once
   */
  readonly rootKeyBits?: number;
  /**
   * Retries of {@link Emulator.network}, and, as far as they are numbers, of the trainer's.
   * @default - those of any network
   */
  readonly retry?: Network['retry'];
}

export interface Emulator {
  readonly deployment: Deployment;
  readonly deploymentFile: string;
  readonly trust: TrustAnchors;
  /** The operator's. */
  readonly network: Network;
  /** Every request that any service got, oldest first. */
  readonly requests: readonly LoggedRequest[];
  /** What goes wrong, changeable at any time. */
  readonly faults: FaultBoard;
  readonly machine: Machine;
  readonly firmware: Firmware;
  readonly state: EmulatorState;
  readonly serialFile: string;
  /** Process id of the blob server. */
  readonly blobProcessId: number;
  /** Ends the machine, every service and every child; resolves when nothing is left. */
  stop(): Promise<void>;
}

/**
 * Starts Azure on this machine, on the state of an earlier start if there is one. What starts is noted and stopped in
 * reverse, also when a later start fails.
 */
export async function startEmulator(options: EmulatorOptions): Promise<Emulator> {
  const stops: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (let next = stops.pop(); next !== undefined; next = stops.pop()) await next();
  };
  try {
    return { ...(await start(options, stops)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(options: EmulatorOptions, stops: (() => Promise<void>)[]): Promise<Omit<Emulator, 'stop'>> {
  const stateDir = resolve(options.stateDir);
  const now = new Date();
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const instance = await claimInstance(stateDir);
  stops.push(() => instance.release());
  const state = await openState({ stateDir, now, rootKeyBits: options.rootKeyBits ?? 4096 });
  const { names, tls } = state;
  const vault = openVaultState(join(stateDir, 'vault'));
  const keyName = await provisionKey(vault, state, now);

  const firmware = new Firmware(state, options.machine ?? {});
  const vtpm = join(instance.socketDir, 'vtpm.sock');
  const vtpmServer = await serveVtpm(firmware, vtpm);
  stops.push(() => vtpmServer.close());
  const blobs = await startBlobServer({
    directory: join(stateDir, 'blobs'),
    account: names.storageAccount,
    accountKey: state.storageKey,
    tls,
  });
  stops.push(() => blobs.stop());

  const [faults, requests] = [new FaultBoard(), [] as LoggedRequest[]];
  // Filled below: the resource manager controls a machine that needs the services first.
  const machines = new Map<string, MachineControl>();
  const services = await startServices({ stateDir, state, vault, blobs, firmware, machines }, { faults, requests });
  stops.push(async () => {
    await Promise.all(services.hosts.map((host) => host.stop()));
  });
  const network = emulatorNetwork({
    ca: tls.ca,
    routes: services.operatorRoutes,
    ...(options.retry === undefined ? {} : { retry: options.retry }),
  });
  const bundleSha256 = await publish(options.bundle, stateDir, network, names.storageHost);
  const deployment = deploymentOf(state, { stateDir, keyName, bundleSha256, routes: services.operatorRoutes });
  const machine = createMachine(options, { state, stateDir, deployment, services, firmware, vtpm });
  machines.set(names.machineId, machine);
  stops.push(() => machine.stop());
  const deploymentFile = join(stateDir, 'deployment.json');
  const trust = trustOf(state);
  await admitForeignClients({ stateDir, state, services, firmware, vtpm }, stops);
  await writeDeployment(stateDir, { deploymentFile, deployment, trust, ca: tls.ca });
  const { serialFile } = placesIn(stateDir);
  const blobProcessId = blobs.processId;
  return {
    deployment,
    deploymentFile,
    trust,
    network,
    requests,
    faults,
    machine,
    firmware,
    state,
    serialFile,
    blobProcessId,
  };
}

async function publish(
  bundle: string | undefined,
  stateDir: string,
  network: Network,
  storageHost: string,
): Promise<string> {
  const credential = managedIdentity(network, OPERATOR_CLIENT_ID);
  const blobEndpoint = `https://${storageHost}`;
  await provisionContainers(network, credential, blobEndpoint);
  const file = bundle ?? join(stateDir, TRAINER_BUNDLE);
  if (bundle === undefined) await buildTrainerBundle(file);
  return publishBundle(network, credential, blobEndpoint, file);
}

/** A proxy for the operator's and one for the machine's network, what to tell a client of each, and the log of the boot so far. */
async function admitForeignClients(
  { stateDir, state, services, firmware, vtpm }: Omit<MachineParts, 'deployment'>,
  stops: (() => Promise<void>)[],
): Promise<void> {
  const { caFile, operatorEnvironment, machineEnvironment, eventLogPath } = placesIn(stateDir);
  const [operator, machine] = [
    await startForwardProxy(services.operatorRoutes),
    await startForwardProxy(services.machineRoutes),
  ];
  stops.push(async () => {
    await Promise.all([operator.close(), machine.close()]);
  });
  const { clientId } = state.operator;
  await writeEnvironment(operatorEnvironment, foreignEnvironment({ proxyUrl: operator.url, caFile, clientId }));
  const asMachine = { proxyUrl: machine.url, caFile, clientId: state.trainer.clientId, vtpm };
  await writeEnvironment(machineEnvironment, foreignEnvironment(asMachine));
  await writeFile(eventLogPath, firmware.eventLog());
}

interface MachineParts {
  readonly state: EmulatorState;
  readonly stateDir: string;
  readonly deployment: Deployment;
  readonly services: Services;
  readonly firmware: Firmware;
  readonly vtpm: string;
}

function createMachine(
  options: EmulatorOptions,
  { state, stateDir, deployment, services, firmware, vtpm }: MachineParts,
): Machine {
  const { storage, trainer, logs } = deployment;
  const retry = options.retry === undefined ? {} : { retry: options.retry };
  const { serialFile, eventLogPath } = placesIn(stateDir);
  const place = { trust: trustOf(state), ca: state.tls.ca, routes: services.machineRoutes, eventLogPath, ...retry };
  const network = emulatorNetwork(place);
  const bundles = blobStore(
    network,
    managedIdentity(network, trainer.identityClientId),
    storage.blobEndpoint,
    'trainer',
  );
  return new Machine({
    directory: join(stateDir, 'vm'),
    serialFile,
    bootFirmware: async () => {
      await firmware.boot();
      await writeFile(eventLogPath, firmware.eventLog());
    },
    config: {
      version: 1,
      vmResourceId: state.names.machineId,
      identityClientId: trainer.identityClientId,
      blobEndpoint: storage.blobEndpoint,
      bundleSha256: trainer.bundleSha256,
      logs,
      vtpm,
    },
    place,
    fetchBundle: async () => (await bundles.get(`${trainer.bundleSha256}/${TRAINER_BUNDLE}`))?.bytes,
    entry: options.entry ?? fileURLToPath(new URL('./trainer-entry.ts', import.meta.url)),
    onSerial: options.onSerial ?? (() => undefined),
  });
}
