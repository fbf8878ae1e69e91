import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { AttestationService, type AttestationServiceProps } from '../../constructs/attestation-service.ts';
import { configureProvider } from '../../constructs/provider.ts';
import { auditOf, PLACE, SUBSCRIPTION, synthesize } from './synthesized.ts';

const example = JSON.parse(readFileSync(join(import.meta.dirname, '../../environments/example.json'), 'utf8')) as {
  readonly owner: { readonly policySigningCertificates: readonly string[] };
};

function synthesizeService(change: Partial<AttestationServiceProps> = {}) {
  let authority = '';
  const result = synthesize((stack) => {
    configureProvider(stack, { subscriptionId: SUBSCRIPTION });
    const service = new AttestationService(stack, 'Attestation', {
      ...PLACE,
      name: 'attesttest',
      audit: auditOf(stack),
      subscriptionId: SUBSCRIPTION,
      ...change,
    });
    authority = service.authority;
  });
  const deployment = result.one('azurerm_resource_group_template_deployment');
  const template = JSON.parse(String(deployment.template_content)) as { readonly resources: readonly object[] };
  return { result, deployment, resource: template.resources[0], authority };
}

test('is made by a template, without a public network', () => {
  const { result, resource } = synthesizeService();
  expect(resource).toMatchObject({
    type: 'Microsoft.Attestation/attestationProviders',
    name: 'attesttest',
    location: 'westeurope',
    properties: { publicNetworkAccess: 'Disabled' },
  });
  expect(result.addresses.filter((address) => address.startsWith('azurerm_attestation_provider'))).toEqual([]);
});

test('knows its authority at synth and has it checked at apply', () => {
  const { authority, deployment } = synthesizeService();
  expect(authority).toBe('https://attesttest.weu.attest.azure.net');
  expect(deployment.lifecycle).toMatchObject({
    postcondition: [{ condition: expect.stringContaining(`"${authority}"`) }],
  });
});

test('with signing certificates only their keys change its policy', () => {
  const { resource } = synthesizeService({ policySigningCertificates: example.owner.policySigningCertificates });
  expect(resource).toMatchObject({
    properties: {
      policySigningCertificates: { keys: [{ kty: 'RSA', alg: 'RS256', x5c: example.owner.policySigningCertificates }] },
    },
  });
});

test('cannot be deleted by accident, and is recorded', () => {
  const { result } = synthesizeService();
  expect(result.one('azurerm_management_lock')).toMatchObject({ lock_level: 'CanNotDelete' });
  expect(result.one('azurerm_monitor_diagnostic_setting').enabled_log).toContainEqual({ category: 'AuditEvent' });
});
