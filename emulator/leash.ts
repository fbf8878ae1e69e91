/**
 * Runs a script that must not outlive its parent: `node leash.ts SIGNAL SCRIPT ARGUMENT...` imports SCRIPT and, when
 * standard input ends because the parent ended (however it did), sends SIGNAL to its own process group and, 3 s later, SIGKILL.
 * A signal from the parent would not do: kill -9 leaves nobody to send it.
 */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const GRACE_IN_MS = 3000;

const [signal, script] = process.argv.splice(2, 2);
if ((signal !== 'SIGTERM' && signal !== 'SIGKILL') || script === undefined) {
  throw new Error('usage: leash SIGTERM|SIGKILL SCRIPT ARGUMENT...');
}
process.argv[1] = resolve(script);
process.stdin.once('end', () => end(signal));
process.stdin.once('error', () => end(signal));
process.stdin.resume();
// The script decides when it is done; waiting for the parent keeps nobody alive. A pipe has unref, a file has not.
if ('unref' in process.stdin) process.stdin.unref();
await import(pathToFileURL(resolve(script)).href);

function end(first: 'SIGTERM' | 'SIGKILL'): void {
  killGroup(first);
  setTimeout(() => killGroup('SIGKILL'), GRACE_IN_MS).unref();
}

/** The parent has made this process the leader of a group: its own children go with it. */
function killGroup(name: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(-process.pid, name);
  } catch {
    process.kill(process.pid, name);
  }
}
