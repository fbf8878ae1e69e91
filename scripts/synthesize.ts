import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { SecureTrainingError } from '../runtime/errors.ts';

const ROOT = join(import.meta.dirname, '..');

/** A stack in Terraform's JSON configuration syntax (https://developer.hashicorp.com/terraform/language/syntax/json). */
export interface SynthesizedStack {
  readonly name: string;
  readonly configuration: Readonly<Record<string, unknown>>;
}

/** Names of the environments there are: files of `environments/`. */
export async function environmentNames(): Promise<string[]> {
  const files = await readdir(join(ROOT, 'environments'));
  return files
    .filter((file) => file.endsWith('.json'))
    .map((file) => file.slice(0, -'.json'.length))
    .sort();
}

/**
 * What the stacks of an environment are, in the order they are applied. A process of its own: scripts import no cdktf, and
 * what is judged is what would be applied.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` with what the stacks say about the environment
 */
export async function synthesize(environment: string): Promise<readonly SynthesizedStack[]> {
  const known = await environmentNames();
  if (!known.includes(environment)) {
    const message = `no environment ${environment}: environments/ has ${known.join(', ')}`;
    throw new SecureTrainingError('CONFIG_INVALID', message);
  }
  const folder = await mkdtemp(join(tmpdir(), 'ctrain-synth-'));
  try {
    await runApp(environment, folder);
    const manifest = (await readJson(join(folder, 'manifest.json'))) as { stacks: Readonly<Record<string, Manifest>> };
    return Promise.all(
      inOrder(Object.values(manifest.stacks)).map(async ({ name, synthesizedStackPath }) => ({
        name,
        configuration: (await readJson(join(folder, synthesizedStackPath))) as SynthesizedStack['configuration'],
      })),
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A stack in cdktf's manifest. */
interface Manifest {
  readonly name: string;
  readonly dependencies: readonly string[];
  readonly synthesizedStackPath: string;
}

async function runApp(environment: string, folder: string): Promise<void> {
  const env = { ...process.env, CTRAIN_ENVIRONMENT: environment, CDKTF_OUTDIR: folder };
  const args = ['--disable-warning=DEP0044', join(ROOT, 'stacks', 'app.ts')];
  try {
    await promisify(execFile)(process.execPath, args, { cwd: ROOT, env });
  } catch (error) {
    const { code, stderr } = error as { code?: unknown; stderr?: string };
    // 2: the environment is wrong, and the app has said where. Anything else is a bug of ours.
    if (code !== 2) throw error;
    throw new SecureTrainingError('CONFIG_INVALID', (stderr ?? '').trim().replace(/^ctrain: /, ''));
  }
}

/** Each stack after those it depends on. */
function inOrder(stacks: readonly Manifest[]): Manifest[] {
  const sorted: Manifest[] = [];
  const add = (stack: Manifest): void => {
    if (sorted.includes(stack)) return;
    for (const name of stack.dependencies) {
      const needed = stacks.find((other) => other.name === name);
      if (needed !== undefined) add(needed);
    }
    sorted.push(stack);
  };
  for (const stack of stacks) add(stack);
  return sorted;
}

async function readJson(path: string): Promise<unknown> {
  return JSON.parse(await readFile(path, 'utf8'));
}
