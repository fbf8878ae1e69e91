import { X509Certificate } from 'node:crypto';
import { Command } from 'commander';
import { isCurrent, isListOf } from '../../runtime/attestation/revocation-checks.ts';
import { keyDigest } from '../../runtime/attestation/verify.ts';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import { AZURE_TRUST } from '../../runtime/azure-trust.ts';
import { revocationListBlob } from '../../runtime/catalogue.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import type { TrustAnchors } from '../../runtime/trust.ts';
import { openContext } from '../context.ts';
import { readInput } from '../run/read-input.ts';
import { AMD_LISTS, type RevocationListFile, readRevocationLists } from '../run/read-revocation-lists.ts';
import { readEmulatorRoots } from '../run/verify-folder.ts';

interface PublishFlags {
  readonly crl: readonly string[];
  readonly chain: readonly string[];
  readonly deployment?: string;
}

export function publishRevocationListCommand(): Command {
  return new Command('publish-revocation-list')
    .description(
      "check AMD's revocation lists and put them into the store, where trainers look for the one of their chip",
    )
    .requiredOption('--crl <file...>', 'revocation lists, DER or PEM, one for each generation')
    .requiredOption(
      '--chain <file...>',
      "PEM files with AMD's roots that signed them: only the keys' digests are pinned here",
    )
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText(
      'after',
      `
Example:
  $ ctrain publish-revocation-list --crl Genoa.crl --chain cert_chain --deployment deployment.json

AMD serves the lists at ${AMD_LISTS}
and the roots beside them, at cert_chain. A list that has run out stops every machine that finds it: publish the next one
before that, the output says when. With "revocationList": "required" in the environment no machine trains without one.`,
    )
    .action(async ({ crl, chain, deployment }: PublishFlags) => {
      const files = await readRevocationLists(crl);
      const roots = (await Promise.all(chain.map(readCertificates))).flat();
      const context = await openContext(deployment, console.error);
      try {
        const { network, credential, deployment: place } = context;
        const trust = place.emulator === undefined ? AZURE_TRUST : await readEmulatorRoots(place.emulator.rootsFile);
        for (const file of files) requirePublishable(file, roots, trust, new Date());
        const store = blobStore(network, credential, place.storage.blobEndpoint, 'trainer');
        for (const { bytes, list } of files) {
          const name = revocationListBlob(list.generation);
          await store.put(name, bytes);
          console.log(`${name} uploaded: ${list.revoked.length} revoked, good until ${list.nextUpdate.toISOString()}`);
        }
      } finally {
        await context.close();
      }
    });
}

/** What every trainer would refuse, refused before any of them sees it. */
function requirePublishable(
  { path, list }: RevocationListFile,
  roots: readonly X509Certificate[],
  trust: TrustAnchors,
  at: Date,
): void {
  const root = roots.find((certificate) => keyDigest(certificate) === trust.amdRootKeys[list.generation]);
  const failures: string[] = [];
  if (root === undefined) failures.push(`found no pinned root of ${list.generation} in the --chain files`);
  else if (!isListOf(list, root)) failures.push(`is not signed by the root of ${list.generation}`);
  if (!isCurrent(list, at)) failures.push(`ran out at ${list.nextUpdate.toISOString()}`);
  if (failures.length === 0) return;
  throw new SecureTrainingError('ATTESTATION_REJECTED', `${path}: ${failures.join('; ')}`, { failures });
}

async function readCertificates(path: string): Promise<readonly X509Certificate[]> {
  const text = new TextDecoder('latin1').decode(await readInput(path));
  try {
    const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
    if (blocks.length > 0) return blocks.map((block) => new X509Certificate(block));
  } catch {
    // Falls through to the one refusal.
  }
  throw new SecureTrainingError('CONFIG_INVALID', `${path}: found no certificates, wanted PEM`);
}
