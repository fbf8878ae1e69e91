import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import { TRAINER_BUNDLE } from '../../runtime/catalogue.ts';
import { buildTrainerBundle } from '../bundle.ts';
import { openContext } from '../context.ts';
import { bytes } from '../progress.ts';

export function publishTrainerCommand(): Command {
  return new Command('publish-trainer')
    .description('build the trainer bundle, print what is in it, and put it into the store under its digest')
    .option('--dry-run', 'build and print, upload nothing')
    .option('--json', 'machine-readable output')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText(
      'after',
      '\nExample:\n  $ ctrain publish-trainer --deployment deployment.json\n\nThe digest it prints goes into the environment file of the training stack and into every agreement.',
    )
    .action(async ({ dryRun, json, deployment }: { dryRun?: boolean; json?: boolean; deployment?: string }) => {
      const folder = await mkdtemp(join(tmpdir(), 'ctrain-bundle-'));
      try {
        const file = join(folder, TRAINER_BUNDLE);
        const { sha256, files, inputs } = await buildTrainerBundle(file);
        if (json === true) {
          console.log(JSON.stringify({ sha256, files, inputs }));
        } else {
          console.log('trusted computing base of the trainer, bytes by package:');
          for (const [name, size] of Object.entries(inputs)) console.log(`  ${bytes(size).padStart(9)}  ${name}`);
          console.log(`sha256 ${sha256}`);
        }
        if (dryRun === true) return;
        const context = await openContext(deployment, console.error);
        try {
          const { network, credential, deployment: place } = context;
          const store = blobStore(network, credential, place.storage.blobEndpoint, 'trainer');
          const name = `${sha256}/${TRAINER_BUNDLE}`;
          const put = await store.putFile(name, file, { ifNoneMatch: '*' });
          console.error(put === undefined ? `${name} is in the store already` : `${name} uploaded`);
        } finally {
          await context.close();
        }
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    });
}
