import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { type RsaPublicJwk, rsaPublicJwk } from '../runtime/crypto/jwk.ts';
import { openArrowWriter } from '../runtime/data/arrow-file.ts';
import { writeDatasetFile } from '../runtime/data/dataset-file.ts';
import type { SealOptions } from '../runtime/data/seal-dataset.ts';
import { SPLITS, type Split } from '../runtime/statements/manifest.ts';
import { DIGIT_SCHEMA, digitLikeRows } from './digits.ts';

const BATCH_ROWS = 5_000;
/** Bytes of one row: 784 pixels and its label. */
export const ROW_BYTES = 788;
const LABELS = 'label';

/** Writes what `prepare-data` makes of so many digits: nearly all in train, since all splits must have rows. */
export async function writePreparedRows(folder: string, rows: number): Promise<void> {
  const batch = digitLikeRows(Math.min(rows, BATCH_ROWS));
  const counts: Record<Split, number> = { train: rows, validation: 1, test: 1 };
  for (const split of SPLITS) {
    const path = join(folder, `${split}.arrow`);
    const file = await openArrowWriter(path, 'uint8', batch.featureCount, { version: 1, split });
    for (let left = counts[split]; left > 0; left -= BATCH_ROWS) {
      const count = Math.min(left, BATCH_ROWS);
      const features = batch.features.subarray(0, count * batch.featureCount);
      await file.write({ ...batch, features, labels: batch.labels.subarray(0, count) });
    }
    await file.commit();
  }
  const entry = (split: Split) => ({ file: `${split}.arrow`, rows: counts[split] });
  const columns = Array.from({ length: DIGIT_SCHEMA.featureCount }, (_, i) => `p${i}`);
  await writeDatasetFile(folder, {
    version: 1,
    name: 'bench',
    seed: 1,
    schema: { ...DIGIT_SCHEMA, columns, label: LABELS },
    splits: { train: entry('train'), validation: entry('validation'), test: entry('test') },
  });
}

export interface BenchKeys {
  readonly kek: RsaPublicJwk;
  readonly escrow: KeyObject;
  readonly owner: KeyObject;
}

/** Keys of the kinds and sizes that `ctrain init` and the stacks make. */
export function benchKeys(): BenchKeys {
  const rsa = () => generateKeyPairSync('rsa', { modulusLength: 3072 }).privateKey;
  const owner = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  return { kek: rsaPublicJwk(rsa()), escrow: rsa(), owner };
}

export const BENCH_KEY_ID = `https://kv-bench.vault.azure.net/keys/training-key-1a2b3c4d/${'0'.repeat(32)}`;

export function sealingOf(inputPath: string, outputPath: string, { kek, escrow, owner }: BenchKeys): SealOptions {
  return {
    inputPath,
    outputPath,
    kek: { keyId: BENCH_KEY_ID, jwk: kek },
    escrow: rsaPublicJwk(escrow),
    ownerKey: owner,
  };
}
