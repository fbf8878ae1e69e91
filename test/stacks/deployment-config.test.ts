import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { STRICT_ENVIRONMENT } from '../../runtime/catalogue.ts';
import { environmentPolicy, loadDeploymentConfig, parseDeploymentConfig } from '../../stacks/deployment-config.ts';
import { EXAMPLE_FILE, example, exampleWith, type Json } from './example.ts';

const parse = (value: unknown) => parseDeploymentConfig(value, 'example.json');
const folder = mkdtempSync(join(tmpdir(), 'ctrain-config-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('the example is good, and frozen once read', () => {
  const config = loadDeploymentConfig(EXAMPLE_FILE);
  expect(config.name).toBe('example');
  expect(Object.isFrozen(config.owner.policySigningCertificates)).toBe(true);
  expect(environmentPolicy(config)).toEqual(STRICT_ENVIRONMENT);
});

test('the example explains or shows every field there is', () => {
  // Whatever the reader knows and the example lacks is named in a remark of the same object.
  const config = parse(example()) as unknown as Json;
  const unexplained = (known: Json, shown: Json): string[] =>
    Object.keys(known).filter((name) => !(name in shown) && !(`//${name}` in shown));
  for (const part of ['owner', 'platform', 'training'])
    expect(unexplained(config[part] as Json, example()[part] as Json)).toEqual([]);
  expect(unexplained(config, example())).toEqual([]);
});

// Each optional field, left out: what the example's remark promises.
test.each([
  ['tags', {}],
  ['environment', { generations: ['Milan', 'Genoa'], vmIds: 'any', revocationList: 'if-shown' }],
  ['environment.revocationList', 'if-shown'],
  ['owner.administrators', []],
  ['owner.readers', []],
  ['owner.releaseTo', []],
  ['owner.logRetentionDays', 365],
  ['platform.addressSpace', '10.60.0.0/24'],
  ['platform.operatorAddressSpaces', []],
  ['platform.dns', 'create'],
  ['owner.actionGroup', undefined],
  ['owner.budget', undefined],
  ['owner.policies', 'none'],
  ['platform.network', undefined],
  ['platform.outbound', 'none'],
  ['platform.flowLogs', undefined],
  ['platform.customerKey', false],
  ['platform.diskKey', undefined],
  ['platform.operatorHost', undefined],
  ['platform.actionGroup', undefined],
  ['platform.budget', undefined],
  ['platform.policies', 'none'],
  ['platform.workspaceId', undefined],
  ['training.operators', []],
  ['training.budget', undefined],
  ['training.policies', 'none'],
  ['training.resourceManagerAddress', undefined],
  ['platform.uploaders', []],
  ['platform.publishers', []],
  ['platform.dataRetentionDays', 30],
  ['platform.logRetentionDays', 90],
  ['platform.replication', 'ZRS'],
  ['training.size', 'Standard_DC4as_v5'],
  ['training.count', 1],
  ['training.dailyShutdown', '0400'],
])('%s may be left out', (path, otherwise) => {
  const config = parse(exampleWith(path, undefined)) as unknown as Json;
  expect(path.split('.').reduce<unknown>((at, name) => (at as Json)[name], config)).toEqual(otherwise);
});

const GUID = 'a lower-case GUID';
test.each([
  ['name', 'Example', '"Example"', '2 to 10 lower-case letters, digits and single hyphens'],
  ['profile', 'test', '"test"', 'sandbox or production'],
  ['tenantId', 'ours', '"ours"', GUID],
  ['location', 'West Europe', '"West Europe"', 'a region in Azure spelling, such as westeurope'],
  ['backend', {}, 'nothing', 'azurerm'],
  ['owner', undefined, 'nothing', 'an object'],
  ['owner.subscriptionId', 7, '7', GUID],
  ['owner.resourceGroup', 'rg owner', '"rg owner"', 'letters, digits and single hyphens'],
  ['owner.policySigningCertificates', undefined, 'nothing', 'a list'],
  ['owner.attestationPolicyHash', 'abc', '"abc"', '43 characters of base64url'],
  ['owner.logRetentionDays', 29, '29', 'a whole number from 30 to 730'],
  ['platform.subscriptionId', '', '""', GUID],
  ['platform.resourceGroup', '', '""', 'letters, digits and single hyphens'],
  ['platform.addressSpace', '10.0.0.0', '"10.0.0.0"', 'an IPv4 network such as 10.60.0.0/24'],
  ['platform.dns', 'none', '"none"', 'create or azure-policy'],
  ['platform.workspaceId', 'log', '"log"', 'a resource id'],
  ['platform.dataRetentionDays', 366, '366', 'a whole number from 1 to 365'],
  ['platform.logRetentionDays', 1, '1', 'a whole number from 30 to 730'],
  ['platform.replication', 'GRS', '"GRS"', 'LRS or ZRS or GZRS'],
  ['training.resourceGroup', null, 'null', 'letters, digits and single hyphens'],
  ['training.size', 'huge', '"huge"', 'a VM size such as Standard_DC4as_v5'],
  ['training.count', 101, '101', 'a whole number from 1 to 100'],
  ['training.imageVersion', 'latest', '"latest"', 'a pinned version such as 24.04.202511010'],
  ['training.bundleSha256', 'A'.repeat(64), `"${'A'.repeat(64)}"`, '64 lower-case hex digits'],
  ['training.nodeSha256', 'abc', '"abc"', '64 lower-case hex digits'],
  ['training.dailyShutdown', '4:00', '"4:00"', 'a time of day as HHMM'],
  ['training.resourceManagerAddress', 'arm', '"arm"', 'an IPv4 address'],
  ['owner.policies', 'Block', '"Block"', 'none or Audit or Deny'],
  ['platform.policies', true, 'true', 'none or Audit or Deny'],
  ['training.policies', 'deny', '"deny"', 'none or Audit or Deny'],
  ['platform.outbound', 'internet', '"internet"', 'none or nat'],
  ['platform.customerKey', 'yes', '"yes"', 'true or false'],
  ['platform.network', 'vnet', '"vnet"', 'an object'],
  ['platform.flowLogs', true, 'true', 'an object'],
  ['platform.operatorHost', true, 'true', 'an object'],
  ['training.operators', 'me', '"me"', 'a list'],
  ['training.sizes', 1, '1', 'one of resourceGroup, size, count'],
])('%s: %j', (path, value, found, wanted) => {
  const wrong = () => parse(exampleWith(path, value));
  const at = path === 'backend' ? 'backend.kind' : path;
  expect(wrong).toThrow(RangeError);
  expect(wrong).toThrow(`${at}: found ${found}, wanted ${wanted}`);
  expect(wrong).toThrow(/^example\.json: /);
});

