import type { TpmKey } from './keys.ts';
import { RC, Refusal } from './refusal.ts';

/** Loaded keys and sessions a client may have: three each, in a TPM as in a space of Linux's resource manager. */
const SLOTS = 3;
/** First handle of TPM_HT_TRANSIENT and of TPM_HT_POLICY_SESSION, Part 2 section 7.2. */
export const FIRST_TRANSIENT = 0x80000000;
export const FIRST_POLICY_SESSION = 0x03000000;

export interface PolicySession {
  /** Computes a policy's digest and authorises nothing. */
  readonly trial: boolean;
  /** What the TPM gave last; goes into the HMAC of a client that computes one. */
  nonceTpm: Uint8Array;
  policyDigest: Uint8Array;
  /** Update counter of the PCRs when PolicyPCR was called: a later change voids the session. */
  pcrCounter: number | undefined;
}

/**
 * What one client has loaded. Like /dev/tpmrm0, every connection has its own: nobody sees another's handles, and
 * whatever a crashed process left is gone with its connection.
 */
export class Space {
  readonly #keys = new Map<number, TpmKey>();
  readonly #sessions = new Map<number, PolicySession>();

  key(handle: number): TpmKey | undefined {
    return this.#keys.get(handle);
  }

  session(handle: number): PolicySession | undefined {
    return this.#sessions.get(handle);
  }

  /** Refuses before the work of making a key is done, as a TPM does. */
  requireFreeKeySlot(): void {
    if (this.#keys.size >= SLOTS) throw new Refusal(RC.objectMemory);
  }

  loadKey(key: TpmKey): number {
    this.requireFreeKeySlot();
    return load(this.#keys, FIRST_TRANSIENT, key);
  }

  openSession(trial: boolean, nonceTpm: Uint8Array): number {
    if (this.#sessions.size >= SLOTS) throw new Refusal(RC.sessionMemory);
    return load(this.#sessions, FIRST_POLICY_SESSION, { trial, nonceTpm, ...emptySession() });
  }

  /** False when there is nothing of that handle. */
  flush(handle: number): boolean {
    return this.#keys.delete(handle) || this.#sessions.delete(handle);
  }

  clear(): void {
    this.#keys.clear();
    this.#sessions.clear();
  }
}

/** What a session is when it starts, and again after each use. */
export function emptySession(): Pick<PolicySession, 'policyDigest' | 'pcrCounter'> {
  return { policyDigest: new Uint8Array(32), pcrCounter: undefined };
}

function load<T>(slots: Map<number, T>, first: number, value: T): number {
  let handle = first;
  while (slots.has(handle)) handle++;
  slots.set(handle, value);
  return handle;
}
