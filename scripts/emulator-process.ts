import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';

/** The emulator as a child process. It stops when its standard input ends: when we close it, or however we end. */
export type EmulatorProcess = ChildProcessByStdio<Writable, Readable, Readable>;

/** @param bundle the trainer of its machine, by default one that is built then */
export function spawnEmulator(stateDir: string, bundle?: string): EmulatorProcess {
  const main = fileURLToPath(new URL('../emulator/main.ts', import.meta.url));
  const trainer = bundle === undefined ? [] : ['--bundle', bundle];
  return spawn(process.execPath, [main, '--state', stateDir, '--parent', ...trainer], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}
