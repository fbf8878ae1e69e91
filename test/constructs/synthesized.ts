import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type App, TerraformStack, Testing } from 'cdktf';
import { afterAll } from 'vitest';
import { AuditLog } from '../../constructs/audit-log.ts';

export type Attributes = Readonly<Record<string, unknown>>;

/** What Terraform will read: look at this, never at the props that were passed in. */
export interface Synthesized {
  readonly terraform: Attributes;
  readonly provider: Attributes;
  readonly output: Attributes;
  readonly locals: Attributes;
  /** Every resource of a type, by the last part of its address. */
  all(type: string): Readonly<Record<string, Attributes>>;
  /** The only resource of a type. */
  one(type: string): Attributes;
  /** `type.name` of every resource, sorted. */
  readonly addresses: readonly string[];
}

export function read(json: string): Synthesized {
  const root = JSON.parse(json) as Record<string, Record<string, Attributes> | undefined>;
  const resources = (root.resource ?? {}) as Record<string, Record<string, Attributes>>;
  const all = (type: string) => resources[type] ?? {};
  return {
    terraform: root.terraform ?? {},
    provider: root.provider ?? {},
    output: root.output ?? {},
    locals: root.locals ?? {},
    all,
    one(type) {
      const [found, ...more] = Object.values(all(type));
      if (found === undefined || more.length > 0)
        throw new Error(`${Object.keys(all(type)).length} resources of ${type}`);
      return found;
    },
    addresses: Object.entries(resources)
      .flatMap(([type, named]) => Object.keys(named).map((name) => `${type}.${name}`))
      .sort(),
  };
}

// Testing.app() would leave a folder behind for every app.
const OUTDIR = mkdtempSync(join(tmpdir(), 'ctrain-synth-'));
afterAll(() => rmSync(OUTDIR, { recursive: true, force: true }));

export function testApp(): App {
  return Testing.app({ outdir: OUTDIR });
}

/** Synthesizes one stack called `test`. */
export function synthesize(build: (stack: TerraformStack) => void): Synthesized {
  const stack = new TerraformStack(testApp(), 'test');
  build(stack);
  return read(Testing.synth(stack));
}

export const PLACE = { resourceGroupName: 'rg-test', location: 'westeurope', tags: { costCentre: '4711' } } as const;
export const ACCESS = {
  subnetId: '/subscriptions/s/resourceGroups/g/providers/p/subnets/endpoints',
  dns: 'azure-policy',
} as const;
export const SUBSCRIPTION = '33333333-3333-4333-8333-333333333333';
export const TENANT = '11111111-1111-4111-8111-111111111111';

export function auditOf(stack: TerraformStack) {
  return AuditLog.fromWorkspaceId(
    stack,
    'Audit',
    '/subscriptions/s/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/log-test',
  );
}
