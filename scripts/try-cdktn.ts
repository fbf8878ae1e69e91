/**
 * `node scripts/try-cdktn.ts`: our stacks, and the program of constructs/README.md with the packed constructs, synthesized
 * twice: with cdktf, and with its fork cdktn and the fork's bindings under the names that the constructs import. Prints
 * where the results differ. Installs from the registry, in folders of its own.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');
const SOURCES = ['stacks', 'constructs', 'runtime', 'environments'];
const STACKS = ['stacks/data-owner', 'stacks/platform', 'stacks/training', 'program/cdktf.out/stacks/fraud'];
/** The core's version stands in what it writes; nothing else may differ. */
const EXPECTED = '//.metadata.version';

const CDKTF = { dependencies: { cdktf: '0.21.0', constructs: '10.8.1', '@cdktf/provider-azurerm': '14.23.1' } };
const CDKTN = {
  dependencies: {
    // A cdktf that is cdktn. An alias of npm would be a second copy of it, of which no resource of the bindings is an instance.
    cdktf: 'file:./cdktf',
    cdktn: '0.24.0',
    constructs: '10.7.2', // cdktn wants less than 10.8
    '@cdktf/provider-azurerm': 'npm:@cdktn/provider-azurerm@16.1.0',
  },
  // The bindings ask for cdktn 0.23.
  overrides: { '@cdktf/provider-azurerm': { cdktn: '$cdktn' } },
};
const CDKTF_IS_CDKTN = {
  'package.json': '{ "name": "cdktf", "version": "0.24.0", "main": "index.js", "types": "index.d.ts" }',
  'index.js': "module.exports = require('cdktn');",
  'index.d.ts': "export * from 'cdktn';",
};
const COMPILER_OPTIONS = { module: 'commonjs', target: 'es2022', strict: true, skipLibCheck: true, types: [] };

function main(): number {
  const place = mkdtempSync(join(tmpdir(), 'ctrain-cdktn-'));
  try {
    const built = join(place, 'built');
    run(process.execPath, [join('scripts', 'build-constructs.ts'), built], ROOT);
    run('npm', ['pack', '--silent', '--pack-destination', place], built);
    const archive = readdirSync(place).find((name) => name.endsWith('.tgz')) ?? '';
    const before = synthesize(join(place, 'with-cdktf'), CDKTF, join(place, archive));
    const after = synthesize(join(place, 'with-cdktn'), CDKTN, join(place, archive));
    const unexpected = STACKS.flatMap((name, i) => {
      const found = differences(before[i], after[i]);
      console.log(`${name}: ${found.length === 0 ? 'same' : found.join('; ')}`);
      return found.filter((path) => !path.startsWith(`${EXPECTED}:`));
    });
    return unexpected.length === 0 ? 0 : 1;
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

/** What every one of STACKS is with the given packages. */
function synthesize(folder: string, manifest: typeof CDKTF | typeof CDKTN, archive: string): readonly unknown[] {
  write(join(folder, 'cdktf'), CDKTF_IS_CDKTN);
  const dependencies = { ...manifest.dependencies, 'confidential-training-constructs': `file:${archive}` };
  const wanted = { ...manifest, private: true, type: 'module', dependencies };
  write(folder, { 'package.json': JSON.stringify(wanted) });
  run('npm', ['install', '--no-audit', '--no-fund', '--silent'], folder);
  const filter = (path: string) => !/[/\\]node_modules$/.test(path);
  for (const name of SOURCES) cpSync(join(ROOT, name), join(folder, name), { recursive: true, filter });
  run(process.execPath, ['--disable-warning=DEP0044', join('stacks', 'app.ts')], folder, { CDKTF_OUTDIR: folder });

  const readme = readFileSync(join(ROOT, 'constructs', 'README.md'), 'utf8');
  write(join(folder, 'program'), {
    'package.json': '{}',
    'tsconfig.json': JSON.stringify({ compilerOptions: COMPILER_OPTIONS }),
    'main.ts': [...readme.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => code).join('\n'),
  });
  run(process.execPath, [join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')], join(folder, 'program'));
  run(process.execPath, ['main.js'], join(folder, 'program'));
  return STACKS.map((name): unknown => JSON.parse(readFileSync(join(folder, name, 'cdk.tf.json'), 'utf8')));
}

/** `path: what it was -> what it is`, for every leaf of two JSON values that is not the same. */
function differences(before: unknown, after: unknown, path = ''): string[] {
  if (!isContainer(before) || !isContainer(after) || Array.isArray(before) !== Array.isArray(after)) {
    const same = JSON.stringify(before) === JSON.stringify(after);
    return same ? [] : [`${path}: ${JSON.stringify(before)} -> ${JSON.stringify(after)}`];
  }
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...names]
    .sort()
    .flatMap((name) => differences(before[name], after[name], path === '' ? name : `${path}.${name}`));
}

function isContainer(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function write(folder: string, files: Readonly<Record<string, string>>): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
}

function run(command: string, args: readonly string[], cwd: string, env: Readonly<Record<string, string>> = {}): void {
  const { status, error } = spawnSync(command, args, { cwd, stdio: 'inherit', env: { ...process.env, ...env } });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? `exit code ${status}`}`);
}

process.exitCode = main();
