/** Anything of Azure Resource Manager's JSON; which members a resource has is its provider's affair. */
export type Json = Record<string, unknown>;

export function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function lastSegment(id: string): string {
  return id.slice(id.lastIndexOf('/') + 1);
}

/** `Microsoft.Network/virtualNetworks/subnets` of the id of a subnet; of an extension resource its own type. */
export function typeOf(id: string): string {
  const [, namespace, rest] = /^.*\/providers\/([^/]+)\/(.+)$/i.exec(id) ?? [];
  if (namespace === undefined || rest === undefined) return 'Microsoft.Resources/resourceGroups';
  return [namespace, ...rest.split('/').filter((_, n) => n % 2 === 0)].join('/');
}

/** Whether the path names all resources of a kind instead of one: the types and names after the namespace do not pair up. */
export function isCollection(path: string): boolean {
  const [, rest] = /^.*\/providers\/[^/]+\/(.+)$/i.exec(path) ?? [];
  if (rest === undefined) return /\/(providers|resources|resourceGroups)$/i.test(path);
  return rest.split('/').length % 2 === 1;
}

/** `/subscriptions/ID/resourceGroups/NAME` of anything in it; undefined for what is in no group. */
export function groupOf(id: string): string | undefined {
  return /^\/subscriptions\/[^/]+\/resourceGroups\/[^/]+/i.exec(id)?.[0];
}

/** What has to be there first: the resource that this one is a part or an extension of, or its group. */
export function parentOf(id: string): string | undefined {
  const [, scope, rest = ''] = /^(.*)\/providers\/[^/]+\/(.+)$/i.exec(id) ?? [];
  if (scope === undefined) return undefined;
  const segments = rest.split('/');
  return segments.length <= 2 ? scope : id.split('/').slice(0, -2).join('/');
}

/** The id of a resource from the type and name that a template gives it. */
export function idIn(group: string, type: string, name: string): string {
  const [namespace, ...types] = type.split('/');
  const names = name.split('/');
  return `${group}/providers/${namespace}/${types.map((part, n) => `${part}/${names[n]}`).join('/')}`;
}
