/**
 * `npm run render`: writes what every environment is in Terraform's JSON to rendered/ENVIRONMENT/STACK/cdk.tf.json, which is
 * committed: a change of constructs is reviewed as the infrastructure it makes. `--check` changes nothing and names the files
 * that are not what they should be.
 */
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { utf8 } from '../runtime/crypto/bytes.ts';
import { writeFileAtomic } from '../runtime/data/atomic-file.ts';
import { SecureTrainingError } from '../runtime/errors.ts';
import { reportError } from './report-error.ts';
import { environmentNames, synthesize } from './synthesize.ts';

const STALE = 10;
const FILE = 'cdk.tf.json';

/** What is to lie where, by path below the folder. Terraform runs there: three levels below the root, as in cdktf.out. */
async function renderAll(): Promise<ReadonlyMap<string, string>> {
  const rendered = new Map<string, string>();
  for (const environment of await environmentNames()) {
    for (const { name, configuration } of await synthesize(environment)) {
      rendered.set(join(environment, name, FILE), stableJson(configuration));
    }
  }
  return rendered;
}

/** One text for one value: members in order of their names, two spaces, a line feed at the end. */
export function stableJson(value: unknown): string {
  const sorted = (item: unknown): unknown => {
    if (Array.isArray(item)) return item.map(sorted);
    if (typeof item !== 'object' || item === null) return item;
    const members = Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(members.map(([name, member]) => [name, sorted(member)]));
  };
  return `${JSON.stringify(sorted(value), null, 2)}\n`;
}

/** Paths that are missing, differ, or belong to no environment any more. */
async function staleFiles(folder: string, wanted: ReadonlyMap<string, string>): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true }).catch(() => []);
  // Terraform's own folders may lie beside them.
  const present = entries.filter((path) => /^[^/\\]+[/\\][^/\\]+[/\\]cdk\.tf\.json$/.test(path));
  const stale = present.filter((path) => !wanted.has(path));
  for (const [path, text] of wanted) {
    const found = await readFile(join(folder, path), 'utf8').catch(() => undefined);
    if (found !== text) stale.push(path);
  }
  return stale.sort();
}

async function main(args: readonly string[]): Promise<number> {
  const { check, out } = readArguments(args);
  const folder = out ?? join(import.meta.dirname, '..', 'rendered');
  const wanted = await renderAll();
  const stale = await staleFiles(folder, wanted);
  for (const path of stale) {
    const text = wanted.get(path);
    if (!check) await (text === undefined ? rm(join(folder, path)) : write(join(folder, path), text));
    console.log(`${check ? 'stale' : text === undefined ? 'removed' : 'written'}: ${path}`);
  }
  if (stale.length === 0) console.log(`${wanted.size} files are fresh`);
  else if (check) console.error('run npm run render and commit what it writes');
  return check && stale.length > 0 ? STALE : 0;
}

function readArguments(args: readonly string[]): { readonly check: boolean; readonly out?: string } {
  try {
    const { values } = parseArgs({ args: [...args], options: { check: { type: 'boolean' }, out: { type: 'string' } } });
    return { ...values, check: values.check === true };
  } catch (cause) {
    const message = cause instanceof Error ? cause.message.split('. ')[0] : String(cause);
    throw new SecureTrainingError('CONFIG_INVALID', `${message}; usage: render.ts [--check] [--out FOLDER]`, { cause });
  }
}

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFileAtomic(path, utf8(text));
}

if (process.argv[1] === import.meta.filename) {
  try {
    process.exitCode = await main(process.argv.slice(2));
  } catch (error) {
    process.exitCode = reportError(error, { json: false });
  }
}
