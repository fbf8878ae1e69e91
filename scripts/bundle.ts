import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { build, type Metafile, type Plugin } from 'esbuild';
import { CUSTOM_CODE_FILE } from '../runtime/catalogue.ts';
import { SecureTrainingError } from '../runtime/errors.ts';
import { BINDING_FILE } from '../runtime/training/native/binding.ts';
import { type TarEntry, writeTar } from './tar.ts';

/** What a machine runs, in one file that an agreement can name by its digest. */
export interface TrainerBundle {
  readonly sha256: string;
  /** Names and sizes in bytes. */
  readonly files: Readonly<Record<string, number>>;
  /** Bytes that each npm package (and this project, as `.`) put in: the trusted computing base. */
  readonly inputs: Readonly<Record<string, number>>;
}

export interface TrainerBundleOptions {
  /**
   * Folder of the sources, with node_modules.
   * @default - the project that this file is in
   */
  readonly root?: string;
  /**
   * Scripts to bundle, from {@link ENTRIES}.
   * @default - all of them
   */
  readonly only?: readonly EntryName[];
  /**
   * Custom modules, for the worker to load: one more file, and with it another digest.
   * @default - none
   */
  readonly custom?: { readonly bytes: Uint8Array };
  /**
   * Folder of `npm run setup:native`, to go into the bundle whole: 850 MB, and several times as fast as wasm.
   * @default - the bundle computes with wasm
   */
  readonly nativeDir?: string;
}

/**
 * The scripts of a trainer. `main` starts `trainer` with Azure's trust anchors and nothing else; the emulator's entry point imports
 * `trainer` to start it with its own. They share their code; the worker shares none of it, so that its file holds only what it may use.
 */
export const ENTRIES = { main: 'runtime/main.ts', trainer: 'runtime/trainer.ts', worker: 'runtime/worker.ts' } as const;
export type EntryName = keyof typeof ENTRIES;

/** The one file that tfjs loads at run time. Node always has SIMD and never gets tfjs's threads. */
const WASM_FILE = 'tfjs-backend-wasm-simd.wasm';

/** Where `npm run setup:native` puts the native engine. */
export const NATIVE_DIR = join(import.meta.dirname, '..', '.native');

/** What `npm run setup:native` makes and the worker loads. */
export const NATIVE_FILES = ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2', BINDING_FILE];

/** What must never come into the trusted machine (design section 6): outside the trainer's own folder, or text parsers. */
const FORBIDDEN = [
  /^(?!runtime\/|node_modules\/|left-out:)/,
  /^runtime\/data\/prepare\//,
  /^node_modules\/(?:papaparse|azurite|esbuild|commander|sharp|@img|@duckdb)\//,
];

/** CommonJS packages in an ES module still ask for these. */
const BANNER = [
  `import { createRequire as __createRequire } from 'node:module';`,
  'const require = __createRequire(import.meta.url);',
  'const __filename = import.meta.filename;',
  'const __dirname = import.meta.dirname;',
].join('\n');

/**
 * Bundles broker, worker and production entry point with all their packages, and packs them as a tar file whose bytes depend on
 * nothing but the sources: same digest in every folder, on every machine.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` where something came in that has no place in the trusted machine
 */
export async function buildTrainerBundle(outFile: string, options: TrainerBundleOptions = {}): Promise<TrainerBundle> {
  const { entries, inputs } = await bundleTrainer(options);
  const tar = writeTar(entries);
  await mkdir(dirname(resolve(outFile)), { recursive: true });
  const partial = `${outFile}.${process.pid}.partial`;
  await writeFile(partial, tar);
  await rename(partial, outFile);
  return {
    sha256: createHash('sha256').update(tar).digest('hex'),
    files: Object.fromEntries(entries.map(({ name, bytes }) => [name, bytes.length])),
    inputs,
  };
}

/** The files of the bundle, in memory. */
export async function bundleTrainer(
  options: TrainerBundleOptions = {},
): Promise<{ entries: TarEntry[]; inputs: Record<string, number> }> {
  const root = resolve(options.root ?? join(import.meta.dirname, '..'));
  const wanted = options.only ?? (Object.keys(ENTRIES) as EntryName[]);
  const groups = [wanted.filter((name) => name !== 'worker'), wanted.filter((name) => name === 'worker')];
  const { nativeDir } = options;
  const plugins = [nativeDir === undefined ? WITHOUT_NATIVE : WITHOUT_PROTOBUF];
  const built = await Promise.all(
    groups.filter((names) => names.length > 0).map((names) => bundle(root, names, plugins)),
  );
  const wasm = createRequire(join(root, 'package.json')).resolve(`@tensorflow/tfjs-backend-wasm/dist/${WASM_FILE}`);
  const entries = built.flatMap((result) => result.entries);
  entries.push({ name: WASM_FILE, bytes: new Uint8Array(await readFile(wasm)) });
  if (options.custom !== undefined) entries.push({ name: CUSTOM_CODE_FILE, bytes: options.custom.bytes });
  if (nativeDir !== undefined) entries.push(...(await nativeEntries(nativeDir)));
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  return { entries, inputs: bytesByPackage(built.map(({ metafile }) => metafile)) };
}

