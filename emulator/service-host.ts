import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { type FaultBoard, type ServiceName, suffer } from './faults.ts';

export type RequestHandler = (request: IncomingMessage, response: ServerResponse) => void;

/** One request as a service got it; the log of an emulator is what tests ask "who was asked for what". */
export interface LoggedRequest {
  readonly service: ServiceName;
  readonly host: string;
  readonly method: string;
  /** With its query. */
  readonly path: string;
}

export interface HostedService {
  readonly service: ServiceName;
  /** Names under which it is reached; any other is refused. */
  readonly hosts: readonly string[];
  readonly handler: RequestHandler;
  /** @default - plain HTTP, as the metadata service speaks it */
  readonly tls?: { readonly key: string; readonly cert: string };
}

export interface ServiceHost {
  readonly port: number;
  /** Host name to port, for the routes of a network. */
  readonly routes: Readonly<Record<string, number>>;
  stop(): Promise<void>;
}

export interface HostContext {
  readonly faults: FaultBoard;
  readonly requests: LoggedRequest[];
}

/** Puts a service on a port of 127.0.0.1: logs each request, lets faults happen, checks the name, and hands the rest on. */
export async function hostService(
  { service, hosts, handler, tls }: HostedService,
  { faults, requests }: HostContext,
): Promise<ServiceHost> {
  const onRequest = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { method = 'GET', url: path = '/' } = request;
    const host = request.headers.host ?? '';
    requests.push({ service, host, method, path });
    const fault = faults.take(service, `${method} ${path}`);
    if (fault !== undefined && !(await suffer(fault, service, request, response))) return;
    if (hosts.includes(host)) return handler(request, response);
    response.writeHead(421, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ error: { code: 'MisdirectedRequest', message: `no host ${host} here` } }));
  };
  const listener: RequestHandler = (request, response) => {
    onRequest(request, response).catch((error: unknown) =>
      response.destroy(error instanceof Error ? error : undefined),
    );
  };
  const server = tls === undefined ? createServer(listener) : createTlsServer({ ...tls }, listener);
  // A client that hangs up in the middle is no event of ours.
  server.on('clientError', (_error, socket) => socket.destroy());
  const port = await listen(server, 0);
  faults.onSwitch(service, async (down) => {
    if (down) await close(server);
    else if (!server.listening) await listen(server, port);
  });
  return {
    port,
    routes: Object.fromEntries(hosts.map((host) => [host, port])),
    stop: () => close(server),
  };
}

async function listen(server: Server, port: number): Promise<number> {
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function close(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, 'close');
  server.close();
  server.closeAllConnections();
  await closed;
}
