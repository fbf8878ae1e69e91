import { createHash } from 'node:crypto';
import type { TokenCredential } from '@azure/core-auth';
import type { Network } from './network.ts';
import { parseJson, request, type ServiceRequest } from './request.ts';

const ENDPOINT = 'https://management.azure.com';
const SCOPE = `${ENDPOINT}/.default`;
const COMPUTE_API = '2024-07-01';
const AUTHORIZATION_API = '2022-04-01';

/** Built-in role "Key Vault Crypto Service Release User": may ask for a release, nothing else. */
export const RELEASE_ROLE = '08bbd89e-9f13-488c-ac41-acfcb10c90ab';

/** Last part of a power state code, for example `PowerState/running`; `unknown` while Azure states none. */
export type MachineState = 'starting' | 'running' | 'stopping' | 'stopped' | 'deallocating' | 'deallocated' | 'unknown';

/** Asks for a start and returns when that is accepted; {@link machineState} tells when it is done. Starting a running machine changes nothing. */
export async function startMachine(
  network: Network,
  credential: TokenCredential,
  vmResourceId: string,
  abortSignal?: AbortSignal,
): Promise<void> {
  await manage(
    network,
    credential,
    `start ${nameOf(vmResourceId)}`,
    'POST',
    `${vmResourceId}/start`,
    COMPUTE_API,
    abortSignal,
  );
}

/** Asks for the machine to be stopped and no longer billed, which an operating system's shutdown does not do. */
export async function deallocateMachine(
  network: Network,
  credential: TokenCredential,
  vmResourceId: string,
  abortSignal?: AbortSignal,
): Promise<void> {
  const what = `deallocate ${nameOf(vmResourceId)}`;
  await manage(network, credential, what, 'POST', `${vmResourceId}/deallocate`, COMPUTE_API, abortSignal);
}

export async function machineState(
  network: Network,
  credential: TokenCredential,
  vmResourceId: string,
  abortSignal?: AbortSignal,
): Promise<MachineState> {
  const what = `state of ${nameOf(vmResourceId)}`;
  const response = await manage(
    network,
    credential,
    what,
    'GET',
    `${vmResourceId}/instanceView`,
    COMPUTE_API,
    abortSignal,
  );
  const { statuses = [] } = parseJson(what, response, 'UNAVAILABLE') as { statuses?: readonly { code?: string }[] };
  const power = statuses.find(({ code }) => code?.startsWith('PowerState/'))?.code;
  return (power?.slice('PowerState/'.length) ?? 'unknown') as MachineState;
}

export interface RoleGrant {
  /** Resource id below which the role holds. */
  readonly scope: string;
  readonly principalId: string;
  /** GUID of the role definition. */
  readonly roleId: string;
}

/** Grants a role to a managed identity. The assignment's name follows from the grant, so that granting again changes nothing. */
export async function grantRole(
  network: Network,
  credential: TokenCredential,
  grant: RoleGrant,
  abortSignal?: AbortSignal,
): Promise<void> {
  const { scope, principalId, roleId } = grant;
  const subscription = scope.split('/').slice(0, 3).join('/');
  const properties = {
    roleDefinitionId: `${subscription}/providers/Microsoft.Authorization/roleDefinitions/${roleId}`,
    principalId,
    principalType: 'ServicePrincipal',
  };
  const path = `${scope}/providers/Microsoft.Authorization/roleAssignments/${assignmentName(grant)}`;
  const what = `grant role ${roleId} on ${nameOf(scope)}`;
  await manage(network, credential, what, 'PUT', path, AUTHORIZATION_API, abortSignal, { properties });
}

async function manage(
  network: Network,
  credential: TokenCredential,
  what: string,
  method: ServiceRequest['method'],
  path: string,
  apiVersion: string,
  abortSignal?: AbortSignal,
  body?: object,
) {
  return request(network, {
    what,
    denied: 'CONFIG_INVALID',
    as: { credential, scope: SCOPE },
    method,
    url: `${ENDPOINT}${path}?api-version=${apiVersion}`,
    ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    ...(abortSignal === undefined ? {} : { abortSignal }),
  });
}

/** A GUID of fixed input, marked as version 8 (RFC 9562 section 5.8). */
function assignmentName({ scope, principalId, roleId }: RoleGrant): string {
  const hash = createHash('sha256').update([scope, principalId, roleId].join('|').toLowerCase()).digest('hex');
  return [
    hash.slice(0, 8),
    hash.slice(8, 12),
    `8${hash.slice(13, 16)}`,
    `8${hash.slice(17, 20)}`,
    hash.slice(20, 32),
  ].join('-');
}

function nameOf(resourceId: string): string {
  return resourceId.slice(resourceId.lastIndexOf('/') + 1);
}