/** TensorFlow and its addon, as they were made; what reads them is in the worker's own script. */
async function nativeEntries(folder: string): Promise<TarEntry[]> {
  const read = async (name: string) => ({ name, bytes: new Uint8Array(await readFile(join(folder, name))) });
  try {
    return await Promise.all(NATIVE_FILES.map(read));
  } catch (cause) {
    const message = `no native engine in ${folder}: npm run setup:native makes one`;
    throw new SecureTrainingError('CONFIG_INVALID', message, { cause });
  }
}

/** A bundle is the same with and without tfjs-node installed, as long as nobody asked for it. */
const WITHOUT_NATIVE: Plugin = {
  name: 'without-native',
  setup: ({ onResolve }) =>
    onResolve({ filter: /\/native\/register\.ts$/ }, () => ({ path: './native.mjs', external: true })),
};

/** tfjs-node writes summaries with it, we never do; it makes functions from text, which a confined worker may not. */
const WITHOUT_PROTOBUF: Plugin = {
  name: 'without-protobuf',
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /\/proto\/api_pb$/ }, () => ({ path: 'api_pb', namespace: 'left-out' }));
    onLoad({ filter: /.*/, namespace: 'left-out' }, () => ({ contents: 'module.exports = {};' }));
  },
};

async function bundle(
  root: string,
  names: readonly EntryName[],
  plugins: Plugin[],
): Promise<{ entries: TarEntry[]; metafile: Metafile }> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: Object.fromEntries(names.map((name) => [name, ENTRIES[name]])),
    outdir: 'bundle',
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    // A linked node_modules (npm workspaces, a shared one) must not change what a package is called.
    preserveSymlinks: true,
    write: false,
    metafile: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    minifySyntax: true,
    minifyWhitespace: true,
    // Names stay: a stack in the journal of a machine nobody enters is worth more than a megabyte.
    legalComments: 'none',
    // The sideEffects lists of tfjs lack its own node files; esbuild would drop the kernels (facts/local-azure.md section 6).
    ignoreAnnotations: true,
    banner: { js: BANNER },
    // tfjs would take it for reading models from the web, on a Node without fetch.
    external: ['node-fetch'],
    // tfjs-node asks for the whole of tfjs; what it uses is core's, and core must be one copy.
    alias: { '@tensorflow/tfjs': '@tensorflow/tfjs-core' },
    plugins,
    logLevel: 'silent',
  });
  refuseForbidden(metafile);
  const entries = outputFiles.map(({ path, contents }) => ({
    name: relative(join(root, 'bundle'), path),
    bytes: contents,
  }));
  return { entries, metafile };
}

function refuseForbidden({ inputs }: Metafile): void {
  const failures = Object.keys(inputs).filter((path) => FORBIDDEN.some((pattern) => pattern.test(path)));
  if (failures.length === 0) return;
  const message = `the trainer bundle must not contain ${failures.slice(0, 10).join(', ')}`;
  throw new SecureTrainingError('CONFIG_INVALID', message, { failures });
}

function bytesByPackage(metafiles: readonly Metafile[]): Record<string, number> {
  const sizes = new Map<string, number>();
  for (const output of metafiles.flatMap(({ outputs }) => Object.values(outputs))) {
    for (const [path, { bytesInOutput }] of Object.entries(output.inputs)) {
      const name = /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1] ?? '.';
      sizes.set(name, (sizes.get(name) ?? 0) + bytesInOutput);
    }
  }
  return Object.fromEntries([...sizes].sort(([, a], [, b]) => b - a));
}

if (import.meta.main) {
  const outFile = process.argv[2] ?? 'dist/trainer.tar';
  const { sha256, files, inputs } = await buildTrainerBundle(outFile);
  for (const [name, bytes] of Object.entries(inputs)) process.stdout.write(`${String(bytes).padStart(9)} ${name}\n`);
  for (const [name, bytes] of Object.entries(files)) process.stdout.write(`${String(bytes).padStart(9)} ${name}\n`);
  process.stdout.write(`${sha256}  ${outFile}\n`);
}
