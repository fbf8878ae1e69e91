import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { TRAINER_FLAGS } from '../runtime/catalogue.ts';

export interface TrainerProcessOptions {
  /** Script that runs the bundle; gets `arguments`. */
  readonly entry: string;
  readonly arguments: readonly string[];
  /** Folder it starts in. */
  readonly directory: string;
  readonly onLine: (line: string) => void;
}

export interface TrainerExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface TrainerProcess {
  readonly processId: number;
  /** When it is gone, and everything it started has been killed. */
  readonly exited: Promise<TrainerExit>;
  kill(signal: NodeJS.Signals): void;
}

/** Where a distribution keeps `unshare` and `setpriv`; nothing else of our environment goes along. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Starts the trainer as its systemd unit does: fixed flags, scrubbed environment, no core dumps, a process group of its own. */
export function startTrainer({ entry, arguments: args, directory, onLine }: TrainerProcessOptions): TrainerProcess {
  const leash = fileURLToPath(new URL('./leash.ts', import.meta.url));
  // exec: the shell becomes the trainer, so that the process id is the trainer's.
  const shell = ['-c', 'ulimit -c 0; exec "$0" "$@"', process.execPath];
  const child = spawn('/bin/sh', [...shell, ...TRAINER_FLAGS, leash, 'SIGKILL', entry, ...args], {
    cwd: directory,
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PATH },
  });
  const processId = child.pid ?? 0;
  for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', onLine);
  return {
    processId,
    exited: whenGone(child, processId),
    kill: (signal) => {
      child.kill(signal);
    },
  };
}

function whenGone(child: ChildProcess, processId: number): Promise<TrainerExit> {
  return new Promise((done) => {
    child.once('error', () => done({ code: 127, signal: null }));
    // A worker must not outlive its broker, and holds the output open as long as it does.
    child.once('exit', () => killGroup(processId));
    child.once('close', (code, signal) => done({ code, signal }));
  });
}

function killGroup(processId: number): void {
  try {
    process.kill(-processId, 'SIGKILL');
  } catch {
    // Nobody was left.
  }
}
