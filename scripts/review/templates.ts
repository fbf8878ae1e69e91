import { isUnknown, type ResourceChange, type TerraformPlan, type Values, values } from './plan.ts';
import type { Finding, Note } from './review.ts';

const DEPLOYMENT = 'azurerm_resource_group_template_deployment';
const KEY = 'microsoft.keyvault/vaults/keys';
const FLOW_LOG = 'microsoft.network/networkwatchers/flowlogs';
const PROVIDER = 'microsoft.attestation/attestationproviders';

/** One resource inside a template deployment: what the control plane makes in azurerm's stead. */
interface Templated {
  readonly address: string;
  readonly type: string;
  readonly name: string;
  readonly properties: Values;
}

/**
 * What happens to keys and attestation providers, which templates make. The control plane creates a key and never updates
 * it, so a new policy has to come as a new key beside the old one: that is a note. Everything else is a finding.
 */
export function reviewTemplates(plan: TerraformPlan): { findings: Finding[]; notes: Note[] } {
  const findings: Finding[] = [];
  const notes: Note[] = [];
  const deployments = plan.changes.filter(({ type, actions }) => type === DEPLOYMENT && !actions.includes('no-op'));
  const before = deployments.flatMap((change) => templated(change, change.before, findings));
  const after = deployments.flatMap((change) => templated(change, change.after, findings));
  for (const change of deployments) {
    if (isUnknown(change.afterUnknown, ['template_content'])) {
      findings.push({
        rule: 'release-key',
        address: change.address,
        says: 'template_content is known only after apply',
      });
    }
  }
  for (const old of before) {
    const now = after.find((item) => isSame(item, old));
    if (now !== undefined) {
      findings.push(...changed(old, now));
      continue;
    }
    const successor = after.find((item) => isSuccessor(item, old) && !before.some((other) => isSame(other, item)));
    if (successor !== undefined && plan.keepsNestedItems) {
      notes.push({
        address: successor.address,
        says: `new policy, new key: ${keyOf(successor)} is made, ${keyOf(old)} stays in its vault as it is`,
      });
    } else {
      const fate = plan.keepsNestedItems ? 'stays in Azure, and nobody keeps it any more' : 'is destroyed';
      findings.push({ rule: 'lost', address: old.address, says: `${old.type} ${old.name} ${fate}` });
    }
  }
  for (const item of after)
    findings.push(
      ...weaknesses(
        item,
        before.find((old) => isSame(old, item)),
      ),
    );
  return { findings, notes };
}

function templated(change: ResourceChange, side: Values | undefined, findings: Finding[]): Templated[] {
  if (typeof side?.template_content !== 'string') return [];
  let resources: unknown;
  try {
    resources = values(JSON.parse(side.template_content))?.resources;
  } catch {
    // Falls through to the one finding.
  }
  const items = Array.isArray(resources) ? resources.map(values) : [undefined];
  return items.flatMap((item) => {
    if (typeof item?.type === 'string' && typeof item.name === 'string') {
      const properties = values(item.properties) ?? {};
      return [{ address: change.address, type: item.type, name: item.name, properties }];
    }
    findings.push({ rule: 'lost', address: change.address, says: 'its template cannot be read' });
    return [];
  });
}

/** The same resource, made differently. */
function changed(old: Templated, now: Templated): Finding[] {
  const names = [...new Set([...Object.keys(old.properties), ...Object.keys(now.properties)])].filter(
    (name) => JSON.stringify(old.properties[name]) !== JSON.stringify(now.properties[name]),
  );
  if (names.length === 0) return [];
  if (old.type.toLowerCase() === KEY) {
    const says = `${keyOf(old)}: ${names.join(', ')} changed under the same name, which Azure ignores: a key is never updated`;
    return [{ rule: 'release-key', address: now.address, says }];
  }
  return names.includes('policySigningCertificates')
    ? [{ rule: 'role-widened', address: now.address, says: `${now.name}: who may sign attestation policies changed` }]
    : [];
}

/** What is wrong with a templated resource now and was not before. */
function weaknesses({ address, type, name, properties }: Templated, old: Templated | undefined): Finding[] {
  const findings: Finding[] = [];
  const isKey = type.toLowerCase() === KEY;
  const operations = isKey ? listed(properties.keyOps) : [];
  const more = operations.filter(
    (operation) => operation !== 'wrapKey' && !listed(old?.properties.keyOps).includes(operation),
  );
  if (more.length > 0 || (isKey && operations.length === 0)) {
    const found = operations.length === 0 ? 'every operation' : more.join(', ');
    findings.push({
      rule: 'release-key',
      address,
      says: `${name}: keyOps has ${found}: opens data without attestation`,
    });
  }
  if (isKey && old === undefined && properties.release_policy === undefined) {
    findings.push({ rule: 'release-key', address, says: `${name} has no release policy` });
  }
  if (
    type.toLowerCase() === FLOW_LOG &&
    properties.enabled !== true &&
    (old === undefined || old.properties.enabled === true)
  ) {
    findings.push({
      rule: 'unrecorded',
      address,
      says: `${name}: enabled: ${String(properties.enabled ?? '(not set)')}`,
    });
  }
  const access = properties.publicNetworkAccess;
  const closed = (value: unknown) => value === 'Disabled' || (value === undefined && type.toLowerCase() !== PROVIDER);
  if (!closed(access) && (old === undefined || closed(old.properties.publicNetworkAccess))) {
    const says = `${name}: publicNetworkAccess: ${String(access ?? '(not set)')}, wanted Disabled`;
    findings.push({ rule: 'public-path', address, says });
  }
  return findings;
}

function listed(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function isSame(a: Templated, b: Templated): boolean {
  return a.type.toLowerCase() === b.type.toLowerCase() && a.name.toLowerCase() === b.name.toLowerCase();
}

/** `vault/training-key-2b...` after `vault/training-key-1a...`: same vault, same purpose, another policy. */
function isSuccessor(item: Templated, old: Templated): boolean {
  const base = (name: string) => /^(.+)-[0-9a-f]{8}$/.exec(name)?.[1];
  return (
    item.type.toLowerCase() === KEY &&
    old.type.toLowerCase() === KEY &&
    base(old.name) !== undefined &&
    base(item.name) === base(old.name)
  );
}

function keyOf({ name }: Templated): string {
  return name.slice(name.lastIndexOf('/') + 1);
}
