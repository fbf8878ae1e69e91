/**
 * `npm run build:constructs`: the package that strangers use, as a folder for `npm publish dist/constructs`. Compiled,
 * because Node strips no types below node_modules; to CommonJS, which `cdktf init`, ts-node and Jest take and which Node
 * lets ES modules import by name. The workspace itself is private, so what is not compiled cannot be published.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const ROOT = join(import.meta.dirname, '..');
const SOURCE = join(ROOT, 'constructs');

function main(args: readonly string[]): number {
  const out = resolve(args[0] ?? join(ROOT, 'dist', 'constructs'));
  rmSync(out, { recursive: true, force: true });
  const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  const options = ['-p', join(SOURCE, 'tsconfig.build.json'), '--outDir', out];
  const { status } = spawnSync(process.execPath, [compiler, ...options], { stdio: 'inherit' });
  if (status !== 0) return status ?? 1;
  const { private: _, ...manifest } = JSON.parse(readFileSync(join(SOURCE, 'package.json'), 'utf8'));
  const [main, types] = ['constructs/index.js', 'constructs/index.d.ts'];
  const exports = { '.': { types: `./${types}`, default: `./${main}` } };
  const published = { ...manifest, type: 'commonjs', main, types, exports, engines: { node: '>=20' } };
  writeFileSync(join(out, 'package.json'), `${JSON.stringify(published, null, 2)}\n`);
  cpSync(join(SOURCE, 'README.md'), join(out, 'README.md'));
  cpSync(join(ROOT, 'LICENSE'), join(out, 'LICENSE'));
  return 0;
}

process.exitCode = main(process.argv.slice(2));
