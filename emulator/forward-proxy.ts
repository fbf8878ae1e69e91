import { once } from 'node:events';
import {
  createServer,
  request as forward,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { METADATA_HOST } from './metadata-service.ts';

export interface ForwardProxy {
  /** `http://127.0.0.1:PORT`, as `HTTPS_PROXY` takes it. */
  readonly url: string;
  /** Ends every connection. */
  close(): Promise<void>;
}

/** Of a proxy, not of what it hands on (RFC 9110 section 7.6.1). */
const HOP_BY_HOP = ['proxy-connection', 'proxy-authorization', 'connection', 'keep-alive'];

/**
 * The emulated network for programs that know nothing of it: an HTTP proxy (RFC 9110 section 9.3.6) that leads Azure's
 * names to ports of this machine and nowhere else. TLS passes through it unopened, so that names and certificates are checked
 * by the client as on Azure; the metadata service, the only one without TLS, is asked in plain.
 */
export async function startForwardProxy(routes: Readonly<Record<string, number>>): Promise<ForwardProxy> {
  const tunnels = new Set<Duplex>();
  const server = createServer((request, response) => forwardPlain(request, response, routes));
  server.on('connect', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    tunnels.add(socket);
    socket.once('close', () => tunnels.delete(socket));
    openTunnel(request.url ?? '', socket, head, routes);
  });
  server.on('clientError', (_error, socket) => socket.destroy());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      for (const socket of tunnels) socket.destroy();
      await closed;
    },
  };
}

function openTunnel(authority: string, socket: Duplex, head: Buffer, routes: Readonly<Record<string, number>>): void {
  socket.on('error', () => socket.destroy());
  const [, host = ''] = /^([^:]+):443$/.exec(authority) ?? [];
  const port = host === METADATA_HOST || !Object.hasOwn(routes, host) ? undefined : routes[host];
  if (port === undefined) {
    socket.end(`HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n${notHere(authority)}`);
    return;
  }
  const target = connect(port, '127.0.0.1', () => {
    socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
    target.write(head);
    target.pipe(socket);
    socket.pipe(target);
  });
  target.on('error', () => socket.destroy());
  target.once('close', () => socket.destroy());
  socket.once('close', () => target.destroy());
}

function forwardPlain(
  request: IncomingMessage,
  response: ServerResponse,
  routes: Readonly<Record<string, number>>,
): void {
  // The path alone comes from a client that was led here instead of to the metadata service, and knows of no proxy.
  const url = URL.parse(request.url ?? '', `http://${request.headers.host}`);
  const port = url?.protocol === 'http:' && url.host === METADATA_HOST ? routes[METADATA_HOST] : undefined;
  if (url === null || port === undefined) {
    request.resume();
    response.writeHead(403, { 'content-type': 'text/plain' });
    response.end(notHere(request.url ?? ''));
    return;
  }
  const path = `${url.pathname}${url.search}`;
  const outgoing = forward(
    // A connection for each: one that is destroyed below must not be in a pool.
    {
      host: '127.0.0.1',
      port,
      agent: false,
      method: request.method,
      path,
      headers: { ...endToEnd(request.headers), host: url.host },
    },
    (incoming) => {
      response.writeHead(incoming.statusCode ?? 502, endToEnd(incoming.headers));
      incoming.pipe(response);
    },
  );
  outgoing.once('error', () => response.destroy());
  response.once('close', () => outgoing.destroy());
  request.pipe(outgoing);
}

function endToEnd(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !HOP_BY_HOP.includes(name)));
}

function notHere(target: string): string {
  return `${target} is not part of the emulator: no request leaves this machine\n`;
}
