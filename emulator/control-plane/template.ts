import { HttpFailure } from '../json-http.ts';
import { groupOf, idIn, isJson, type Json } from './resource-id.ts';
import type { ResourceStore } from './store.ts';

/** The one expression that our templates use (constructs/template.ts): a property of a resource of the template. */
const REFERENCE = /^\[reference\(resourceId\('([^']+)', ((?:'[^']+'(?:, )?)+)\), '[^']+'\)\.([\w.]+)\]$/;

/** Makes the resources of a deployment's template, those that are there included; gives the deployment with its outputs. */
export function deploy(store: ResourceStore, id: string, body: Json): Json {
  const { template, ...rest } = isJson(body.properties) ? body.properties : {};
  const group = groupOf(id);
  if (!isJson(template) || group === undefined) throw new HttpFailure(400, 'InvalidTemplate', `${id} has no template`);
  const resources = Array.isArray(template.resources) ? template.resources.filter(isJson) : [];
  for (const { type, name, apiVersion: _, ...resource } of resources) {
    const resourceId = idIn(group, String(type), String(name));
    // A key is made once and never updated (facts of the control plane: PUT is create-if-absent).
    const isKept = /\/vaults\/[^/]+\/keys\/[^/]+$/i.test(resourceId) && store.get(resourceId) !== undefined;
    if (!isKept) store.put(resourceId, resource);
  }
  const outputs = Object.entries(isJson(template.outputs) ? template.outputs : {}).map(([name, output]) => [
    name,
    { type: 'String', value: evaluate(store, group, isJson(output) ? String(output.value) : '') },
  ]);
  return store.put(id, {
    ...body,
    template,
    properties: { ...rest, outputs: Object.fromEntries(outputs), timestamp: '2026-01-01T00:00:00Z' },
  });
}

function evaluate(store: ResourceStore, group: string, expression: string): unknown {
  const [, type, names, path] = REFERENCE.exec(expression) ?? [];
  if (type === undefined || names === undefined || path === undefined) {
    throw new HttpFailure(400, 'InvalidTemplate', `no such expression here: ${expression}`);
  }
  const name = names.replaceAll("'", '').split(', ').join('/');
  const found = path
    .split('.')
    .reduce<unknown>(
      (value, member) => (isJson(value) ? value[member] : undefined),
      store.get(idIn(group, type, name))?.properties,
    );
  if (found === undefined) throw new HttpFailure(400, 'InvalidTemplate', `${expression} is nothing`);
  return found;
}
