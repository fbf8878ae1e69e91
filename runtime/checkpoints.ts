import type { KeyObject } from 'node:crypto';
import type { BlobStore } from './data/blob-store.ts';
import { SecureTrainingError } from './errors.ts';
import { openFile, type SealRecipient, sealFile } from './sealed-file.ts';
import {
  CHAIN_START,
  linkCheckpoint,
  parseCheckpoint,
  serialiseCheckpoint,
  verifyCheckpoint,
} from './statements/checkpoint-chain.ts';

/** Checkpoints that stay, unless told otherwise; older ones are removed once a newer one is whole. */
const KEPT = 3;

export interface Checkpoint {
  readonly step: number;
  readonly bytes: Uint8Array;
}

/** Why a checkpoint is passed over: whoever wrote it was interrupted. */
export type Torn = 'record-truncated' | 'object-missing' | 'object-truncated';

/**
 * The sealed, chained checkpoints of one run. Anybody can seal to a public key, so a checkpoint counts only with a tag
 * that took all dataset keys to compute. An older checkpoint of the same run cannot be told from the newest one.
 */
export class CheckpointChain {
  readonly #runs: BlobStore;
  readonly #runId: string;
  readonly #chainKey: KeyObject;
  readonly #recipients: readonly SealRecipient[];
  readonly #opener: { readonly keyId: string; readonly key: KeyObject };
  readonly #kept: number;
  /** Records of checkpoints that were passed over. */
  readonly #torn = new Set<string>();
  #head = CHAIN_START;

  constructor(options: {
    readonly runs: BlobStore;
    readonly runId: string;
    readonly chainKey: KeyObject;
    /** The first one must be the key that `opener` opens. */
    readonly recipients: readonly SealRecipient[];
    readonly opener: { readonly keyId: string; readonly key: KeyObject };
    /** @default 3 */
    readonly kept?: number | undefined;
  }) {
    this.#runs = options.runs;
    this.#runId = options.runId;
    this.#chainKey = options.chainKey;
    this.#recipients = options.recipients;
    this.#opener = options.opener;
    this.#kept = options.kept ?? KEPT;
  }

  /** Tag of the newest checkpoint: the receipt states it. */
  get head(): string {
    return this.#head;
  }

  /** Id of the key that opens this run's checkpoints. */
  get openerKeyId(): string {
    return this.#opener.keyId;
  }

  /** Seals and stores a checkpoint; once this resolves it will be found, whatever happens next. */
  async save({ step, bytes }: Checkpoint): Promise<void> {
    const stamp = Buffer.from(crypto.getRandomValues(new Uint8Array(4))).toString('hex');
    const name = `${this.#folder}${String(step).padStart(8, '0')}-${stamp}.sealed`;
    const { sealed, object, slots } = await sealFile(name, bytes, this.#recipients);
    const record = linkCheckpoint({ runId: this.#runId, step, object, slots, previousTag: this.#head }, this.#chainKey);
    await this.#runs.put(name, sealed);
    // The record comes second: one that exists always has a whole object.
    await this.#runs.put(this.#recordName(step), serialiseCheckpoint(record));
    this.#head = record.resumeTag;
    this.#torn.delete(this.#recordName(step));
    await this.#prune();
  }

  /**
   * The newest whole checkpoint, checked and opened, or undefined when there is none. One whose writing was interrupted, on a store
   * that may keep the beginning of a blob, is passed over: to find an older one is what deleting it would have led to, too.
   * @param onSkipped told of each one that is passed over
   * @throws {@link SecureTrainingError} `CIPHERTEXT_REJECTED` when a checkpoint is not this run's, or was altered
   */
  async newest(onSkipped: (step: number, why: Torn) => void = () => undefined): Promise<Checkpoint | undefined> {
    const skip = (recordName: string, why: Torn) => {
      this.#torn.add(recordName);
      onSkipped(Number.parseInt(recordName.slice(this.#folder.length), 10), why);
    };
    const records = (await this.#list()).filter((name) => name.endsWith('.json')).reverse();
    for (const recordName of records) {
      const blob = await this.#runs.get(recordName);
      if (blob === undefined) continue;
      if (isTruncated(blob.bytes)) {
        skip(recordName, 'record-truncated');
        continue;
      }
      const record = parseCheckpoint(blob.bytes);
      verifyCheckpoint(record, this.#chainKey);
      const { runId, step, object } = record;
      if (runId !== this.#runId || recordName !== this.#recordName(step) || !object.name.startsWith(this.#folder)) {
        throw new SecureTrainingError('CIPHERTEXT_REJECTED', `${recordName}: it belongs to another place or run`);
      }
      const sealed = await this.#runs.get(object.name);
      if (sealed === undefined || sealed.bytes.length < object.ciphertextSize) {
        skip(recordName, sealed === undefined ? 'object-missing' : 'object-truncated');
        continue;
      }
      const bytes = openFile(record, sealed.bytes, this.#opener.keyId, this.#opener.key);
      this.#head = record.resumeTag;
      return { step, bytes };
    }
    return undefined;
  }

  async #prune(): Promise<void> {
    const names = await this.#list();
    const records = names.filter((name) => name.endsWith('.json'));
    const newest = records.filter((name) => !this.#torn.has(name)).slice(-this.#kept);
    const kept = newest.map((name) => name.slice(0, -'.json'.length));
    for (const name of records) if (!newest.includes(name)) await this.#runs.delete(name);
    this.#torn.clear();
    for (const name of names) {
      if (name.endsWith('.sealed') && !kept.some((prefix) => name.startsWith(prefix))) await this.#runs.delete(name);
    }
  }

  async #list(): Promise<string[]> {
    const names: string[] = [];
    for await (const blob of this.#runs.list(this.#folder)) names.push(blob.name);
    return names.sort();
  }

  get #folder(): string {
    return `${this.#runId}/checkpoints/`;
  }

  #recordName(step: number): string {
    return `${this.#folder}${String(step).padStart(8, '0')}.json`;
  }
}

/** Whether it is the beginning of a record and not the whole: neither JSON nor ended as {@link serialiseCheckpoint} ends it. */
function isTruncated(bytes: Uint8Array): boolean {
  const text = new TextDecoder().decode(bytes);
  if (text.endsWith('\n}\n')) return false;
  try {
    JSON.parse(text);
    return false;
  } catch {
    return true;
  }
}
