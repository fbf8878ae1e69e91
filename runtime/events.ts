import type { SecurityEventName } from './catalogue.ts';
import { sha256, toHex, utf8 } from './crypto/bytes.ts';

/** A security event as it is logged: who, what, when, for which agreement, with which key and whose data. `Head` chains it to every one before it, so that a gap or an edit shows. */
export interface SecurityEvent extends Required<EventRun>, Required<EventSubject> {
  readonly TimeGenerated: string;
  readonly Event: SecurityEventName;
  readonly Outcome: 'success' | 'failure';
  readonly Detail: string;
  readonly Head: string;
}

/** What all events of a run have in common. */
export interface EventRun {
  readonly RunId: string;
  /** Resource id of the virtual machine. */
  readonly Machine: string;
  /** Hex digest of the agreement that the run was asked for with. */
  readonly Agreement: string;
}

/** What an event is about. */
export interface EventSubject {
  /**
   * Versioned id of the vault key.
   * @default - '', none
   */
  readonly KeyId?: string;
  /**
   * Hex digest of the manifest.
   * @default - '', none
   */
  readonly Manifest?: string;
}

/** Head of a chain before its first event. */
export const EMPTY_HEAD = '0'.repeat(64);

/**
 * The events of one run, in order. `emit` hands each one on at once; the head after the last stands in the receipt.
 * head(n) = SHA-256(head(n-1) as 32 bytes | UTF-8 JSON of the event without its head).
 */
export class EventChain {
  readonly #run: EventRun;
  readonly #emit: (event: SecurityEvent) => void;
  #head = EMPTY_HEAD;

  constructor(run: EventRun, emit: (event: SecurityEvent) => void) {
    this.#run = run;
    this.#emit = emit;
  }

  get head(): string {
    return this.#head;
  }

  /** `detail` names objects and codes; never a value of the data. */
  record(
    event: SecurityEventName,
    outcome: SecurityEvent['Outcome'],
    detail: string,
    at: Date,
    { KeyId = '', Manifest = '' }: EventSubject = {},
  ): void {
    const body = {
      TimeGenerated: at.toISOString(),
      ...this.#run,
      Event: event,
      Outcome: outcome,
      Detail: detail,
      KeyId,
      Manifest,
    };
    this.#head = nextHead(this.#head, body);
    this.#emit({ ...body, Head: this.#head });
  }
}

/** The head that follows `head`; recomputing it over a log finds the first row that is missing or was changed. */
export function nextHead(head: string, event: Omit<SecurityEvent, 'Head'>): string {
  const { TimeGenerated, RunId, Machine, Agreement, Event, Outcome, Detail, KeyId, Manifest } = event;
  // A log may give its columns in any order: this one counts.
  const body = { TimeGenerated, RunId, Machine, Agreement, Event, Outcome, Detail, KeyId, Manifest };
  return toHex(sha256(Uint8Array.from(Buffer.from(head, 'hex')), utf8(JSON.stringify(body))));
}
