import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';

/** How emulator/main.ts begins a line that says why it did not start: a code of ours, or the class of any other error. */
const FAILED = /^(?:[A-Z_]+: |\w*Error\b)/m;

/** The emulator as a child process. It stops when its standard input ends: when we close it, or however we end. */
export type EmulatorProcess = ChildProcessByStdio<Writable, Readable, Readable>;

export function spawnEmulator(stateDir: string): EmulatorProcess {
  const main = fileURLToPath(new URL('../emulator/main.ts', import.meta.url));
  const child = spawn(process.execPath, [main, '--state', stateDir, '--parent'], { stdio: ['pipe', 'pipe', 'pipe'] });
  // One that could not start still waits for the end of its input.
  child.stderr.on('data', (chunk: Buffer) => {
    if (FAILED.test(chunk.toString())) child.stdin.end();
  });
  return child;
}
