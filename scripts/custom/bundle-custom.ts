import { readFile } from 'node:fs/promises';
import { SourceMap, type SourceMapPayload } from 'node:module';
import { join, resolve, sep } from 'node:path';
import { type BuildFailure, build, type Message, type Plugin } from 'esbuild';
import { fromBase64, sha256, toHex } from '../../runtime/crypto/bytes.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';

/** Modules that a configuration names, relative to its folder. */
export interface CustomSources {
  readonly folder: string;
  readonly model?: string;
  readonly dataset?: string;
}

/** `custom.mjs`: what the worker loads, and what an owner reviews. Not minified, for it is there to be read. */
export interface CustomBundle {
  readonly bytes: Uint8Array;
  /** SHA-256 (hex) of {@link bytes}: what an agreement names and `approve --reviewed` repeats. */
  readonly sha256: string;
}

/** The one name that a module may import beside files of its own. */
const MODEL_IMPORT = 'confidential-training/model';
const MODEL_SOURCE = join(import.meta.dirname, '../../runtime/training/model-definition.ts');

/**
 * What a module has no use for inside a worker without a network, files and an environment, or what would make a run that nobody can
 * repeat. Refusing them here tells an honest author early; what holds a dishonest one is the worker's confinement.
 */
const REFUSED_GLOBALS = {
  ...Object.fromEntries(
    ['fetch', 'XMLHttpRequest', 'WebSocket', 'EventSource', 'process', 'require', 'global', 'globalThis', 'Buffer'].map(
      (name) => [name, 'there is no network, no file and no environment where it runs'],
    ),
  ),
  'Math.random': 'it draws without a seed: use config.seed, so that the run can be repeated',
  crypto: 'it draws without a seed: use config.seed, so that the run can be repeated',
} as const;

/**
 * Bundles custom modules; same sources, same bytes, in every folder.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`, one failure per import or name that has no place there, each with file:line
 */
export async function bundleCustom({ folder, model, dataset }: CustomSources): Promise<CustomBundle> {
  const root = resolve(folder);
  const exported = [
    ...(model === undefined ? [] : [`export { default as model } from ${JSON.stringify(inFolder(model))};`]),
    ...(dataset === undefined ? [] : [`export { default as dataset } from ${JSON.stringify(inFolder(dataset))};`]),
  ];
  const define = Object.fromEntries(Object.keys(REFUSED_GLOBALS).map((name) => [name, markOf(name)]));
  const { outputFiles } = await build({
    absWorkingDir: root,
    stdin: { contents: exported.join('\n'), resolveDir: root, sourcefile: 'custom-modules' },
    outfile: 'custom.mjs',
    bundle: true,
    write: false,
    platform: 'neutral',
    target: 'node24',
    format: 'esm',
    charset: 'utf8',
    legalComments: 'none',
    // Inside the file, so that stacks name the author's lines and one digest covers all of it.
    sourcemap: 'inline',
    sourcesContent: false,
    // Only free names are replaced: a parameter called process is nobody's business.
    define,
    plugins: [ownFilesOnly(root)],
    // Settings of the author's own would make other bytes of the same sources.
    tsconfigRaw: {},
    logLevel: 'silent',
  }).catch((cause: BuildFailure) => {
    throw refused((cause.errors ?? []).map(messageOf), cause);
  });
  const bytes = new Uint8Array(outputFiles[0]?.contents ?? []);
  const failures = refusedNames(new TextDecoder().decode(bytes));
  if (failures.length > 0) throw refused(failures);
  return { bytes, sha256: toHex(sha256(bytes)) };
}

/** Files below the configuration's folder and {@link MODEL_IMPORT}; a package would be code that no owner looks at. */
function ownFilesOnly(root: string): Plugin {
  return {
    name: 'own-files-only',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /.*/ }, ({ path, resolveDir, kind }) => {
        if (path === MODEL_IMPORT) return { path: 'model', namespace: 'confidential-training' };
        if (kind === 'entry-point') return undefined;
        if (!/^\.{1,2}\//.test(path)) {
          return { errors: [{ text: `it imports ${path}: wanted only files of its own and ${MODEL_IMPORT}` }] };
        }
        const file = resolve(resolveDir, path);
        if (!file.startsWith(root + sep)) {
          return { errors: [{ text: `it imports ${path}, outside the folder of the configuration` }] };
        }
        return undefined;
      });
      onLoad({ filter: /.*/, namespace: 'confidential-training' }, async () => ({
        contents: await readFile(MODEL_SOURCE, 'utf8'),
        loader: 'ts',
      }));
    },
  };
}

/** Names that were replaced, and imports of what is known only when it runs, with the places they come from. */
function refusedNames(code: string): string[] {
  const [, encoded = ''] = /\/\/# sourceMappingURL=data:application\/json;base64,(\S+)/.exec(code) ?? [];
  const map = new SourceMap(
    JSON.parse(new TextDecoder().decode(fromBase64(encoded, 'source map'))) as unknown as SourceMapPayload,
  );
  const lines = code.slice(0, code.lastIndexOf('//# sourceMappingURL')).split('\n');
  return lines.flatMap((line, row) => {
    const at = (column: number) => {
      const { originalSource, originalLine } = map.findEntry(row, column) as {
        originalSource?: string;
        originalLine?: number;
      };
      return `${originalSource ?? 'custom module'}:${(originalLine ?? 0) + 1}`;
    };
    const names = Object.entries(REFUSED_GLOBALS).flatMap(([name, why]) =>
      line.includes(markOf(name)) ? [`${at(line.indexOf(markOf(name)))}: it uses ${name}: ${why}`] : [],
    );
    const dynamic = /\bimport\(/.exec(line);
    return dynamic === null ? names : [...names, `${at(dynamic.index)}: it imports a file by a name made at run time`];
  });
}

function markOf(name: string): string {
  return `__refused_${name.replace('.', '_')}__`;
}

function inFolder(path: string): string {
  return path.startsWith('./') ? path : `./${path}`;
}

function messageOf({ location, text }: Message): string {
  return location === null ? text : `${location.file}:${location.line}: ${text}`;
}

function refused(failures: readonly string[], cause?: unknown): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', `custom module: ${failures.join('; ')}`, { failures, cause });
}

/** Names the modules of a configuration file, or nothing. */
export function customSources(
  configFile: string,
  { model, dataset }: { readonly model?: string; readonly dataset?: string },
): CustomSources | undefined {
  if (model === undefined && dataset === undefined) return undefined;
  return {
    folder: resolve(configFile, '..'),
    ...(model === undefined ? {} : { model }),
    ...(dataset === undefined ? {} : { dataset }),
  };
}
