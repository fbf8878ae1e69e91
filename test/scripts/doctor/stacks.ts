import type { SynthesizedStack } from '../../../scripts/synthesize.ts';

export const OWNER = '22222222-2222-4222-8222-222222222222';
export const PLATFORM = '33333333-3333-4333-8333-333333333333';

/** A stack as cdktf writes it: resources by type and name. */
export function stack(
  name: string,
  resource: Readonly<Record<string, Readonly<Record<string, object>>>>,
  more: { readonly subscriptionId?: string; readonly backend?: object } = {},
): SynthesizedStack {
  const { subscriptionId = PLATFORM, backend = { local: {} } } = more;
  return {
    name,
    configuration: { provider: { azurerm: [{ subscription_id: subscriptionId }] }, terraform: { backend }, resource },
  };
}

export const GROUP = { azurerm_resource_group: { Group: { name: 'rg-a' } } };

export function machines(
  count: number,
  size = 'Standard_DC4as_v5',
): Readonly<Record<string, Readonly<Record<string, object>>>> {
  const named = Array.from({ length: count }, (_, i) => [`Vm${i}`, { name: `vm-${i}`, location: 'westeurope', size }]);
  return { azurerm_linux_virtual_machine: Object.fromEntries(named) };
}

/** A deployment that makes a key with this release policy. */
export function keyDeployment(
  name: string,
  policy: Uint8Array,
): Readonly<Record<string, Readonly<Record<string, object>>>> {
  const properties = {
    kty: 'RSA-HSM',
    keyOps: ['wrapKey'],
    attributes: { enabled: true, exportable: true },
    release_policy: { contentType: 'application/json; charset=utf-8', data: Buffer.from(policy).toString('base64') },
  };
  const template_content = JSON.stringify({
    resources: [{ type: 'Microsoft.KeyVault/vaults/keys', name: `kv-a/${name}`, properties }],
  });
  const deployment = {
    name,
    resource_group_name: ['$', '{azurerm_resource_group.Group.name}'].join(''),
    template_content,
  };
  return { azurerm_resource_group_template_deployment: { Key: deployment } };
}
