import { constants, existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startWorker, type WorkerHandle } from '../runtime/training/broker-side.ts';
import { bundleTrainer, NATIVE_FILES } from '../scripts/bundle.ts';

const NATIVE_DIR = join(import.meta.dirname, '..', '.native');

export type BenchBackend = 'wasm' | 'native';

/** Backends that can be measured here; says so where one cannot. */
export function benchBackends(name: string): readonly BenchBackend[] {
  if (existsSync(NATIVE_DIR)) return ['wasm', 'native'];
  console.error(`${name}: on wasm alone, no engine in .native: npm run setup:native makes one`);
  return ['wasm'];
}

export const nativeFolder = (backend: BenchBackend) => (backend === 'native' ? { nativeDir: NATIVE_DIR } : {});

/** A bundled worker in a folder of its own, confined as in a machine. */
export async function benchWorker(
  backend: BenchBackend,
): Promise<{ start(): Promise<WorkerHandle>; remove(): Promise<void> }> {
  const parent = await mkdtemp(join(tmpdir(), 'ctrain-bench-'));
  const [dir, empty] = [join(parent, 'bundle'), join(parent, 'native')];
  for (const folder of [dir, empty]) await mkdir(folder);
  const native = backend === 'native' ? NATIVE_FILES : [];
  // Bundled as empty files and copied after it: 850 MB need not go through memory.
  for (const name of native) await writeFile(join(empty, name), '');
  const { entries } = await bundleTrainer({ only: ['worker'], ...(native.length > 0 && { nativeDir: empty }) });
  for (const { name, bytes } of entries) await writeFile(join(dir, name), bytes);
  for (const name of native) await copyFile(join(NATIVE_DIR, name), join(dir, name), constants.COPYFILE_FICLONE);
  return {
    start: () =>
      startWorker({ node: process.execPath, script: join(dir, 'worker.mjs'), bundleDir: dir, confine: true }),
    remove: () => rm(parent, { recursive: true }),
  };
}
