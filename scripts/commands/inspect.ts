import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import { folderSource, storeSource } from '../../runtime/data/dataset-source.ts';
import { type DatasetReport, type InspectOptions, inspectDataset } from '../../runtime/data/inspect-dataset.ts';
import { MANIFEST_FILE } from '../../runtime/data/sealed-folder.ts';
import { DEFAULT_SEALED_FOLDER } from '../../runtime/data/sealing-targets.ts';
import { EXIT_CODES } from '../../runtime/errors.ts';
import { openContext } from '../context.ts';
import { bytes, count, terminalReporter } from '../progress.ts';
import { type OwnerFlags, ownerOf } from '../run/owner-key.ts';

interface InspectFlags extends OwnerFlags {
  readonly deep?: boolean;
  readonly deployment?: string;
  readonly json?: boolean;
}

export function inspectCommand(): Command {
  return new Command('inspect')
    .description('show what a sealed dataset is and whether all of it is there, without any key')
    .argument('[where]', 'folder on this disk, or OWNER/DATASET/VERSION in the store', DEFAULT_SEALED_FOLDER)
    .option('--owner <jwk>', 'public key that must have signed it, as a JWK file')
    .option('--owner-key <file>', 'or your local key, whose signature it must carry')
    .option('--deep', 'read every object and check each region against the signed root')
    .option('-d, --deployment <file>', 'deployment file: look into the store, whatever is on this disk')
    .option('--json', 'machine-readable output')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain inspect                                   what encrypt-data left in encrypted/
  $ ctrain inspect kR3...Yw/mnist/1 --deep
  $ ctrain inspect kR3...Yw/mnist/1 --owner owner.jwk --json

Without --owner or --owner-key the signature proves nothing, and the command says so. Exit code ${EXIT_CODES.CIPHERTEXT_REJECTED} when something is
missing or altered.`,
    )
    .action(async (where: string, flags: InspectFlags) => {
      const ownerKey = await ownerOf(flags);
      const reporter = terminalReporter(process.stderr, { quiet: flags.json === true });
      const report = await reporter.step('inspect', (show) =>
        inspectAt(where, flags, reporter.line, {
          ...(ownerKey === undefined ? {} : { ownerKey }),
          deep: flags.deep === true,
          onObject: (detail, done, total) => show({ fraction: done / total, detail }),
        }),
      );
      if (flags.json === true) console.log(JSON.stringify(report));
      else for (const line of linesOf(report)) console.log(line);
      if (report.problems.length > 0) process.exitCode = EXIT_CODES.CIPHERTEXT_REJECTED;
    });
}

async function inspectAt(
  where: string,
  { deployment }: InspectFlags,
  log: (line: string) => void,
  options: InspectOptions,
): Promise<DatasetReport> {
  if (deployment === undefined && (await exists(join(where, MANIFEST_FILE))))
    return inspectDataset(folderSource(where), options);
  const context = await openContext(deployment, log);
  try {
    const { network, credential } = context;
    const store = blobStore(network, credential, context.deployment.storage.blobEndpoint, 'datasets');
    return await inspectDataset(storeSource(store, where.replace(/\/+$/, '')), options);
  } finally {
    await context.close();
  }
}

function linesOf(report: DatasetReport): string[] {
  const { schema, splits, keys, rotations, problems } = report;
  const signers = report.signedBy.join(', ') || 'nobody';
  return [
    `${report.dataset} version ${report.version} of ${report.ownerId}`,
    `manifest   ${report.manifestDigest}`,
    `signature  by key ${signers}: ${report.signature}`,
    `rows       ${schema.featureCount} features of ${schema.dtype}, label ${schema.label}, ${schema.classes.length} classes, normalisation ${schema.normalisation.kind}`,
    ...splits.map(
      ({ split, objects, rows, plaintextBytes, sealedBytes }) =>
        `${split.padEnd(10)} ${count(rows)} rows in ${count(objects)} objects, ${bytes(plaintextBytes)}, sealed ${bytes(sealedBytes)}`,
    ),
    ...keys.map(({ keyId, objects }) => `key        ${keyId}: ${count(objects)} objects`),
    ...rotations.map(
      ({ to, from, rotatedAt }) => `rotated    ${rotatedAt} from ${from.join(', ') || 'nothing'} to ${to}`,
    ),
    ...problems.map((problem) => `problem    ${problem}`),
    `${problems.length === 0 ? 'nothing is missing' : `${problems.length} problems`} (checked: ${report.checked})`,
  ];
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
