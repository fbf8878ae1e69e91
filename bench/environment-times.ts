/** What environment-entry.ts writes to the serial console, after this. */
export const MARK = 'bench: ';

/** Milliseconds, in the order they were taken. */
export interface EnvironmentTimes {
  readonly established: readonly number[];
  readonly verified: readonly number[];
}
