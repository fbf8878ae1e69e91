import { TerraformStack } from 'cdktf';
import { Construct } from 'constructs';
import { expect, test } from 'vitest';
import { checkName, type NamedKind, nameOf, nameSuffix } from '../../constructs/names.ts';
import { testApp } from './synthesized.ts';

const KINDS = [
  'keyVault',
  'storageAccount',
  'attestationProvider',
  'workspace',
  'dataCollectionEndpoint',
  'dataCollectionRule',
  'privateLinkScope',
  'virtualNetwork',
  'subnet',
  'networkSecurityGroup',
  'networkInterface',
  'privateEndpoint',
  'identity',
  'diskEncryptionSet',
  'actionGroup',
  'budget',
  'natGateway',
  'publicAddress',
  'flowLog',
  'deployment',
  'virtualMachine',
] as const satisfies readonly NamedKind[];
const at = (id: string) => new Construct(new TerraformStack(testApp(), 'test'), id);

test.each(KINDS)('the default name of %s is one that Azure takes, stable, and another for every construct', (kind) => {
  const name = nameOf(at('A'), kind, undefined);
  expect(checkName(at('A'), kind, name)).toBe(name);
  expect(nameOf(at('A'), kind, undefined)).toBe(name);
  expect(nameOf(at('B'), kind, undefined)).not.toBe(name);
});

test('a suffix follows from its parts and nothing else', () => {
  expect(nameSuffix('a', 'b')).toMatch(/^[0-9a-f]{6}$/);
  expect(nameSuffix('a', 'b')).toBe(nameSuffix('a', 'b'));
  expect(nameSuffix('ab', '')).not.toBe(nameSuffix('a', 'b'));
});
