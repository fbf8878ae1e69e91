import { join } from 'node:path';
import { Command } from 'commander';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import { MANIFEST_FILE, readSealedFolder } from '../../runtime/data/sealed-folder.ts';
import { DEFAULT_SEALED_FOLDER } from '../../runtime/data/sealing-targets.ts';
import { type UploadResult, uploadDataset } from '../../runtime/data/upload-dataset.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { openContext } from '../context.ts';
import { DEFAULT_KEY_FILE, loadLocalKeys } from '../local-keys.ts';
import { bytes, terminalReporter } from '../progress.ts';
import { showing } from '../show-data-progress.ts';

interface UploadFlags {
  readonly inputPath: string;
  readonly ownerKey: string;
  readonly verify: boolean;
  readonly deployment?: string;
  readonly json?: boolean;
}

export function uploadCommand(): Command {
  return new Command('upload')
    .description('put a sealed dataset into the store and freeze its version')
    .option('-i, --input-path <folder>', 'folder that encrypt-data wrote', DEFAULT_SEALED_FOLDER)
    .option('--owner-key <file>', 'your local key, whose signature the manifest must carry', DEFAULT_KEY_FILE)
    .option('--no-verify', 'do not read back what was sent')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain upload
  $ ctrain upload -i encrypted --deployment deployment.json

Sends what the store does not have yet, the manifest last. Run it again after an interruption. From then on the version is
frozen: the next encrypt-data starts a new one.`,
    )
    .action(async (flags: UploadFlags) => {
      const owner = await loadLocalKeys(flags.ownerKey);
      const reporter = terminalReporter(process.stderr, { quiet: flags.json === true });
      // Before an emulator is started for nothing.
      if ((await readSealedFolder(flags.inputPath, owner.signingJwk)) === undefined) {
        throw new SecureTrainingError(
          'CONFIG_INVALID',
          `${join(flags.inputPath, MANIFEST_FILE)} is missing: run 'ctrain encrypt-data' first`,
        );
      }
      const context = await openContext(flags.deployment, reporter.line);
      try {
        const { deployment, network, credential } = context;
        const store = blobStore(network, credential, deployment.storage.blobEndpoint, 'datasets');
        const result = await reporter.step(
          'upload',
          (show) =>
            uploadDataset({
              folder: flags.inputPath,
              store,
              ownerKey: owner.signingJwk,
              verify: flags.verify,
              onProgress: showing(show),
            }),
          summary,
        );
        if (flags.json === true) console.log(JSON.stringify(result));
        else console.log(`next: ctrain propose --dataset ${result.prefix}`);
      } finally {
        await context.close();
      }
    });
}

function summary({ sent, bytesSent, dataset, version, prefix }: UploadResult): string {
  const what = sent.length === 0 ? 'everything was there' : `${sent.length} objects, ${bytes(bytesSent)}`;
  return `${what}; ${dataset} version ${version} at ${prefix}`;
}
