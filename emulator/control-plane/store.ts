import { HttpFailure } from '../json-http.ts';
import { addComputed } from './computed.ts';
import { groupOf, isJson, type Json, lastSegment, parentOf, typeOf } from './resource-id.ts';

/** Parts that exist with the resource they belong to and are never made. */
export const IMPLIED = /\/(blobServices|fileServices|queueServices|tableServices)\/default$/i;

/** What a resource manager knows: every resource by its id, whatever the case it is written in. */
export class ResourceStore {
  readonly #resources = new Map<string, Json>();

  get(id: string): Json | undefined {
    return this.#resources.get(id.toLowerCase());
  }

  /** Everything whose id begins with this one and a slash. */
  beneath(id: string): readonly Json[] {
    const prefix = `${id.toLowerCase()}/`;
    return [...this.#resources].filter(([key]) => key.startsWith(prefix)).map(([, resource]) => resource);
  }

  all(type: string): readonly Json[] {
    return [...this.#resources.values()].filter(
      (resource) => String(resource.type).toLowerCase() === type.toLowerCase(),
    );
  }

  /**
   * Makes or replaces a resource, with what Azure adds to it. Refuses one that names another which is not there yet: on
   * Azure that is what a missing dependency shows as, sometimes.
   */
  put(id: string, body: Json): Json {
    this.#requireParent(id);
    this.#requireReferences(id, body);
    const properties = { ...(isJson(body.properties) ? body.properties : {}), provisioningState: 'Succeeded' };
    return this.add({ ...body, properties }, id);
  }

  /** Makes a resource that nobody asked for: the network card of an endpoint. */
  add(body: Json, id: string): Json {
    const resource = addComputed(this, { ...body, id, name: lastSegment(id), type: typeOf(id) }, id);
    this.#resources.set(id.toLowerCase(), resource);
    return resource;
  }

  /** With everything that is part of it. */
  delete(id: string): void {
    for (const resource of this.beneath(id)) this.#resources.delete(String(resource.id).toLowerCase());
    this.#resources.delete(id.toLowerCase());
  }

  #requireParent(id: string): void {
    const parent = parentOf(id);
    if (parent === undefined || !this.#isMissing(parent)) return;
    throw new HttpFailure(404, 'ParentResourceNotFound', `${id} needs ${parent}, which is not there`);
  }

  #requireReferences(id: string, body: Json): void {
    for (const reference of references(body)) {
      if (reference.toLowerCase().startsWith(id.toLowerCase()) || !this.#isMissing(reference)) continue;
      throw new HttpFailure(400, 'InvalidResourceReference', `${id} refers to ${reference}, which is not there`);
    }
  }

  /** Groups that this store never heard of are somebody else's: what is in them is taken to exist. */
  #isMissing(id: string): boolean {
    const group = groupOf(id);
    if (group === undefined || this.get(group) === undefined) return group !== undefined && group.length === id.length;
    return this.get(id.replace(IMPLIED, '')) === undefined;
  }
}

/** Every text in a body that is the id of a resource in a group. */
function references(value: unknown): string[] {
  if (typeof value === 'string') {
    return /^\/subscriptions\/[^/]+\/resourceGroups\/[^/]+\/providers\/[^/]+\/[^/]+\/[^/]+/i.test(value) ? [value] : [];
  }
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(references) : [];
}
