import { grantRole, RELEASE_ROLE } from '../../runtime/azure/resource-manager.ts';
import { thumbprint } from '../../runtime/crypto/jwk.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { vaultKeyId } from '../../runtime/keys/slots.ts';
import { confusionMetric } from '../../runtime/scores-file.ts';
import { type Agreement, parseAgreement } from '../../runtime/statements/agreement.ts';
import { addSignature, type Envelope, parseEnvelope, readStatement } from '../../runtime/statements/dsse.ts';
import { privacyTerms } from '../../runtime/training/privacy/terms.ts';
import { SCORED_SPLITS } from '../../runtime/training/scores.ts';
import type { Context } from '../context.ts';
import type { LocalKeys } from '../local-keys.ts';
import { vaultKey } from './vault-key.ts';

/** What somebody signs, in plain words: whose data, which code, who gets what, and what the vault cannot check. */
export function explainAgreement(agreement: Agreement): string[] {
  const { training } = agreement.configuration;
  const lines = [
    `agreement   ${agreement.name}, ${agreement.purpose}, up to ${agreement.maxRuns} runs, until ${agreement.notAfter}`,
    ...agreement.owners.flatMap((owner) => [
      `data        of ${owner.name} (${owner.ownerId.slice(0, 12)}): ` +
        owner.datasets
          .map((set) => `${set.dataset} version ${set.version} (manifest ${set.manifestDigest.slice(0, 12)})`)
          .join(', '),
      `key         ${owner.keyName} in ${owner.vaultHost}, released to machines attested by ${owner.attestationAuthority}`,
    ]),
    `code        trainer bundle ${agreement.trainers.map((sha256) => sha256.slice(0, 12)).join(' or ')}, ${
      agreement.customCode === false ? 'no custom code' : `with custom code ${agreement.customCode.sha256}`
    }`,
    ...customLines(agreement),
    `model       ${training.input_size}-${training.hidden_size}-${training.output_size}, ${
      training.epochs === 0 ? 'measured and not trained' : `${training.epochs} epochs`
    }, to ${agreement.recipients.model.map((recipient) => recipient.name).join(', ') || 'nobody'}`,
    ...(training.initial_weights === undefined
      ? []
      : [`start       from the weights of digest ${training.initial_weights.slice(0, 12)}`]),
    ...privacyLines(agreement),
    `let out     ${agreement.metrics.join(', ') || 'no metric'}`,
    ...countedLines(agreement),
    `machine     ${agreement.environment.generations.join(' or ')}, ${
      agreement.environment.vmIds === 'any'
        ? 'any virtual machine with the role'
        : `virtual machine ${agreement.environment.vmIds.join(', ')}`
    }${agreement.environment.revocationList === 'required' ? ", only beside AMD's revocation list" : ''}`,
    'mind        the vault checks four facts: genuine SEV-SNP under the paravisor, secure boot, a token of the named',
    '            authority, a caller with the role. Which program runs is checked by the trainer itself: a hostile',
    '            administrator of the platform could run another program in a genuine machine.',
  ];
  return lines;
}

/** What is promised for each row, and for how many runs. */
function privacyLines({ configuration, maxRuns }: Agreement): string[] {
  const terms = privacyTerms(configuration);
  if (terms === undefined) return [];
  const { noiseMultiplier, delta, budget } = terms;
  const limit = budget === 0 ? 'no limit to epsilon' : `epsilon at most ${budget}`;
  return [
    `privacy     for each row, noise ${noiseMultiplier}: ${limit}, delta ${delta}, in each of ${maxRuns} runs, which add up;`,
    '            metrics and scores are measured without noise',
  ];
}

/** A name among metrics does not say that it stands for counts of rows. */
function countedLines({ metrics, recipients }: Agreement): string[] {
  const splits = SCORED_SPLITS.filter((split) => metrics.includes(confusionMetric(split)));
  if (splits.length === 0) return [];
  const to = recipients.model.map(({ name }) => name).join(', ');
  return [`counts      of ${splits.join(' and ')} rows by true and predicted class, sealed to ${to}`];
}

/** Why custom code is another thing to sign than a configuration. */
function customLines({ customCode, configuration: { training } }: Agreement): string[] {
  if (customCode === false) return [];
  const modules = [training.model, training.dataset].filter((path) => path !== undefined).join(' and ');
  return [
    `            (${modules}): its author can carry rows out in the weights of the model, and nothing here would show it.`,
    '            Sign only what you have read, or whose author you trust with your rows.',
  ];
}

export interface ApproveOptions {
  /**
   * SHA-256 (hex) of the custom code that this person has reviewed.
   * @default - none: an agreement with custom code is not signed
   */
  readonly reviewed?: string;
}

/**
 * Adds this person's signature and, if they own data in it, lets the trainer's identity ask for their key.
 * @throws {@link SecureTrainingError} `CONSENT_MISSING` when they are no party of it, it names another key than theirs, or its
 * custom code is not what they reviewed;
 * `CONFIG_INVALID` when their key may not be relied on
 */
export async function approveAgreement(
  context: Context,
  keys: LocalKeys,
  bytes: Uint8Array,
  { reviewed }: ApproveOptions = {},
): Promise<Envelope> {
  const agreement = readAgreement(bytes);
  requireReviewed(agreement, reviewed);
  const own = agreement.owners.find((owner) => owner.ownerId === keys.ownerId);
  if (own === undefined && agreement.modelOwner.ownerId !== keys.ownerId) {
    throw new SecureTrainingError(
      'CONSENT_MISSING',
      `${keys.name} (${keys.ownerId.slice(0, 12)}) is no party of agreement ${agreement.name}`,
    );
  }
  const signed = addSignature(parseEnvelope(bytes), keys.signing);
  if (own !== undefined) {
    const { deployment, network, credential } = context;
    const { keyId, jwk } = await vaultKey(context, own.keyName);
    if (keyId !== vaultKeyId(own) || thumbprint(jwk) !== thumbprint(own.key)) {
      throw new SecureTrainingError(
        'CONSENT_MISSING',
        `agreement ${agreement.name} names key ${vaultKeyId(own)}, which is not the one in your vault (${keyId})`,
      );
    }
    await grantRole(network, credential, {
      scope: deployment.owner.vaultId,
      principalId: deployment.trainer.identityPrincipalId,
      roleId: RELEASE_ROLE,
    });
  }
  return signed;
}

/** @throws {@link SecureTrainingError} `CONSENT_MISSING` unless the custom code of an agreement is the one that was reviewed */
export function requireReviewed({ name, customCode }: Agreement, reviewed: string | undefined): void {
  const wanted = customCode === false ? undefined : customCode.sha256;
  if (wanted === reviewed) return;
  throw new SecureTrainingError(
    'CONSENT_MISSING',
    wanted === undefined
      ? `agreement ${name} has no custom code, reviewed was ${reviewed}`
      : `agreement ${name} has custom code ${wanted}, whose author can carry rows out in the weights: ${
          reviewed === undefined ? 'read it, then say' : `reviewed was ${reviewed}, wanted`
        } --reviewed ${wanted}`,
  );
}

/** The agreement inside an envelope, whoever has signed it so far. */
export function readAgreement(bytes: Uint8Array): Agreement {
  return parseAgreement(readStatement(parseEnvelope(bytes)).statement);
}
