import type { IncomingMessage, ServerResponse } from 'node:http';
import { Agent, request as secureForward } from 'node:https';
import type { TokenIssuer } from './entra.ts';
import type { RoleAssignments } from './roles.ts';
import type { RequestHandler } from './service-host.ts';

const AUDIENCE = 'https://storage.azure.com';

export interface StorageServiceOptions {
  readonly issuer: TokenIssuer;
  readonly roles: RoleAssignments;
  /** `ACCOUNT.blob.core.windows.net` */
  readonly host: string;
  /** Resource id of the account: the scope of roles. */
  readonly accountId: string;
  /** Azurite's port on 127.0.0.1. */
  readonly backendPort: number;
  readonly ca: string;
}

/** What Azurite does not do: check the signature of a token, its audience and the roles of its holder. Everything else is Azurite's. */
export function storageService(options: StorageServiceOptions): RequestHandler {
  const { issuer, roles, host, accountId, backendPort, ca } = options;
  const agent = new Agent({ keepAlive: true, ca });
  return (request, response) => {
    const caller = issuer.authenticate(request.headers.authorization, AUDIENCE);
    if (caller === undefined) {
      return refuse(request, response, 401, 'InvalidAuthenticationInfo', 'Server failed to authenticate the request.');
    }
    if (!roles.allows(caller.principalId, actionOf(request), accountId)) {
      const message = 'This request is not authorized to perform this operation using this permission.';
      return refuse(request, response, 403, 'AuthorizationPermissionMismatch', message);
    }
    const { expect: _answeredHere, connection: _hopByHop, ...headers } = request.headers;
    const outgoing = secureForward(
      {
        host: '127.0.0.1',
        port: backendPort,
        servername: host,
        agent,
        method: request.method,
        path: request.url,
        headers,
      },
      (incoming) => {
        response.writeHead(incoming.statusCode ?? 502, incoming.headers);
        incoming.pipe(response);
        incoming.once('error', () => response.destroy());
      },
    );
    outgoing.once('error', () => response.destroy());
    response.once('close', () => outgoing.destroy());
    request.pipe(outgoing);
  };
}

/** Data actions of blob storage (https://learn.microsoft.com/azure/role-based-access-control/permissions/storage). */
function actionOf({ method = 'GET' }: IncomingMessage): string {
  const verb = method === 'GET' || method === 'HEAD' ? 'read' : method === 'DELETE' ? 'delete' : 'write';
  return `Microsoft.Storage/storageAccounts/blobServices/containers/blobs/${verb}`;
}

function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  code: string,
  message: string,
): void {
  request.resume();
  const body = `<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`;
  response.writeHead(status, { 'content-type': 'application/xml', 'x-ms-error-code': code });
  response.end(request.method === 'HEAD' ? undefined : body);
}
