import type { MachineState } from '../runtime/azure/resource-manager.ts';
import type { TokenIssuer } from './entra.ts';
import { HttpFailure, type JsonRequest, jsonHandler } from './json-http.ts';
import type { RoleAssignments } from './roles.ts';
import type { RequestHandler } from './service-host.ts';

export const RESOURCE_MANAGER_HOST = 'management.azure.com';
const AUDIENCE = 'https://management.azure.com';

/** What the resource manager can do to a virtual machine. Both return when the work has begun. */
export interface MachineControl {
  readonly state: MachineState;
  start(): void;
  deallocate(): void;
}

export interface ResourceManagerOptions {
  readonly issuer: TokenIssuer;
  readonly roles: RoleAssignments;
  /** By resource id. */
  readonly machines: ReadonlyMap<string, MachineControl>;
}

const MACHINE_PATH = /^(.*\/providers\/Microsoft\.Compute\/virtualMachines\/[^/]+)\/(start|deallocate|instanceView)$/i;
const ASSIGNMENT_PATH =
  /^(\/subscriptions\/.+)\/providers\/Microsoft\.Authorization\/roleAssignments\/([0-9a-f-]{36})$/i;

/**
 * Azure Resource Manager, as far as a run goes: start, deallocate and look at a virtual machine, assign a role.
 * It asks for genuine tokens and for the roles of whoever holds them.
 */
export function resourceManager(options: ResourceManagerOptions): RequestHandler {
  return jsonHandler(async (request) => {
    if (!request.query.has('api-version'))
      throw new HttpFailure(400, 'MissingApiVersionParameter', 'The api-version query parameter is required.');
    const caller = options.issuer.authenticate(request.authorization, AUDIENCE);
    if (caller === undefined)
      throw new HttpFailure(
        401,
        'AuthenticationFailed',
        'The access token is missing, expired or not for this service.',
      );
    const machine = MACHINE_PATH.exec(request.path);
    if (machine !== null) return onMachine(machine[1] ?? '', machine[2] ?? '', request, caller.principalId, options);
    const assignment = ASSIGNMENT_PATH.exec(request.path);
    if (assignment !== null && request.method === 'PUT') {
      return assign(assignment[1] ?? '', assignment[2] ?? '', request, caller.principalId, options);
    }
    throw new HttpFailure(404, 'InvalidResourceType', `The emulator serves no ${request.method} ${request.path}.`);
  });
}

function onMachine(
  id: string,
  act: string,
  { method }: JsonRequest,
  principalId: string,
  { roles, machines }: ResourceManagerOptions,
): object {
  const action =
    act === 'instanceView'
      ? 'Microsoft.Compute/virtualMachines/instanceView/read'
      : `Microsoft.Compute/virtualMachines/${act}/action`;
  authorise(roles, principalId, action, id);
  const machine = machines.get(id);
  if (machine === undefined) throw new HttpFailure(404, 'ResourceNotFound', `The resource '${id}' was not found.`);
  if (act === 'instanceView' && method === 'GET') {
    return {
      statuses: [
        { code: 'ProvisioningState/succeeded', level: 'Info', displayStatus: 'Provisioning succeeded' },
        { code: `PowerState/${machine.state}`, level: 'Info', displayStatus: `VM ${machine.state}` },
      ],
    };
  }
  if (method !== 'POST' || act === 'instanceView')
    throw new HttpFailure(405, 'MethodNotAllowed', `${method} is not allowed here.`);
  // After the reply: a machine that deallocates itself still learns that it was accepted.
  setImmediate(() => (act === 'start' ? machine.start() : machine.deallocate()));
  return {};
}

function assign(
  scope: string,
  name: string,
  request: JsonRequest,
  principalId: string,
  { roles }: ResourceManagerOptions,
): object {
  authorise(roles, principalId, 'Microsoft.Authorization/roleAssignments/write', scope);
  const { properties } = request.json() as { properties?: Record<string, unknown> };
  const { roleDefinitionId, principalId: to } = properties ?? {};
  if (typeof roleDefinitionId !== 'string' || typeof to !== 'string') {
    throw new HttpFailure(
      400,
      'InvalidRequestContent',
      'properties.roleDefinitionId and properties.principalId are required.',
    );
  }
  const roleId = roleDefinitionId.slice(roleDefinitionId.lastIndexOf('/') + 1);
  const assignment = { name, scope, principalId: to, roleId };
  if (roles.duplicateOf(assignment) !== undefined)
    throw new HttpFailure(409, 'RoleAssignmentExists', 'The role assignment already exists.');
  roles.assign(assignment);
  return { id: `${scope}/providers/Microsoft.Authorization/roleAssignments/${name}`, name, properties };
}

function authorise(roles: RoleAssignments, principalId: string, action: string, scope: string): void {
  if (roles.allows(principalId, action, scope)) return;
  const message = `The client with object id '${principalId}' does not have authorization to perform action '${action}' over scope '${scope}'.`;
  throw new HttpFailure(403, 'AuthorizationFailed', message);
}
