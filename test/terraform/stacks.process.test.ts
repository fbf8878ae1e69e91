import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { App } from 'cdktf';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addStacks } from '../../stacks/all-stacks.ts';
import { parseDeploymentConfig } from '../../stacks/deployment-config.ts';
import { everything, example, type Json, STACKS } from '../stacks/example.ts';
import { bindingsSchema } from './bindings-schema.ts';
import { installProvider } from './stand-in-provider.ts';

type Named = Readonly<Record<string, Json>>;

/** A stack as Terraform reads it. */
interface Configuration {
  readonly terraform: { readonly backend: { readonly local: { readonly path: string } } };
  readonly resource: Readonly<Record<string, Named>>;
  readonly data?: Readonly<Record<string, Named>>;
  readonly output?: Named;
}

interface Plan {
  readonly resource_changes: readonly {
    readonly address: string;
    readonly change: { readonly actions: readonly string[] };
  }[];
}

const TERRAFORM = 'terraform';
const isInstalled = (() => {
  try {
    execFileSync(TERRAFORM, ['version'], { stdio: 'ignore', env: { ...process.env, CHECKPOINT_DISABLE: '1' } });
    return true;
  } catch {
    return false;
  }
})();

let place: string;
let env: NodeJS.ProcessEnv;
beforeAll(() => {
  if (!isInstalled) return;
  place = mkdtempSync(join(tmpdir(), 'ctrain-terraform-'));
  const folders = readdirSync(join(import.meta.dirname, '../../node_modules/@cdktf/provider-azurerm/lib'));
  const kebab = (type: string) => type.replace(/^azurerm_/, '').replaceAll('_', '-');
  const schemas = (types: readonly string[], prefix: string) =>
    Object.fromEntries(
      types
        .map((type) => [type, `${prefix}${kebab(type)}`] as const)
        .filter(([, folder]) => folders.includes(folder))
        .map(([type, folder]) => [type, bindingsSchema(folder)]),
    );
  const used = [...stacksOf('example', example()), ...stacksOf('everything', everything())].map(configurationIn);
  const schema = {
    provider: bindingsSchema('provider'),
    resources: schemas(
      used.flatMap(({ resource }) => Object.keys(resource)),
      '',
    ),
    dataSources: schemas(
      used.flatMap(({ data }) => Object.keys(data ?? {})),
      'data-',
    ),
  };
  env = { ...process.env, ...installProvider(place, schema) };
});
afterAll(() => {
  if (isInstalled) rmSync(place, { recursive: true, force: true });
});

/** Synthesizes a configuration's stacks; the folders where Terraform runs, in the order they are applied. Their state lies beside them. */
function stacksOf(name: string, config: Json): string[] {
  const outdir = join(place, name, 'cdktf.out');
  mkdirSync(outdir, { recursive: true });
  const app = new App({ outdir, stackTraces: false });
  addStacks(app, parseDeploymentConfig({ ...config, name, backend: { kind: 'local' } }, 'test.json'));
  app.synth();
  return STACKS.map((stack) => join(outdir, 'stacks', stack));
}

function configurationIn(folder: string): Configuration {
  return JSON.parse(readFileSync(join(folder, 'cdk.tf.json'), 'utf8')) as Configuration;
}

/** Exit code and what was said. */
function terraform(folder: string, ...args: readonly string[]): Promise<{ code: number; said: string }> {
  return new Promise((done) => {
    execFile(TERRAFORM, [...args, '-no-color'], { cwd: folder, env, maxBuffer: 2 ** 26 }, (error, stdout, stderr) =>
      done({ code: error === null ? 0 : Number(error.code), said: `${stdout}${stderr}` }),
    );
  });
}

async function ok(folder: string, ...args: readonly string[]): Promise<string> {
  const { code, said } = await terraform(folder, ...args);
  expect(code, said).toBe(0);
  return said;
}

/** Leaves the state behind that the next stack reads: what the stack would have told it, were it applied. */
function pretendApplied(folder: string): void {
  const { terraform, output } = configurationIn(folder);
  const outputs = Object.keys(output ?? {}).map((name) => [name, { value: `${name} of Azure`, type: 'string' }]);
  const state = { version: 4, terraform_version: '1.5.0', serial: 1, lineage: 'test', resources: [] };
  const path = join(folder, terraform.backend.local.path);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, JSON.stringify({ ...state, outputs: Object.fromEntries(outputs) }));
}

/** An expression in a string of Terraform's JSON. */
const expression = (text: string) => `\${${text}}`;

describe.skipIf(!isInstalled)('needs terraform: with a stand-in provider', () => {
  test.each(['example', 'everything'])('%s: every stack is valid and plans what it declares', async (name) => {
    for (const stack of STACKS) {
      const folder = join(place, name, 'cdktf.out', 'stacks', stack);
      await ok(folder, 'init', '-input=false');
      await ok(folder, 'validate');
      await ok(folder, 'plan', '-input=false', '-out=plan');
      const { resource_changes } = JSON.parse(await ok(folder, 'show', '-json', 'plan')) as Plan;
      const created = resource_changes.filter(({ change }) => change.actions.join() === 'create');
      const declared = Object.entries(configurationIn(folder).resource).flatMap(([type, named]) =>
        Object.keys(named).map((id) => `${type}.${id}`),
      );
      expect(created.map(({ address }) => address).sort()).toEqual(declared.sort());
      pretendApplied(folder);
    }
  });

  // What the bindings' types do not see: overrides, references as text, and what comes of all of them together.
  test.each([
    ['an argument that there is not', { colour: 'red' }, 'Extraneous JSON object property'],
    ['an argument of another type', { tags: 'all' }, 'map of string required'],
    ['a missing argument', { location: undefined }, 'Missing required argument'],
    ['a missing block', { os_disk: undefined }, 'Insufficient os_disk blocks'],
    ['two of one block', { os_disk: [{}, {}] }, 'Too many os_disk blocks'],
    [
      'an argument of a block that there is not',
      { identity: { type: 'UserAssigned', colour: 'red' } },
      'Extraneous JSON object property',
    ],
    [
      'a resource that nobody declares',
      { location: expression('azurerm_subnet.Nowhere.id') },
      'Reference to undeclared resource',
    ],
    [
      'an attribute that there is not',
      { location: expression('azurerm_resource_group.Group.colour') },
      'Unsupported attribute',
    ],
    ['a function that there is not', { location: expression('paint("red")') }, 'Call to unknown function'],
  ])('refuses %s', async (_, change, complaint) => {
    const from = join(place, 'example', 'cdktf.out', 'stacks', 'training');
    const folder = mkdtempSync(join(place, 'wrong-'));
    const { resource, ...rest } = configurationIn(from);
    const [[id, machine] = ['', {}]] = Object.entries(resource.azurerm_linux_virtual_machine ?? {});
    const group = Object.keys(resource.azurerm_resource_group ?? {})[0] ?? '';
    const changed = JSON.stringify({ ...machine, ...change }).replace('.Group.', `.${group}.`);
    const machines = { azurerm_linux_virtual_machine: { [id]: JSON.parse(changed) } };
    writeFileSync(join(folder, 'cdk.tf.json'), JSON.stringify({ ...rest, resource: { ...resource, ...machines } }));
    await ok(folder, 'init', '-input=false', '-backend=false');
    const { code, said } = await terraform(folder, 'validate');
    expect({ code, said: said.replace(/\s+/g, ' ') }).toEqual({ code: 1, said: expect.stringContaining(complaint) });
  });
});
