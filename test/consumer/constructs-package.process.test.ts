import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { read } from '../constructs/synthesized.ts';
import { JAVASCRIPT } from './javascript.ts';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const MODULES = join(ROOT, 'node_modules');
const NODE = join(MODULES, '.bin', 'node');
const PACKAGE = 'confidential-training-constructs';
const PEERS = ['@cdktf/provider-azurerm', 'cdktf', 'constructs'];

/** tsconfig.json of `cdktf init --template=typescript`, as cdktf-cli 0.21 writes it. */
const CDKTF_INIT = {
  compilerOptions: {
    alwaysStrict: true,
    declaration: true,
    experimentalDecorators: true,
    inlineSourceMap: true,
    inlineSources: true,
    lib: ['es2018'],
    module: 'CommonJS',
    noEmitOnError: true,
    noFallthroughCasesInSwitch: true,
    noImplicitAny: true,
    noImplicitReturns: true,
    noImplicitThis: true,
    noUnusedLocals: true,
    noUnusedParameters: true,
    resolveJsonModule: true,
    strict: true,
    strictNullChecks: true,
    strictPropertyInitialization: true,
    stripInternal: true,
    target: 'ES2018',
    incremental: true,
    skipLibCheck: true,
  },
  include: ['**/*.ts'],
  exclude: ['node_modules', 'cdktf.out'],
};
const ES_MODULES = {
  compilerOptions: { module: 'nodenext', target: 'es2022', strict: true, skipLibCheck: true, types: [] },
};

let place: string;
beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'ctrain-consumer-'));
  const built = join(place, 'built');
  await run(NODE, [join(ROOT, 'scripts', 'build-constructs.ts'), built]);
  await run('npm', ['pack', built, '--offline', '--ignore-scripts', '--silent', '--pack-destination', place]);
  const [archive = ''] = (await readdir(place)).filter((name) => name.endsWith('.tgz'));
  await run('tar', ['-xzf', join(place, archive), '-C', place]);
});
afterAll(() => rm(place, { recursive: true, force: true }));

/** A project beside which nothing is installed but the package and its peers; what it synthesizes. */
async function synthesized(files: Readonly<Record<string, string | object>>, compile: boolean): Promise<string> {
  const project = await mkdtemp(join(place, 'project-'));
  for (const name of PEERS) {
    await mkdir(dirname(join(project, 'node_modules', name)), { recursive: true });
    await symlink(join(MODULES, name), join(project, 'node_modules', name));
  }
  await cp(join(place, 'package'), join(project, 'node_modules', PACKAGE), { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(project, name), typeof content === 'string' ? content : JSON.stringify(content));
  }
  const start = (...args: readonly string[]) =>
    run(NODE, args, { cwd: project }).catch(({ stdout, stderr }) => {
      throw new Error(`${args.join(' ')}: ${stdout}${stderr}`);
    });
  if (compile) await start(join(MODULES, 'typescript', 'bin', 'tsc'));
  await start('main.js');
  return readFile(join(project, 'cdktf.out', 'stacks', 'fraud', 'cdk.tf.json'), 'utf8');
}

/** The README's example is the stranger's program. */
async function programIn(readme: string): Promise<string> {
  const text = await readFile(join(ROOT, readme), 'utf8');
  return [...text.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => code).join('\n');
}

async function packedFiles(): Promise<string[]> {
  const entries = await readdir(join(place, 'package'), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(join(place, 'package').length + 1))
    .sort();
}

test('a cdktf init project, one of ES modules and plain JavaScript get the same stack', async () => {
  const program = await programIn('constructs/README.md');
  const commonJs = await synthesized({ 'package.json': {}, 'tsconfig.json': CDKTF_INIT, 'main.ts': program }, true);
  const esModules = await synthesized(
    { 'package.json': { type: 'module' }, 'tsconfig.json': ES_MODULES, 'main.ts': program },
    true,
  );
  const javaScript = await synthesized({ 'package.json': {}, 'main.js': JAVASCRIPT }, false);
  expect(esModules).toBe(commonJs);
  expect(javaScript).toBe(commonJs);
  expect(commonJs).not.toContain(place);

  const stack = read(commonJs);
  expect(stack.all('azurerm_linux_virtual_machine')).not.toEqual({});
  // Both escape hatches.
  expect(stack.one('azurerm_storage_account').access_tier).toBe('Cool');
  const endpoints = Object.values(stack.all('azurerm_private_endpoint'));
  expect(endpoints).toHaveLength(3);
  for (const endpoint of endpoints) expect(endpoint.timeouts).toEqual({ create: '2h' });
});

test('what the first README shows is part of that program', async () => {
  const lines = (text: string) => text.split('\n').map((line) => line.trim());
  const shown = lines(await programIn('README.md')).filter((line) => line !== '');
  expect(shown.length).toBeGreaterThan(0);
  expect(lines(await programIn('constructs/README.md'))).toEqual(expect.arrayContaining(shown));
});

test('a prop that does not exist does not compile', async () => {
  const program = (await programIn('constructs/README.md')).replace('retentionDays: 90', 'retentionDay: 90');
  for (const [type, tsconfig] of Object.entries({ commonjs: CDKTF_INIT, module: ES_MODULES })) {
    await expect(
      synthesized({ 'package.json': { type }, 'tsconfig.json': tsconfig, 'main.ts': program }, true),
    ).rejects.toThrow("'retentionDay' does not exist");
  }
});

test('the package is the constructs, the files of the runtime that they reach, and what npm wants', async () => {
  const files = await packedFiles();
  const sources = (await readdir(join(ROOT, 'constructs'))).filter((name) => name.endsWith('.ts'));
  const compiled = [
    ...sources.map((name) => `constructs/${name}`),
    ...['alerts/condition.ts', 'alerts/rule.ts', 'alerts/rules.ts'].map((name) => `runtime/${name}`),
    ...['catalogue.ts', 'errors.ts', 'keys/release-policy.ts'].map((name) => `runtime/${name}`),
  ].flatMap((path) => [path.replace(/ts$/, 'js'), path.replace(/ts$/, 'd.ts')]);
  expect(files).toEqual([...compiled, 'LICENSE', 'README.md', 'package.json'].sort());
  for (const file of files) {
    const text = await readFile(join(place, 'package', file), 'utf8');
    expect(text, file).not.toMatch(/PRIVATE KEY|npm_|_authToken/);
    expect(text, file).not.toContain(place);
  }
});

test('nothing is required but peers, and of the bindings one resource at a time', async () => {
  const required = new Set<string>();
  for (const file of (await packedFiles()).filter((name) => /\.(js|d\.ts)$/.test(name))) {
    const text = await readFile(join(place, 'package', file), 'utf8');
    for (const [, name = ''] of text.matchAll(/(?:require\(|from |import\()["']([^"']+)["']/g)) required.add(name);
  }
  const outside = [...required].filter((name) => !name.startsWith('.'));
  const bindings = /^@cdktf\/provider-azurerm\/lib\/[a-z0-9-]+\/index\.js$/;
  expect(outside.some((name) => bindings.test(name))).toBe(true);
  expect(outside.filter((name) => !bindings.test(name)).sort()).toEqual([
    'cdktf',
    'constructs',
    'node:crypto',
    'node:net',
  ]);
  const manifest = JSON.parse(await readFile(join(place, 'package', 'package.json'), 'utf8')) as {
    readonly peerDependencies: object;
    readonly dependencies?: object;
  };
  expect(Object.keys(manifest.peerDependencies)).toEqual(PEERS);
  expect(manifest.dependencies).toBeUndefined();
});
