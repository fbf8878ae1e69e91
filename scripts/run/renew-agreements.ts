import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { VaultKey } from '../../runtime/azure/vault.ts';
import { thumbprint } from '../../runtime/crypto/jwk.ts';
import { writeFileAtomic } from '../../runtime/data/atomic-file.ts';
import { datasetPrefix } from '../../runtime/data/sealed-folder.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { decodeReleasePolicy, policyDigest } from '../../runtime/keys/release-policy.ts';
import { vaultKeyId } from '../../runtime/keys/slots.ts';
import { isOpen, listRuns, readBlob } from '../../runtime/queue.ts';
import {
  type AgreedDataset,
  type Agreement,
  type AgreementOwner,
  agreementSigners,
  agreementStatement,
  verifyAgreement,
} from '../../runtime/statements/agreement.ts';
import { parseEnvelope, serialiseEnvelope, signStatement, statementDigest } from '../../runtime/statements/dsse.ts';
import type { Context } from '../context.ts';
import type { LocalKeys } from '../local-keys.ts';
import { readInput } from './read-input.ts';
import { runStore } from './submit.ts';

/** An agreement as somebody signed it, and how many of its runs have not ended. */
export interface KnownAgreement {
  readonly agreement: Agreement;
  readonly digest: string;
  readonly open: number;
}

/** What a rotation did to a dataset's version: the same again under another key, or another version of it. */
interface MovedDataset {
  readonly prefix: string;
  readonly now: AgreedDataset;
}

interface RenewOptions {
  readonly to: VaultKey;
  readonly vaultHost: string;
  readonly moved: readonly MovedDataset[];
  readonly folder: string;
  readonly now: Date;
}

/** An agreement that named an older key or version, and what was prepared in its place. */
export interface RenewedAgreement {
  readonly name: string;
  /** Hex digest of the agreement that it follows. */
  readonly was: string;
  /** Proposal that nobody has signed yet, or that was prepared before; absent where `hindrance` says why there is none. */
  readonly file?: string;
  readonly hindrance?: string;
  /** Everybody who has to sign it, by name. */
  readonly signers: readonly string[];
}

/**
 * Every agreement that all have signed and in which this owner has a part: of runs in the store, and of files. What lies in
 * the store anybody may have put there, so one that is not signed counts for nothing.
 */
export async function knownAgreements(
  context: Context,
  keys: LocalKeys,
  files: readonly string[] = [],
): Promise<KnownAgreement[]> {
  const runs = runStore(context);
  const found = new Map<string, KnownAgreement>();
  for (const { request, status } of await listRuns(runs)) {
    const { agreementDigest, runId } = request;
    const known =
      found.get(agreementDigest) ?? signedAgreement(await readBlob(runs, `${runId}/agreement.dsse.json`), keys);
    if (known === undefined) continue;
    found.set(known.digest, { ...known, open: known.open + (isOpen(status) ? 1 : 0) });
  }
  for (const file of files) {
    const { agreement, digest } = verifyAgreement(await readInput(file));
    if (ownPart(agreement, keys) === undefined) {
      throw new SecureTrainingError(
        'CONFIG_INVALID',
        `${file}: ${keys.name} has no data in agreement ${agreement.name}`,
      );
    }
    if (!found.has(digest)) found.set(digest, { agreement, digest, open: 0 });
  }
  return [...found.values()];
}

function signedAgreement(bytes: Uint8Array, keys: LocalKeys): KnownAgreement | undefined {
  try {
    const { agreement, digest } = verifyAgreement(bytes);
    return ownPart(agreement, keys) === undefined ? undefined : { agreement, digest, open: 0 };
  } catch (error) {
    if (error instanceof SecureTrainingError) return undefined;
    throw error;
  }
}

/**
 * Writes a proposal for every agreement that names what was rotated: the same parties, configuration, trainers and expiry,
 * with the new key, and the new manifest where there is one. Nobody's signature carries over, least of all the owner's own.
 */
