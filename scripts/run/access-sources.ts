import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { blobStore } from '../../runtime/azure/blob-store.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { vaultKeyId } from '../../runtime/keys/slots.ts';
import { listRuns, readBlob } from '../../runtime/queue.ts';
import { type Agreement, verifyAgreement } from '../../runtime/statements/agreement.ts';
import { readRotation, verifyRotation } from '../../runtime/statements/rotation-record.ts';
import type { Context } from '../context.ts';
import type { AccessLogInput, AgreedAccess, OwnersRotation } from './access-log.ts';
import { parseRows, type Row, storageRows, trainerRows, vaultRows } from './access-rows.ts';
import { readInput } from './read-input.ts';
import { runStore } from './submit.ts';

/** Files of exported tables. */
export interface LogFiles {
  readonly trainer: string;
  readonly vault: string;
  readonly storage: string;
}

/**
 * @param isLive whether services write the files themselves: one that is not there yet was asked nothing
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` naming the file, and the row
 */
export async function readLogs(
  files: LogFiles,
  isLive: boolean,
): Promise<Pick<AccessLogInput, 'trainer' | 'vault' | 'storage'>> {
  const rows = async (path: string): Promise<Row[]> => {
    if (isLive && (await modified(path)) === undefined) return [];
    return parseRows(await readInput(path), path);
  };
  return {
    trainer: trainerRows(await rows(files.trainer), files.trainer),
    vault: vaultRows(await rows(files.vault), files.vault),
    storage: storageRows(await rows(files.storage), files.storage),
  };
}

/** When the oldest of these files was written. */
export async function exportedAt(files: LogFiles): Promise<Date> {
  const times = await Promise.all(Object.values(files).map((path: string) => modified(path)));
  return new Date(Math.min(...times.map((time) => time?.getTime() ?? 0)));
}

async function modified(path: string): Promise<Date | undefined> {
  return stat(path).then(
    ({ mtime }) => mtime,
    () => undefined,
  );
}

/** What explains accesses: agreements that all their parties signed, and records that their owners signed of rotations. */
export interface Explanations {
  readonly agreements: ReadonlyMap<string, AgreedAccess>;
  readonly rotations: readonly OwnersRotation[];
  /** Names of the keys that these name. */
  readonly keyNames: readonly string[];
}

/** What the store holds: anybody may have put it there, so what is not signed by its parties counts for nothing. */
export async function explanationsInStore(context: Context): Promise<Explanations> {
  const { network, credential, deployment } = context;
  const runs = runStore(context);
  const datasets = blobStore(network, credential, deployment.storage.blobEndpoint, 'datasets');
  const signed: Uint8Array[] = [];
  for (const { request } of await listRuns(runs)) {
    signed.push(await readBlob(runs, `${request.runId}/agreement.dsse.json`));
  }
  for await (const { name } of datasets.list('')) {
    if (name.includes('/rotations/')) signed.push(await readBlob(datasets, name));
  }
  return explanationsOf(signed);
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` when there is no such folder, or nothing in it */
export async function explanationsInFolder(folder: string): Promise<Explanations> {
  const names = await readdir(folder).catch((cause: unknown) => {
    throw new SecureTrainingError('CONFIG_INVALID', `there is no folder ${folder}`, { cause });
  });
  const files = names.filter((name) => name.endsWith('.json')).sort();
  const found = explanationsOf(await Promise.all(files.map((name) => readInput(join(folder, name)))));
  if (found.agreements.size > 0) return found;
  throw new SecureTrainingError('CONFIG_INVALID', `${folder}: no agreement in it that all its parties signed`);
}

/** Statements of any kind, in any order; a rotation counts when its signer is an owner in one of the agreements. */
function explanationsOf(signed: readonly Uint8Array[]): Explanations {
  const verified = signed.flatMap((bytes) => tried(() => verifyAgreement(bytes)));
  const owners = verified.flatMap(({ agreement }) => agreement.owners);
  const rotations = signed
    .filter((bytes) => tried(() => readRotation(bytes)).length > 0)
    .flatMap((bytes) => owners.flatMap(({ signingKey }) => tried(() => verifyRotation(bytes, signingKey))).slice(0, 1));
  const keyIds = [...owners.map((owner) => vaultKeyId(owner)), ...rotations.flatMap(({ from, to }) => [...from, to])];
  return {
    agreements: new Map(verified.map(({ agreement, digest }) => [digest, agreedAccess(agreement)])),
    rotations,
    keyNames: [...new Set(keyIds.flatMap((keyId) => /\/keys\/([^/]+)/.exec(keyId)?.[1] ?? []))],
  };
}

function agreedAccess({ owners, notAfter }: Agreement): AgreedAccess {
  return {
    keyIds: owners.map((owner) => vaultKeyId(owner)),
    manifests: owners.flatMap(({ datasets }) => datasets.map(({ manifestDigest }) => manifestDigest)),
    notAfter,
  };
}

/** One result, or none for what is no such statement. */
function tried<T>(read: () => T): T[] {
  try {
    return [read()];
  } catch (error) {
    if (error instanceof SecureTrainingError) return [];
    throw error;
  }
}
