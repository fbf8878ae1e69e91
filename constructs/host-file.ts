import type { Construct } from 'constructs';
import { misuse, requireAddress, requireMatch } from './misuse.ts';
import type { ServiceEndpoint } from './private-access.ts';

/**
 * What a machine without DNS can resolve: addresses that were given, and those of services that connected themselves by
 * granting it a role. Complete only once the whole tree is built, so it is read when Terraform's JSON is written.
 */
export class HostFile {
  readonly #owner: Construct;
  readonly #given: Readonly<Record<string, string>>;
  readonly #connected = new Map<string, ServiceEndpoint>();

  /** What goes into a command of the boot has to be a name and an address. */
  constructor(owner: Construct, given: Readonly<Record<string, string>>) {
    for (const [name, address] of Object.entries(given)) {
      requireMatch(owner, 'hosts', name, /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/, 'host names');
      requireAddress(owner, `hosts["${name}"]`, address);
    }
    this.#owner = owner;
    this.#given = given;
  }

  connect(endpoint: ServiceEndpoint): void {
    const store = this.#store();
    if (endpoint.service === 'blob' && store !== undefined && store.hostName !== endpoint.hostName) {
      throw misuse(this.#owner, 'store', 'one', [store.hostName, endpoint.hostName]);
    }
    this.#connected.set(endpoint.hostName, endpoint);
  }

  /** Host name to address; what was given on purpose has the last word. */
  hosts(): Readonly<Record<string, string>> {
    const known = [...this.#connected.values()].flatMap(({ hostName, address }) =>
      address === undefined ? [] : [[hostName, address] as const],
    );
    return { ...Object.fromEntries(known), ...this.#given };
  }

  /** Origin of the one store. */
  blobEndpoint(): string {
    const store = this.#store();
    if (store === undefined) throw misuse(this.#owner, 'store', 'connected by store.grantTraining(trainer)', store);
    return `https://${store.hostName}`;
  }

  #store(): ServiceEndpoint | undefined {
    return [...this.#connected.values()].find(({ service }) => service === 'blob');
  }
}
