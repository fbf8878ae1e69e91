import type { SecurityEventName } from './catalogue.ts';
import { sha256, toHex, utf8 } from './crypto/bytes.ts';

/** A security event as it is logged. `Head` chains it to every one before it, so that a gap or an edit shows. */
export interface SecurityEvent {
  readonly TimeGenerated: string;
  readonly RunId: string;
  readonly Event: SecurityEventName;
  readonly Outcome: 'success' | 'failure';
  readonly Detail: string;
  readonly Head: string;
}

/** Head of a chain before its first event. */
export const EMPTY_HEAD = '0'.repeat(64);

/**
 * The events of one run, in order. `emit` hands each one on at once; the head after the last stands in the receipt.
 * head(n) = SHA-256(head(n-1) as 32 bytes | UTF-8 JSON of the event without its head).
 */
export class EventChain {
  readonly #runId: string;
  readonly #emit: (event: SecurityEvent) => void;
  #head = EMPTY_HEAD;

  constructor(runId: string, emit: (event: SecurityEvent) => void) {
    this.#runId = runId;
    this.#emit = emit;
  }

  get head(): string {
    return this.#head;
  }

  /** `detail` names keys, objects and codes; never a value of the data. */
  record(event: SecurityEventName, outcome: SecurityEvent['Outcome'], detail: string, at: Date): void {
    const body = {
      TimeGenerated: at.toISOString(),
      RunId: this.#runId,
      Event: event,
      Outcome: outcome,
      Detail: detail,
    };
    this.#head = nextHead(this.#head, body);
    this.#emit({ ...body, Head: this.#head });
  }
}

/** The head that follows `head`; recomputing it over a log finds the first row that is missing or was changed. */
export function nextHead(head: string, event: Omit<SecurityEvent, 'Head'>): string {
  const { TimeGenerated, RunId, Event, Outcome, Detail } = event;
  const body = JSON.stringify({ TimeGenerated, RunId, Event, Outcome, Detail });
  return toHex(sha256(Uint8Array.from(Buffer.from(head, 'hex')), utf8(body)));
}
