import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

/** The emulated services, as faults and the request log name them. */
export type ServiceName = 'attestation' | 'vault' | 'storage' | 'metadata' | 'resource-manager' | 'logs';

type FaultKind =
  /** Answers late. */
  | { readonly kind: 'delay'; readonly milliseconds: number }
  /** Answers with this status and does nothing. */
  | { readonly kind: 'status'; readonly status: number; readonly retryAfterSeconds?: number }
  /** Cuts the connection once the request is there. */
  | { readonly kind: 'reset' }
  /** Does what is asked and cuts the connection instead of answering. */
  | { readonly kind: 'lose-reply' }
  /** Refuses connections, until cleared. */
  | { readonly kind: 'down' };

export type Fault = FaultKind & {
  /**
   * Requests that it hits.
   * @default - every one until cleared
   */
  readonly count?: number;
  /**
   * Hits every so many requests: 50 for two in a hundred.
   * @default 1, each
   */
  readonly every?: number;
  /**
   * Hits only requests whose method and path match.
   * @default - all
   */
  readonly match?: RegExp;
};

/** What goes wrong in which service; changeable at any time. */
export class FaultBoard {
  readonly #faults = new Map<ServiceName, { fault: Fault; left: number; seen: number }>();
  readonly #switches = new Map<ServiceName, ((down: boolean) => Promise<void>)[]>();

  /** From the next request on; replaces what was set before. Resolves when a service that goes down or up has done so. */
  async set(service: ServiceName, fault: Fault): Promise<void> {
    const wasDown = this.#faults.get(service)?.fault.kind === 'down';
    this.#faults.set(service, { fault, left: fault.count ?? Number.POSITIVE_INFINITY, seen: 0 });
    if (wasDown !== (fault.kind === 'down')) await this.#switch(service, fault.kind === 'down');
  }

  async clear(service: ServiceName): Promise<void> {
    const wasDown = this.#faults.get(service)?.fault.kind === 'down';
    this.#faults.delete(service);
    if (wasDown) await this.#switch(service, false);
  }

  /** Registers what a service does to go down and come back. */
  onSwitch(service: ServiceName, act: (down: boolean) => Promise<void>): void {
    this.#switches.set(service, [...(this.#switches.get(service) ?? []), act]);
  }

  /** The fault that hits this request, if any; counts it. */
  take(service: ServiceName, request: string): Fault | undefined {
    const set = this.#faults.get(service);
    if (set === undefined || set.left <= 0 || set.fault.match?.test(request) === false) return undefined;
    if (++set.seen % (set.fault.every ?? 1) !== 0) return undefined;
    set.left--;
    return set.fault;
  }

  async #switch(service: ServiceName, down: boolean): Promise<void> {
    await Promise.all((this.#switches.get(service) ?? []).map((act) => act(down)));
  }
}

/** Lets a fault happen. `false`: the request is over, no service shall see it. */
export async function suffer(
  fault: Fault,
  service: ServiceName,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<boolean> {
  if (fault.kind === 'delay') {
    await delay(fault.milliseconds, undefined, { ref: false });
    return !request.socket.destroyed;
  }
  if (fault.kind === 'status') {
    const retryAfter = fault.retryAfterSeconds === undefined ? {} : { 'retry-after': fault.retryAfterSeconds };
    answerStatus(service, fault.status, retryAfter, request, response);
    return false;
  }
  if (fault.kind === 'lose-reply') {
    response.writeHead = () => {
      request.socket.destroy();
      return response;
    };
    return true;
  }
  request.socket.destroy();
  return false;
}

/** Storage speaks XML, the others JSON; the code says that it was us. */
function answerStatus(
  service: ServiceName,
  status: number,
  headers: Readonly<Record<string, number>>,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const message = `fault injected into ${service}`;
  const [type, body] =
    service === 'storage'
      ? [
          'application/xml',
          `<?xml version="1.0" encoding="utf-8"?><Error><Code>InjectedFault</Code><Message>${message}</Message></Error>`,
        ]
      : ['application/json', JSON.stringify({ error: { code: 'InjectedFault', message } })];
  // Unread bytes of an upload would hold the connection up.
  request.resume();
  response.writeHead(status, { 'content-type': type, 'x-ms-error-code': 'InjectedFault', ...headers });
  response.end(body);
}
