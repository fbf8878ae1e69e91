import { toBase64, utf8 } from './crypto/bytes.ts';
import { checkShape, integer, list, mapOf, members, oneOf, parseJson, text, where } from './shape.ts';
import type { Agreement } from './statements/agreement.ts';
import { type Confusions, MOST_SCORED_CLASSES, SCORED_SPLITS, type ScoredSplit } from './training/scores.ts';

/**
 * Name of the file beside the model, for the model's recipients and nobody else. It holds counts of rows, so it is there only where
 * the agreement names {@link confusionMetric}.
 */
export const SCORES_FILE = 'scores.json';

export interface Scores {
  readonly version: 1;
  /** 32 random bytes: the receipt has the digest of this file, and a few small counts could be found again from that. */
  readonly salt: string;
  readonly splits: Confusions;
}

/** What an agreement names to let a split's matrix out. */
export function confusionMetric(split: ScoredSplit): string {
  return `${split}_confusion`;
}

/** The matrices that an agreement lets out, as a file; `undefined`: none. */
export function releasedScores(scores: Confusions, { metrics }: Pick<Agreement, 'metrics'>): Uint8Array | undefined {
  const splits = SCORED_SPLITS.filter(
    (split) => scores[split] !== undefined && metrics.includes(confusionMetric(split)),
  );
  if (splits.length === 0) return undefined;
  const salt = toBase64(crypto.getRandomValues(new Uint8Array(32)));
  const released = Object.fromEntries(splits.map((split) => [split, scores[split]]));
  return utf8(JSON.stringify({ version: 1, salt, splits: released } satisfies Scores));
}

const row = list(integer(0), { minimum: 1, maximum: MOST_SCORED_CLASSES });
const square = where(list(row, { minimum: 1, maximum: MOST_SCORED_CLASSES }), (rows) =>
  rows.every(({ length }) => length === rows.length) ? undefined : 'its rows are not as long as there are rows',
);
const shape = members<Scores>({
  version: oneOf(1),
  salt: text(/^[A-Za-z0-9+/]{43}=$/, '32 bytes in base64'),
  splits: mapOf(text(/^(?:validation|test)$/, 'validation or test'), square, SCORED_SPLITS.length),
});

/** @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`, every wrong member listed */
export function parseScores(bytes: Uint8Array, what = SCORES_FILE): Scores {
  return checkShape(shape, parseJson(bytes, what), what);
}
