import { totalmem } from 'node:os';

/** Bytes of memory that this process's machine has, or its control group if that has fewer. */
export function machineMemory(): number {
  // Without a limit it is 0, or more than any machine has.
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}
