import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { createDefaultHttpClient, type PipelineRequest } from '@azure/core-rest-pipeline';
import type { Network } from '../runtime/azure/network.ts';
import { SecureTrainingError } from '../runtime/errors.ts';

export interface EmulatorNetworkOptions {
  /** PEM of the emulator's TLS root: the only one that is trusted. */
  readonly ca: string;
  /** Host name (as it appears in URLs) to TCP port on 127.0.0.1. */
  readonly routes: Readonly<Record<string, number>>;
  /** @default - the network's own */
  readonly retry?: Network['retry'];
}

/**
 * A network in which Azure's names lead to ports of this machine. URLs, Host headers and TLS names stay what they are on
 * Azure, so that nothing above can tell; a host without a route is refused, so that no request ever leaves the machine.
 */
export function emulatorNetwork({ ca, routes, retry }: EmulatorNetworkOptions): Network {
  const client = createDefaultHttpClient();
  const secure = new HttpsAgent({ keepAlive: true, ca });
  const plain = new HttpAgent({ keepAlive: true });
  for (const agent of [secure, plain]) routeConnections(agent, routes);
  return {
    httpClient: {
      async sendRequest(request: PipelineRequest) {
        const { protocol, hostname, port } = new URL(request.url);
        if (routes[hostname] === undefined || port !== '') {
          const host = port === '' ? hostname : `${hostname}:${port}`;
          throw new SecureTrainingError(
            'CONFIG_INVALID',
            `host ${host} is not part of the emulator: no request leaves this machine`,
          );
        }
        // Over whatever a proxy variable of the environment made an SDK put here.
        request.agent = protocol === 'https:' ? secure : plain;
        return client.sendRequest(request);
      },
    },
    ...(retry === undefined ? {} : { retry }),
  };
}

/** Changes only where a connection goes: the agent has put the real name into `servername`, which TLS then checks. */
function routeConnections(agent: HttpAgent, routes: Readonly<Record<string, number>>): void {
  const connect = agent.createConnection.bind(agent);
  agent.createConnection = (options, callback) => {
    const port = routes[options.host ?? ''];
    if (port === undefined) throw new TypeError(`no route to ${options.host}`);
    return connect({ ...options, host: '127.0.0.1', port }, callback);
  };
}
