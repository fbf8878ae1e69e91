import { Command } from 'commander';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import { storeSource } from '../../runtime/data/dataset-source.ts';
import { downloadDataset } from '../../runtime/data/download-dataset.ts';
import { openContext } from '../context.ts';
import { DEFAULT_KEY_FILE, loadLocalKeys } from '../local-keys.ts';
import { count, terminalReporter } from '../progress.ts';
import { ownerOf } from '../run/owner-key.ts';
import { showing } from '../show-data-progress.ts';

interface DownloadFlags {
  readonly outputDir?: string;
  readonly owner?: string;
  readonly ownerKey?: string;
  readonly deployment?: string;
  readonly json?: boolean;
}

export function downloadCommand(): Command {
  return new Command('download')
    .description('bring a sealed dataset from the store into a folder, checked and still sealed')
    .argument('<prefix>', 'OWNER/DATASET/VERSION in the store')
    .option('-o, --output-dir <folder>', 'where to (default: DATASET-VERSION)')
    .option('--owner <jwk>', 'public key that must have signed it, as a JWK file')
    .option('--owner-key <file>', `or your local key, whose signature it must carry (default: ${DEFAULT_KEY_FILE})`)
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Example:
  $ ctrain download kR3...Yw/mnist/1 --output-dir mnist

Every object is checked against the signed manifest on its way. Run it again after an interruption.`,
    )
    .action(async (where: string, flags: DownloadFlags) => {
      const prefix = where.replace(/\/+$/, '');
      const ownerKey = (await ownerOf(flags)) ?? (await loadLocalKeys(DEFAULT_KEY_FILE)).signingJwk;
      const folder = flags.outputDir ?? prefix.split('/').slice(-2).join('-');
      const reporter = terminalReporter(process.stderr, { quiet: flags.json === true });
      const context = await openContext(flags.deployment, reporter.line);
      try {
        const { deployment, network, credential } = context;
        const store = blobStore(network, credential, deployment.storage.blobEndpoint, 'datasets');
        const result = await reporter.step(
          'download',
          (show) =>
            downloadDataset({ source: storeSource(store, prefix), folder, ownerKey, onProgress: showing(show) }),
          ({ fetched, manifest }) =>
            `${count(fetched.length)} of ${count(manifest.objects.length)} objects to ${folder}`,
        );
        const { manifest, manifestDigest, fetched } = result;
        const { dataset, version } = manifest;
        if (flags.json === true) console.log(JSON.stringify({ folder, dataset, version, manifestDigest, fetched }));
      } finally {
        await context.close();
      }
    });
}
