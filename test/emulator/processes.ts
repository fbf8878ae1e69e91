import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** Whether a process still runs. One that was killed and waits to be taken off the table by process 1 does not. */
function isAlive(processId: number): boolean {
  try {
    process.kill(processId, 0);
  } catch {
    return false;
  }
  try {
    // The state follows the name, which stands in brackets (proc_pid_stat(5)).
    return !/\) Z /.test(readFileSync(`/proc/${processId}/stat`, 'utf8'));
  } catch {
    return process.platform !== 'linux';
  }
}

/** Resolves when none of them runs any more. */
export async function allGone(processIds: readonly number[]): Promise<void> {
  while (processIds.some(isAlive)) await delay(10);
}
