import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';

/** The emulator as a child process. It stops when its standard input ends: when we close it, or however we end. */
export type EmulatorProcess = ChildProcessByStdio<Writable, Readable, Readable>;

/** @param bundle tar file of the trainer, instead of one built from the sources */
export function spawnEmulator(stateDir: string, bundle?: string): EmulatorProcess {
  const main = fileURLToPath(new URL('../emulator/main.ts', import.meta.url));
  const trainer = bundle === undefined ? [] : ['--bundle', bundle];
  return spawn(process.execPath, [main, '--state', stateDir, '--parent', ...trainer], {
    // A process group of its own: ctrl-C at a terminal is for the command, which ends it in good order.
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}
