import { appendFileSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { MachineState } from '../runtime/azure/resource-manager.ts';
import { TRAINER_BUNDLE } from '../runtime/catalogue.ts';
import { sha256, toHex } from '../runtime/crypto/bytes.ts';
import { EXIT_CODES } from '../runtime/errors.ts';
import type { MachineConfig } from '../runtime/machine-config.ts';
import type { MachineControl } from './resource-manager.ts';
import { unpackTar } from './tar.ts';
import { startTrainer, type TrainerExit, type TrainerProcess } from './trainer-process.ts';

export interface MachineOptions {
  /** Folder of the machine's disk; emptied at each boot. */
  readonly directory: string;
  readonly serialFile: string;
  /** New measurements, and the report that goes with them. */
  readonly bootFirmware: () => Promise<void>;
  readonly config: MachineConfig;
  /** The emulator's own: what the entry script gets beside the configuration (roots and routes). */
  readonly place: object;
  /** The bundle that the configuration names; `undefined` while it is not in the store. */
  readonly fetchBundle: () => Promise<Uint8Array | undefined>;
  /** Script that is started with BUNDLE_DIR MACHINE.json PLACE.json. */
  readonly entry: string;
  readonly onSerial: (line: string) => void;
}

/** As the unit's `StartLimitBurst`: so many starts a boot beyond the first. */
const RESTARTS = 3;
const RESTART_DELAY_IN_MS = 100;
/** More than the broker gives its worker (training/broker-side.ts). */
const SHUTDOWN_GRACE_IN_MS = 25_000;
const BUNDLE_POLL_IN_MS = 1000;
/** What curl ends with where a server refuses: the boot script says it. */
const NOT_THERE = 22;
/** Exits that another start may mend (`RestartPreventExitStatus` has the others): a bug, or a service that was away. */
const RESTARTABLE: ReadonlySet<number | null> = new Set([1, EXIT_CODES.UNAVAILABLE]);

/** One confidential virtual machine: what the resource manager starts and deallocates, and the unit that runs in it. */
export class Machine implements MachineControl {
  readonly #options: MachineOptions;
  #state: MachineState = 'deallocated';
  #trainer: TrainerProcess | undefined;
  #stopping: AbortController | undefined;
  #work: Promise<void> = Promise.resolve();
  readonly #waiting = new Set<{ readonly state: MachineState; readonly done: () => void }>();
  /** Boots so far. */
  boots = 0;

  constructor(options: MachineOptions) {
    this.#options = options;
  }

  get state(): MachineState {
    return this.#state;
  }

  /** Process id of the trainer's broker, while there is one. */
  get processId(): number | undefined {
    return this.#trainer?.processId;
  }

  /** As an accident inside the machine: the unit starts the trainer again. */
  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.#trainer?.kill(signal);
  }

  start(): void {
    if (this.#state === 'starting' || this.#state === 'running') return;
    const stopping = new AbortController();
    this.#stopping = stopping;
    this.#become('starting');
    this.#work = this.#work.then(() => this.#run(stopping.signal));
  }

  deallocate(): void {
    if (this.#state === 'deallocated') return;
    this.#become('deallocating');
    this.#stopping?.abort();
    this.#shutDown();
    this.#work = this.#work.then(() => {
      // Unless it was started again meanwhile.
      if (this.#state === 'deallocating') this.#become('deallocated');
    });
  }

  /** As an operating system does it: asks first, so that a training leaves a checkpoint. */
  #shutDown(): void {
    const trainer = this.#trainer;
    if (trainer === undefined) return;
    trainer.kill('SIGTERM');
    const impatient = setTimeout(() => trainer.kill('SIGKILL'), SHUTDOWN_GRACE_IN_MS);
    void trainer.exited.then(() => clearTimeout(impatient));
  }

  /** Resolves when the machine is in that state, or has been since the call. */
  async reached(state: MachineState): Promise<void> {
    if (this.#state !== state) await new Promise<void>((done) => this.#waiting.add({ state, done }));
  }

  /** Resolves when nothing of it is left. */
  async stop(): Promise<void> {
    this.deallocate();
    await this.#work;
  }

  /** From power-on to power-off. Never throws: what goes wrong stands on the serial console. */
  async #run(abortSignal: AbortSignal): Promise<void> {
    try {
      this.boots++;
      this.#say(`boot ${this.boots}`);
      this.#say('ctrain: boot.started');
      await this.#options.bootFirmware();
      const place = await this.#unpack(abortSignal);
      if (abortSignal.aborted) return;
      this.#become('running');
      await this.#keepRunning(place, abortSignal);
    } catch (error) {
      if (!abortSignal.aborted) {
        this.#say(`boot failed: ${error instanceof Error ? error.message : String(error)}`);
        this.#say('ctrain: boot.failed boot code 1');
      }
    }
    // The unit's SuccessAction and FailureAction: power off, so that the next start is a boot.
    if (!abortSignal.aborted) this.#become('stopped');
  }

  /** @returns arguments for the entry script */
  async #unpack(abortSignal: AbortSignal): Promise<readonly string[]> {
    const { directory, config, place, fetchBundle } = this.#options;
    let archive = await fetchBundle();
    while (archive === undefined) {
      this.#say(`ctrain: boot.waiting ${TRAINER_BUNDLE} ${config.bundleSha256} code ${NOT_THERE}`);
      await delay(BUNDLE_POLL_IN_MS, undefined, { signal: abortSignal });
      archive = await fetchBundle();
    }
    const digest = toHex(sha256(archive));
    if (digest !== config.bundleSha256) {
      this.#say(`ctrain: boot.refused ${TRAINER_BUNDLE}: digest is not ${config.bundleSha256}`);
      throw new TypeError(`bundle has SHA-256 ${digest}, wanted ${config.bundleSha256}`);
    }
    this.#say(`ctrain: boot.fetched ${TRAINER_BUNDLE} ${digest}`);
    const bundleDir = join(directory, 'bundle');
    await rm(directory, { recursive: true, force: true });
    await mkdir(bundleDir, { recursive: true });
    unpackTar(archive, bundleDir);
    const [machineFile, placeFile] = [join(directory, 'machine.json'), join(directory, 'place.json')];
    await writeFile(machineFile, JSON.stringify(config));
    await writeFile(placeFile, JSON.stringify(place));
    this.#say('ctrain: boot.ready');
    return [bundleDir, machineFile, placeFile];
  }

  async #keepRunning(args: readonly string[], abortSignal: AbortSignal): Promise<void> {
    for (let restarts = 0; ; restarts++) {
      const { entry, directory } = this.#options;
      this.#trainer = startTrainer({ entry, arguments: args, directory, onLine: (line) => this.#say(line) });
      const exit = await this.#trainer.exited;
      this.#trainer = undefined;
      if (abortSignal.aborted) return;
      this.#say(`trainer ended: ${exit.signal ?? `exit code ${exit.code}`}`);
      // As the unit's ExecStopPost says it.
      this.#say(`ctrain: boot.stopped ${resultOf(exit)} code ${exit.signal?.slice(3) ?? exit.code}`);
      if (!mayRestart(exit) || restarts === RESTARTS) return;
      await delay(RESTART_DELAY_IN_MS, undefined, { signal: abortSignal });
    }
  }

  #become(state: MachineState): void {
    this.#state = state;
    for (const waiter of this.#waiting) {
      if (waiter.state !== state) continue;
      this.#waiting.delete(waiter);
      waiter.done();
    }
  }

  #say(line: string): void {
    appendFileSync(this.#options.serialFile, `${line}\n`);
    this.#options.onSerial(line);
  }
}

/** systemd's SERVICE_RESULT (systemd.exec). */
function resultOf({ code, signal }: TrainerExit): string {
  if (signal !== null) return 'signal';
  return code === 0 ? 'success' : 'exit-code';
}

function mayRestart({ code, signal }: TrainerExit): boolean {
  return signal !== null || RESTARTABLE.has(code);
}
