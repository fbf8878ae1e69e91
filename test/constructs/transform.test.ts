import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { StorageAccount } from '@cdktf/provider-azurerm/lib/storage-account/index.js';
import { TerraformStack, Testing } from 'cdktf';
import { expect, test } from 'vitest';
import { DataStore } from '../../constructs/data-store.ts';
import { configureProvider } from '../../constructs/provider.ts';
import { type TransformedResource, transformResources } from '../../constructs/transform.ts';
import { ACCESS, auditOf, PLACE, read, SUBSCRIPTION, testApp } from './synthesized.ts';

function build() {
  const app = testApp();
  const stack = new TerraformStack(app, 'test');
  configureProvider(stack, { subscriptionId: SUBSCRIPTION });
  const audit = auditOf(stack);
  const store = new DataStore(stack, 'Store', { ...PLACE, privateAccess: ACCESS, audit });
  return { app, stack, store, audit };
}

test('an app-wide transform sees every resource and overrides what it wants', () => {
  const { app } = build();
  const seen: TransformedResource[] = [];
  transformResources(app, (resource) => {
    seen.push(resource);
    return resource.type === 'azurerm_private_endpoint'
      ? { 'timeouts.create': '2h', 'tags.owner': 'network team' }
      : undefined;
  });
  app.synth();
  const result = read(readFileSync(join(app.outdir, 'stacks/test/cdk.tf.json'), 'utf8'));
  expect(seen.map(({ path }) => path)).toContain('test/Store/Resource');
  expect(seen).toHaveLength(result.addresses.length);
  expect(result.one('azurerm_private_endpoint')).toMatchObject({
    timeouts: { create: '2h' },
    tags: { ...PLACE.tags, owner: 'network team' },
  });
  expect(result.one('azurerm_storage_account')).toMatchObject({ tags: PLACE.tags });
});

test('a transform of one construct leaves the others alone', () => {
  const { stack, store, audit } = build();
  new DataStore(stack, 'Other', { ...PLACE, privateAccess: ACCESS, audit });
  transformResources(store, ({ type }) =>
    type === 'azurerm_storage_account' ? { account_replication_type: 'LRS' } : undefined,
  );
  const accounts = Object.values(read(Testing.synth(stack)).all('azurerm_storage_account'));
  expect(accounts.map(({ account_replication_type }) => account_replication_type).sort()).toEqual(['LRS', 'ZRS']);
});

test('an app without stacks has nothing to transform, and says so', () => {
  expect(() => transformResources(testApp(), () => undefined)).toThrow('scope must be an app that has its stacks');
});

test('one resource is found by its id', () => {
  const { stack, store } = build();
  const account = store.node.findChild('Resource');
  if (!(account instanceof StorageAccount)) throw new Error('no account');
  account.addOverride('access_tier', 'Cool');
  expect(read(Testing.synth(stack)).one('azurerm_storage_account').access_tier).toBe('Cool');
});