test.each([
  ['tags', { 'a<b': 'c' }, 'tags: found "a<b", wanted names of Azure tags'],
  ['environment', { vmIds: ['one'] }, 'environment.vmIds[0]: found "one", wanted a lower-case GUID'],
  [
    'environment',
    { generations: ['Rome'] },
    'environment.generations[0]: found "Rome", wanted Milan or Genoa or Turin',
  ],
  [
    'environment',
    { revocationList: 'never' },
    'environment.revocationList: found "never", wanted if-shown or required',
  ],
  [
    'owner.policySigningCertificates',
    ['-----'],
    'owner.policySigningCertificates[0]: found "-----", wanted an X.509 certificate in base64 DER',
  ],
  ['owner.administrators', ['me'], 'owner.administrators[0]: found "me", wanted a lower-case GUID'],
  [
    'platform.operatorAddressSpaces',
    ['x'],
    'platform.operatorAddressSpaces[0]: found "x", wanted an IPv4 network such as 10.60.0.0/24',
  ],
  ['owner.actionGroup', { id: 'ag' }, 'owner.actionGroup.id: found "ag", wanted a resource id'],
  ['owner.actionGroup', { emails: ['me'] }, 'owner.actionGroup.emails[0]: found "me", wanted a mail address'],
  ['owner.budget', { startMonth: '2027-01' }, 'owner.budget.monthlyAmount: found nothing, wanted a whole number'],
  [
    'platform.budget',
    { monthlyAmount: 1, startMonth: 'May' },
    'platform.budget.startMonth: found "May", wanted a month as YYYY-MM',
  ],
  [
    'training.budget',
    { monthlyAmount: 0, startMonth: '2027-01' },
    'training.budget.monthlyAmount: found 0, wanted a whole number',
  ],
  [
    'training.budget',
    { monthlyAmount: 9, startMonth: '2027-01' },
    'training.budget: found {"monthlyAmount":9,"startMonth":"2027-01"}, wanted an actionGroup in platform that is told',
  ],
  ['platform.actionGroup', {}, 'platform.actionGroup.emails: found nothing, wanted a list'],
  [
    'platform.network',
    { trainerSubnetId: 'a' },
    'platform.network.trainerSubnetId: found "a", wanted a resource id; platform.network.endpointSubnetId: found nothing',
  ],
  ['platform.flowLogs', { retentionDays: 30 }, 'platform.flowLogs.retentionDays: found 30, wanted a whole number'],
  [
    'platform.flowLogs',
    { networkWatcher: { name: '?', resourceGroup: 'rg' } },
    'platform.flowLogs.networkWatcher.name: found "?", wanted the name of a network watcher',
  ],
  [
    'platform.diskKey',
    { orchestratorPrincipalId: 'o' },
    'platform.diskKey.orchestratorPrincipalId: found "o", wanted a lower-case GUID',
  ],
  [
    'platform.diskKey',
    { diskEncryptionSetId: 'd' },
    'platform.diskKey.diskEncryptionSetId: found "d", wanted a resource id',
  ],
  ['platform.operatorHost', { subnetId: 's' }, 'platform.operatorHost.subnetId: found "s", wanted a resource id'],
  ['training.operators', ['me'], 'training.operators[0]: found "me", wanted a lower-case GUID'],
  ['platform.dns', { vault: [] }, 'platform.dns.blob: found nothing, wanted a list'],
])('%s: %j inside', (path, value, message) => {
  expect(() => parse(exampleWith(path, value))).toThrow(message);
});

test('a network that is brought gets no way out from here', () => {
  const subnet = '/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/a';
  const wrong = exampleWith('platform.network', { trainerSubnetId: subnet, endpointSubnetId: subnet });
  wrong.platform = { ...(wrong.platform as Json), outbound: 'nat' };
  expect(() => parse(wrong)).toThrow('platform.outbound: found "nat", wanted none where the network is brought');
});

test('all that is wrong is said at once', () => {
  const wrong = { ...example(), name: 'X', profile: 'y' };
  expect(() => parse(wrong)).toThrow(/name: found "X".*; profile: found "y"/);
});

test.each([
  ['other.json', JSON.stringify(example()), 'other.json: name: found "example", wanted "other" like the file'],
  ['broken.json', '{', 'broken.json: '],
  ['list.json', '[]', 'list.json: the file: found [], wanted an object'],
])('%s', (name, content, message) => {
  const path = join(folder, name);
  writeFileSync(path, content);
  expect(() => loadDeploymentConfig(path)).toThrow(message);
});

test('a file that is not there is one clear line', () => {
  expect(() => loadDeploymentConfig(join(folder, 'missing.json'))).toThrow(/^missing\.json: ENOENT/);
});
