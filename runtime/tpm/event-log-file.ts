import { readFileSync } from 'node:fs';

/** @returns `undefined` where there is no log, or none that may be read: it explains PCR values, and replaces none */
export function readEventLog(path: string): Uint8Array | undefined {
  try {
    const bytes = Uint8Array.from(readFileSync(path));
    return bytes.length === 0 ? undefined : bytes;
  } catch {
    return undefined;
  }
}
