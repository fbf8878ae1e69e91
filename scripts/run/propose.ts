import { blobStore } from '../../runtime/azure/blob-store.ts';
import { vaultClient } from '../../runtime/azure/vault.ts';
import { checkSealingKey } from '../../runtime/data/sealing-key.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { decodeReleasePolicy, policyDigest } from '../../runtime/keys/release-policy.ts';
import { requireFit } from '../../runtime/open-datasets.ts';
import { readBlob } from '../../runtime/queue.ts';
import { type AgreedDataset, type Agreement, agreementStatement } from '../../runtime/statements/agreement.ts';
import { type Envelope, signStatement } from '../../runtime/statements/dsse.ts';
import { type Manifest, verifyManifest } from '../../runtime/statements/manifest.ts';
import type { TrainingConfig } from '../../runtime/training-config.ts';
import type { Context } from '../context.ts';
import type { CustomBundle } from '../custom/bundle-custom.ts';
import { checkCustom } from '../custom/check-custom.ts';
import type { LocalKeys } from '../local-keys.ts';
import type { Configure } from './configuration.ts';

/** Metrics an agreement lets out when it says nothing else. */
const DEFAULT_METRICS = [
  'loss',
  ...['validation', 'test'].flatMap((split) => [`${split}_loss`, `${split}_accuracy`, `${split}_macro_f1`]),
];

export interface ProposeOptions {
  readonly name: string;
  /** Uploaded datasets of the person whose keys these are, by folder in container `datasets`. */
  readonly prefixes: readonly string[];
  readonly keyName: string;
  readonly configuration: Configure;
  readonly maxRuns: number;
  readonly notAfter: Date;
  /**
   * Metrics to let out beside the usual ones.
   * @default - none
   */
  readonly metrics?: readonly string[];
  /**
   * Bundled custom modules, to be tried on rows of this shape before they are agreed on.
   * @default - the configuration names none
   */
  readonly custom?: CustomBundle;
}

export interface Proposal {
  readonly agreement: Agreement;
  readonly envelope: Envelope;
  readonly manifests: readonly Manifest[];
}

/**
 * An agreement between one person in every role and themselves: data owner, model owner and recipient. Nobody has signed it yet.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when configuration and data do not fit, or the vault key may not be relied on
 */
export async function proposeAgreement(context: Context, keys: LocalKeys, options: ProposeOptions): Promise<Proposal> {
  const { deployment, network, credential } = context;
  const store = blobStore(network, credential, deployment.storage.blobEndpoint, 'datasets');
  const manifests: Manifest[] = [];
  const datasets: AgreedDataset[] = [];
  let configuration: TrainingConfig | undefined;
  for (const prefix of options.prefixes) {
    const { manifest, digest } = verifyManifest(await readBlob(store, `${prefix}/manifest.dsse.json`), keys.signingJwk);
    configuration ??= options.configuration(manifest.schema, trainRows(manifest));
    requireFit(manifest.schema, configuration);
    manifests.push(manifest);
    datasets.push({ dataset: manifest.dataset, version: manifest.version, manifestDigest: digest, prefix });
  }
  const [schema] = manifests.map((manifest) => manifest.schema);
  const checked =
    options.custom === undefined || configuration === undefined
      ? undefined
      : await checkCustom(options.custom, configuration, schema);
  const { vaultHost, attestationAuthority } = deployment.owner;
  const vault = vaultClient(network, credential, vaultHost);
  const key = await vault.getKey(options.keyName);
  if (configuration === undefined) throw new SecureTrainingError('CONFIG_INVALID', 'an agreement needs a dataset');
  if (key?.releasePolicy === undefined) {
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `${vaultHost}: there is no key ${options.keyName} with a release policy`,
    );
  }
  checkSealingKey(options.keyName, key);
  const agreement: Agreement = {
    name: options.name,
    purpose: 'train',
    owners: [
      {
        ownerId: keys.ownerId,
        name: keys.name,
        signingKey: keys.signingJwk,
        annexKey: keys.recipientJwk,
        vaultHost,
        keyName: options.keyName,
        keyVersion: key.version,
        key: key.jwk,
        attestationAuthority,
        releasePolicySha256: policyDigest(decodeReleasePolicy(key.releasePolicy.data)),
        datasets,
      },
    ],
    modelOwner: { ownerId: keys.ownerId, name: keys.name, signingKey: keys.signingJwk },
    trainers: [deployment.trainer.bundleSha256],
    configuration,
    environment: deployment.environment,
    recipients: { model: [{ name: keys.name, key: keys.recipientJwk }], checkpoints: [] },
    metrics: [...new Set([...(checked?.metrics ?? DEFAULT_METRICS), ...(options.metrics ?? [])])],
    customCode: options.custom === undefined ? false : { sha256: options.custom.sha256 },
    maxRuns: options.maxRuns,
    notAfter: options.notAfter.toISOString(),
  };
  return { agreement, envelope: signStatement(agreementStatement(agreement), []), manifests };
}

/** Rows of the training split. */
export function trainRows({ objects }: Manifest): number {
  return objects.reduce((sum, { split, rows }) => sum + (split === 'train' ? rows : 0), 0);
}
