import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TerraformStack, Testing } from 'cdktf';
import { addStacks } from '../../stacks/all-stacks.ts';
import { parseDeploymentConfig } from '../../stacks/deployment-config.ts';
import { read, type Synthesized, testApp } from '../constructs/synthesized.ts';

export const EXAMPLE_FILE = join(import.meta.dirname, '../../environments/example.json');
export const STACKS = ['data-owner', 'platform', 'training'] as const;
export type StackName = (typeof STACKS)[number];
export type Json = Record<string, unknown>;

/** A fresh copy of the example, to be changed. */
export function example(): Json {
  return JSON.parse(readFileSync(EXAMPLE_FILE, 'utf8')) as Json;
}

/** The example with one member (dotted path) set, or taken out where the value is undefined. */
export function exampleWith(path: string, value: unknown): Json {
  const root = example();
  const names = path.split('.');
  const last = names.pop() ?? '';
  const parent = names.reduce((at, name) => at[name] as Json, root);
  if (value === undefined) delete parent[last];
  else parent[last] = value;
  return root;
}

/** The example in production, with everything that may be asked for. */
export function everything(): Json {
  const GROUP = '44444444-4444-4444-8444-444444444444';
  const { owner, platform, training } = example() as Readonly<Record<string, Json>>;
  const budget = { monthlyAmount: 500, startMonth: '2027-01' };
  const actionGroup = { emails: ['on-call@example.com'] };
  const asked = { actionGroup, budget, policies: 'Deny' };
  const subnetId =
    '/subscriptions/s/resourceGroups/rg-hub/providers/Microsoft.Network/virtualNetworks/v/subnets/operators';
  return {
    ...example(),
    profile: 'production',
    owner: { ...owner, ...asked, administrators: [GROUP], readers: [GROUP], releaseTo: [GROUP] },
    platform: {
      ...platform,
      ...asked,
      outbound: 'nat',
      flowLogs: {},
      customerKey: true,
      diskKey: { orchestratorPrincipalId: GROUP },
      operatorHost: { subnetId, users: [GROUP] },
      uploaders: [GROUP],
      publishers: [GROUP],
    },
    training: { ...training, budget, policies: 'Deny', operators: [GROUP], count: 2 },
  };
}

/** The three stacks of a configuration as Terraform will read them. */
export function synthesizeStacks(config: Json): Readonly<Record<StackName, Synthesized>> {
  const app = testApp();
  addStacks(app, parseDeploymentConfig(config, 'test.json'));
  const synthesized = (name: StackName): Synthesized => {
    const stack = app.node.findChild(name);
    if (!(stack instanceof TerraformStack)) throw new Error(`${name} is no stack`);
    return read(Testing.synth(stack));
  };
  // References between stacks become outputs when the reader is synthesized, so the readers come first.
  const training = synthesized('training');
  const platform = synthesized('platform');
  return { training, platform, 'data-owner': synthesized('data-owner') };
}
