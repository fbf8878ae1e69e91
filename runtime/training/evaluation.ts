import type { BrokerLink } from './broker-link.ts';
import type { Engine } from './engine.ts';
import { normaliser, oneAhead } from './feed.ts';
import type { StartHeader } from './frames.ts';

/** Rows of one forward pass. */
const EVALUATION_ROWS = 512;

export interface SplitMetrics {
  readonly loss: number;
  readonly accuracy: number;
}

/** Mean loss and accuracy over a whole split, shard after shard in their own order. */
export async function evaluateSplit(
  split: string,
  engine: Engine,
  link: BrokerLink,
  { schema, shards }: StartHeader,
): Promise<SplitMetrics> {
  const normalise = normaliser(schema);
  const features = new Float32Array(EVALUATION_ROWS * schema.featureCount);
  const labels = new Int32Array(EVALUATION_ROWS);
  let lossSum = 0;
  let correct = 0;
  let total = 0;
  for await (const shard of oneAhead((shards[split] ?? []).keys(), (index) => link.fetch(split, index))) {
    for (let start = 0; start < shard.rows; start += EVALUATION_ROWS) {
      const rows = Math.min(EVALUATION_ROWS, shard.rows - start);
      for (let i = 0; i < rows; i++) normalise(shard.features, start + i, features, i);
      labels.set(shard.labels.subarray(start, start + rows));
      const result = engine.evaluate({ features, labels, rows });
      lossSum += result.lossSum;
      correct += result.correct;
      await link.breathe();
    }
    total += shard.rows;
  }
  return { loss: lossSum / total, accuracy: correct / total };
}
