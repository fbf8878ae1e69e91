import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { TokenIssuer } from '../entra.ts';
import { HttpFailure } from '../json-http.ts';
import { createTlsMaterial } from '../tls.ts';
import { answerArm } from './answers.ts';
import { TENANT } from './computed.ts';
import { isJson, type Json } from './resource-id.ts';
import { ResourceStore } from './store.ts';

/** Who applies. */
const DEPLOYER = {
  name: 'deployer',
  clientId: '77777777-7777-4777-8777-777777777777',
  principalId: '66666666-6666-4666-8666-666666666666',
};
/** A vault's contacts are what azurerm 4 and 5 read of every `azurerm_key_vault` at every refresh; they ignore a refusal. */
const VAULTS = 'vault.azure.net';

export interface ControlPlane {
  /** PEM of the authority that its certificate is from. */
  readonly ca: string;
  /** Variables that bring azurerm here and nowhere else; `SSL_CERT_FILE` (a file with {@link ca}) is the caller's to add. */
  readonly environment: Readonly<Record<string, string>>;
  /** `METHOD path` of every request to the resource manager, and the status it got. */
  readonly requests: readonly string[];
  /** What was asked of any other host: `METHOD host/path` for a vault, `CONNECT host:port` for the rest. All refused. */
  readonly strangers: readonly string[];
  readonly store: ResourceStore;
  stop(): Promise<void>;
}

/**
 * A stand-in for Azure's control plane that a Terraform provider can log in to and apply to: the list of endpoints, tokens,
 * and a resource manager; everything else it is asked for goes into a list of strangers.
 */
export async function startControlPlane(): Promise<ControlPlane> {
  const { ca, cert, key } = createTlsMaterial(['localhost', `*.${VAULTS}`], new Date());
  const issuer = new TokenIssuer(TENANT, generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey);
  const store = new ResourceStore();
  const requests: string[] = [];
  const strangers: string[] = [];
  const manager = createTlsServer({ cert, key }, (request, response) => {
    void respond(request, response);
  });
  const respond = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { method = 'GET', headers } = request;
    // azurerm writes two slashes when it asks for the endpoints a second time.
    const url = new URL(`https://${headers.host}/${(request.url ?? '').replace(/^\/+/, '')}`);
    const body = await readJson(request);
    const answer = (status: number, json: object | undefined) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(json === undefined ? '' : JSON.stringify(json));
    };
    if (url.hostname !== 'localhost') {
      strangers.push(`${method} ${url.hostname}${url.pathname}`);
      return answer(403, { error: { code: 'Forbidden', message: 'Public network access is disabled.' } });
    }
    try {
      if (url.pathname === '/metadata/endpoints') return answer(200, endpoints(url.origin));
      if (url.pathname.endsWith('/oauth2/v2.0/token')) {
        const { token } = issuer.issue(DEPLOYER, 'https://management.azure.com');
        return answer(200, { token_type: 'Bearer', expires_in: 86_400, access_token: token });
      }
      const path = decodeURIComponent(url.pathname).replace(/\/+$/, '');
      const { status, body: json } = answerArm(store, { method, path, query: url.searchParams, body });
      requests.push(`${method} ${path} ${status}`);
      return answer(status, json);
    } catch (error) {
      const failure = error instanceof HttpFailure ? error : new HttpFailure(500, 'InternalError', String(error));
      requests.push(`${method} ${url.pathname} ${failure.status} ${failure.message}`);
      return answer(failure.status, failure.body);
    }
  };
  const proxy = createServer((request, response) => {
    strangers.push(`${request.method} ${request.url}`);
    response.writeHead(403).end();
  });
  const managerPort = await listen(manager);
  const tunnels = new Set<Duplex>();
  proxy.on('connect', ({ url = '' }: IncomingMessage, socket) => {
    tunnels.add(socket);
    socket.once('close', () => tunnels.delete(socket));
    socket.on('error', () => socket.destroy());
    if (!url.endsWith(`.${VAULTS}:443`)) {
      strangers.push(`CONNECT ${url}`);
      socket.end('HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n');
      return;
    }
    // Let in to be refused as a vault refuses: a connection that fails is tried again for minutes.
    const target = connect(managerPort, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
      target.pipe(socket).pipe(target);
    });
    target.on('error', () => socket.destroy());
    socket.once('close', () => target.destroy());
  });
  const proxyUrl = `http://127.0.0.1:${await listen(proxy)}`;
  return {
    ca,
    environment: {
      ARM_METADATA_HOSTNAME: `localhost:${managerPort}`,
      ARM_TENANT_ID: TENANT,
      ARM_CLIENT_ID: DEPLOYER.clientId,
      ARM_CLIENT_SECRET: 'unused',
      ARM_USE_CLI: 'false',
      HTTPS_PROXY: proxyUrl,
      HTTP_PROXY: proxyUrl,
      NO_PROXY: 'localhost',
    },
    requests,
    strangers,
    store,
    stop: async () => {
      for (const tunnel of tunnels) tunnel.destroy();
      await Promise.all([close(manager), close(proxy)]);
    },
  };
}

/** What azurerm asks first (https://learn.microsoft.com/azure/azure-resource-manager: `GET /metadata/endpoints`). */
function endpoints(here: string): object {
  return {
    name: 'AzureCloud',
    resourceManager: here,
    authentication: { loginEndpoint: here, audiences: [here], tenant: 'common', identityProvider: 'AAD' },
    microsoftGraphResourceId: 'https://graph.microsoft.com/',
    attestationResourceId: 'https://attest.azure.net',
    logAnalyticsResourceId: 'https://api.loganalytics.io',
    suffixes: { keyVaultDns: VAULTS, storage: 'core.windows.net', attestationEndpoint: 'attest.azure.net' },
  };
}

async function readJson(request: IncomingMessage): Promise<Json> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString('utf8');
  try {
    const value: unknown = JSON.parse(text);
    return isJson(value) ? value : {};
  } catch {
    return {}; // a form with a client's secret, or nothing at all
  }
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

async function close(server: Server): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  server.closeAllConnections();
  await closed;
}
