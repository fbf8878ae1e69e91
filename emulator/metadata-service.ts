import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { text as readText } from 'node:stream/consumers';
import type { Identity, TokenIssuer } from './entra.ts';
import type { RequestHandler } from './service-host.ts';

export interface MetadataServiceOptions {
  readonly issuer: TokenIssuer;
  /** Identities assigned to the machine: it gets tokens of no other. */
  readonly identities: readonly Identity[];
  /**
   * What it says about the virtual machine.
   * @default - it is asked from no virtual machine
   */
  readonly machine?: {
    readonly vmId: string;
    /** What the THIM endpoint answers. */
    readonly certification: () => {
      readonly vcekCert: string;
      readonly certificateChain: string;
      readonly tcbm: string;
    };
    /**
     * A new certificate (PEM) for the attestation key in this one; `undefined` for what is no certificate of this machine's.
     * @default - none is renewed
     */
    readonly renewAkCertificate?: (pem: string) => string | undefined;
  };
}

/** The host name, which is an address: that is how the metadata service is reached. */
export const METADATA_HOST = '169.254.169.254';

/** Where the certificate of the attestation key is renewed (ImdsClient of Microsoft's C++ client, synchronous form). */
const RENEWAL_PATH = '/metadata/THIM/tvm/certificate/renew';

/** Azure Instance Metadata Service, as far as a trainer asks it (https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service). */
export function metadataService({ issuer, identities, machine }: MetadataServiceOptions): RequestHandler {
  return (request, response) => {
    const url = new URL(request.url ?? '/', `http://${METADATA_HOST}`);
    const problem = problemOf(request, url);
    if (problem !== undefined)
      return json(response, 400, {
        error: 'Bad request. Required metadata header not specified',
        error_description: problem,
      });
    switch (url.pathname.replace(/\/$/, '')) {
      case '/metadata/identity/oauth2/token':
        return token(response, url.searchParams, issuer, identities);
      case '/metadata/instance/compute/vmId':
        return machine === undefined ? notFound(response) : text(response, machine.vmId);
      case RENEWAL_PATH:
        return machine?.renewAkCertificate === undefined
          ? notFound(response)
          : void renewCertificate(request, response, machine.renewAkCertificate);
      case '/metadata/THIM/amd/certification':
        return machine === undefined
          ? notFound(response)
          : json(response, 200, { ...machine.certification(), cacheControl: '86400' });
      default:
        return notFound(response);
    }
  };
}

/** Both rules keep requests out that somebody else made a proxy or a browser send. */
function problemOf(request: IncomingMessage, url: URL): string | undefined {
  const method = url.pathname === RENEWAL_PATH ? 'POST' : 'GET';
  if (request.method !== method) return `only ${method} is served`;
  if (request.headers.metadata?.toString().toLowerCase() !== 'true') return 'header Metadata: true is missing';
  if (request.headers['x-forwarded-for'] !== undefined) return 'a request with X-Forwarded-For is refused';
  if (!url.pathname.startsWith('/metadata/THIM/') && !url.searchParams.has('api-version'))
    return 'api-version is missing';
  return undefined;
}

/** The body is the old certificate, PEM in URL encoding. */
async function renewCertificate(
  request: IncomingMessage,
  response: ServerResponse,
  renew: (pem: string) => string | undefined,
): Promise<void> {
  try {
    const renewed = renew(decodeURIComponent(await readText(request)));
    if (renewed !== undefined) return json(response, 200, { AkCertPem: renewed, CertQueryId: randomUUID() });
    json(response, 400, {
      error: 'Bad request',
      error_description: 'no certificate of this machine’s attestation key',
    });
  } catch (error) {
    if (!(error instanceof URIError)) return void response.destroy();
    json(response, 400, { error: 'Bad request', error_description: 'body is not URL-encoded' });
  }
}

/** Numbers go as strings, as the real service writes them. */
function token(
  response: ServerResponse,
  query: URLSearchParams,
  issuer: TokenIssuer,
  identities: readonly Identity[],
): void {
  const resource = query.get('resource');
  const clientId = query.get('client_id');
  const identity =
    identities.find((candidate) => candidate.clientId === clientId) ??
    (clientId === null && identities.length === 1 ? identities[0] : undefined);
  if (resource === null || identity === undefined) {
    const error_description = resource === null ? 'resource is missing' : 'Identity not found';
    json(response, 400, { error: 'invalid_request', error_description });
    return;
  }
  const { token: access_token, expiresOn } = issuer.issue(identity, resource);
  const now = Math.floor(Date.now() / 1000);
  json(response, 200, {
    access_token,
    client_id: identity.clientId,
    expires_in: String(expiresOn - now),
    expires_on: String(expiresOn),
    ext_expires_in: String(expiresOn - now),
    not_before: String(now),
    resource,
    token_type: 'Bearer',
  });
}

function notFound(response: ServerResponse): void {
  json(response, 404, { error: 'Not found', error_description: 'not served here' });
}

function text(response: ServerResponse, body: string): void {
  response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' });
  response.end(body);
}

function json(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' });
  response.end(JSON.stringify(body));
}