export async function renewAgreements(
  known: readonly KnownAgreement[],
  keys: LocalKeys,
  options: RenewOptions,
): Promise<RenewedAgreement[]> {
  const renewed: RenewedAgreement[] = [];
  for (const { agreement, digest: was } of known) {
    const own = ownPart(agreement, keys);
    const moved = own?.datasets.map(({ prefix }) => options.moved.find((each) => each.prefix === prefix)) ?? [];
    const isUntouched = moved.every((each) => each === undefined);
    if (own === undefined || isUntouched || isExpired(agreement, options.now)) continue;
    const signers = agreementSigners(agreement).map(({ name }) => name);
    const left = own.datasets.filter((_, i) => moved[i] === undefined);
    if (left.length > 0) {
      const names = left.map(({ dataset, version }) => `${dataset} version ${version}`).join(', ');
      renewed.push({ name: agreement.name, was, signers, hindrance: `${names} is in it too and was not rotated` });
      continue;
    }
    const next = withOwner(agreement, ownerWith(own, options));
    // As it was, or proposed and run again since.
    if (known.some((other) => sayTheSame(other.agreement, next, keys))) continue;
    renewed.push({ name: agreement.name, was, signers, file: await writeProposal(next, was, options.folder) });
  }
  return renewed;
}

function ownPart({ owners }: Agreement, { ownerId }: LocalKeys): AgreementOwner | undefined {
  return owners.find((owner) => owner.ownerId === ownerId);
}

function isExpired({ notAfter }: Agreement, now: Date): boolean {
  return !(now.getTime() <= Date.parse(notAfter));
}

function ownerWith(own: AgreementOwner, { to, vaultHost, moved }: RenewOptions): AgreementOwner {
  return {
    ...own,
    vaultHost,
    keyName: to.kid.split('/').at(-2) ?? own.keyName,
    keyVersion: to.version,
    key: to.jwk,
    releasePolicySha256: policyDigest(decodeReleasePolicy(to.releasePolicy?.data ?? new Uint8Array())),
    datasets: own.datasets.map((dataset) => moved.find(({ prefix }) => prefix === dataset.prefix)?.now ?? dataset),
  };
}

function withOwner(agreement: Agreement, own: AgreementOwner): Agreement {
  return {
    ...agreement,
    owners: agreement.owners.map((owner) => (owner.ownerId === own.ownerId ? own : owner)),
  };
}

/** The same key and data of this owner for the same purpose: expiry and number of runs may differ. */
function sayTheSame(one: Agreement, other: Agreement, keys: LocalKeys): boolean {
  const part = (agreement: Agreement) => {
    const own = ownPart(agreement, keys);
    const key = own === undefined ? '' : [vaultKeyId(own), thumbprint(own.key)];
    return JSON.stringify([agreement.name, agreement.configuration, key, own?.datasets]);
  };
  return part(one) === part(other);
}

/** One file for each agreement that it follows; one that says the same already, signed perhaps, stays. */
async function writeProposal(agreement: Agreement, was: string, folder: string): Promise<string> {
  const envelope = signStatement(agreementStatement(agreement), []);
  const file = join(folder, `${agreement.name.replace(/[^A-Za-z0-9._-]+/g, '-')}-${was.slice(0, 8)}.dsse.json`);
  if ((await digestOf(file)) === statementDigest(envelope)) return file;
  await mkdir(folder, { recursive: true });
  await writeFileAtomic(file, serialiseEnvelope(envelope));
  return file;
}

async function digestOf(file: string): Promise<string | undefined> {
  const bytes = await readFile(file).catch(() => undefined);
  if (bytes === undefined) return undefined;
  try {
    return statementDigest(parseEnvelope(bytes));
  } catch {
    return undefined;
  }
}

/** A dataset's version as agreements name it. */
export function agreedDataset(
  manifest: { readonly ownerId: string; readonly dataset: string; readonly version: number },
  manifestDigest: string,
): AgreedDataset {
  const { dataset, version } = manifest;
  return { dataset, version, manifestDigest, prefix: datasetPrefix(manifest) };
}
