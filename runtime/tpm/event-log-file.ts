import { readFileSync } from 'node:fs';

/** Where Linux shows the TCG event log of the boot (drivers/char/tpm/eventlog). Only root reads it unless the image says otherwise. */
export const EVENT_LOG_PATH = '/sys/kernel/security/tpm0/binary_bios_measurements';

/** @returns `undefined` where there is no log, or none that may be read: it explains PCR values, and replaces none */
export function readEventLog(path: string): Uint8Array | undefined {
  try {
    const bytes = Uint8Array.from(readFileSync(path));
    return bytes.length === 0 ? undefined : bytes;
  } catch {
    return undefined;
  }
}
