import { equalBytes, sha256, utf8 } from '../crypto/bytes.ts';
import { EVENT, type EventLog, type LoggedEvent } from './event-log.ts';

/**
 * PCRs whose log is complete when the kernel takes over: firmware, boot loader and the kernel's EFI stub extend them
 * through one interface, which logs as it extends. 10 is IMA's, which keeps a log of its own; 11 to 15 are extended
 * further by user space (systemd's boot phases and credentials, our own run in 15), which no firmware log tells of.
 */
export const LOGGED_PCRS: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/** PCRs of the static chain of trust: zero at start, and never reset while the machine runs. */
const STATIC_PCRS = 16;
const DIGEST_LENGTH = 32;

/** What the SHA-256 bank would hold after the log's events and no others: PCRs 0 to 15. */
export function replayPcrs({ startupLocality, events }: EventLog): ReadonlyMap<number, Uint8Array> {
  const values = new Map<number, Uint8Array>(
    Array.from({ length: STATIC_PCRS }, (_, pcr) => [pcr, new Uint8Array(DIGEST_LENGTH)] as const),
  );
  values.get(0)?.set([startupLocality], DIGEST_LENGTH - 1);
  for (const { pcr, type, digest } of events) {
    const value = values.get(pcr);
    if (value !== undefined && type !== EVENT.noAction) values.set(pcr, sha256(value, digest));
  }
  return values;
}

/** What GRUB logs before a text of PCR 8, which it measures without that and without the zero after it (commands/tpm.c). */
export const GRUB_TEXTS = { command: 'grub_cmd: ', commandLine: 'kernel_cmdline: ' } as const;
const GRUB_TEXT_PCR = 8;

/**
 * Whether an event's digest is the hash of its data: only then was the data measured, and not merely told. Many kinds of
 * event measure something else (a program, a file): of those this says no.
 */
export function isMeasured(event: LoggedEvent): boolean {
  return equalBytes(sha256(grubText(event) ?? event.data), event.digest);
}

/** The text of a GRUB event, as GRUB hashes it. Which of the two kinds it is, no digest covers. */
export function grubText(
  { pcr, type, data }: LoggedEvent,
  kinds: readonly (keyof typeof GRUB_TEXTS)[] = ['command', 'commandLine'],
): Uint8Array | undefined {
  if (pcr !== GRUB_TEXT_PCR || type !== EVENT.ipl) return undefined;
  const prefix = kinds.map((kind) => utf8(GRUB_TEXTS[kind])).find((text) => startsWith(data, text));
  return prefix === undefined ? undefined : data.subarray(prefix.length, data.at(-1) === 0 ? -1 : undefined);
}

function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  return equalBytes(bytes.subarray(0, prefix.length), prefix);
}
