import { allocateLabels } from '../data/arrow-shard.ts';
import type { BrokerLink } from './broker-link.ts';
import type { Engine } from './engine.ts';
import { normaliser, oneAhead } from './feed.ts';
import type { StartHeader } from './frames.ts';

/** Rows of one forward pass. */
export const EVALUATION_ROWS = 512;

/** `loss` first, then `accuracy`, or what a custom model measures. */
export type SplitMetrics = Readonly<Record<string, number>> & { readonly loss: number };

/** Mean loss and metrics over a whole split, shard after shard in their own order. */
export async function evaluateSplit(
  split: string,
  engine: Engine,
  link: BrokerLink,
  { schema, shards }: StartHeader,
): Promise<SplitMetrics> {
  const normalise = normaliser(schema);
  const features = new Float32Array(EVALUATION_ROWS * schema.featureCount);
  const labels = allocateLabels(EVALUATION_ROWS, schema.classes);
  let lossSum = 0;
  let sums: Record<string, number> = {};
  let total = 0;
  for await (const shard of oneAhead((shards[split] ?? []).keys(), (index) => link.fetch(split, index))) {
    for (let start = 0; start < shard.rows; start += EVALUATION_ROWS) {
      const rows = Math.min(EVALUATION_ROWS, shard.rows - start);
      for (let i = 0; i < rows; i++) normalise(shard.features, start + i, features, i);
      labels.set(shard.labels.subarray(start, start + rows));
      const result = engine.evaluate({ features, labels, rows });
      lossSum += result.lossSum;
      const found = result.sums ?? { accuracy: result.correct };
      sums = Object.fromEntries(Object.entries(found).map(([name, value]) => [name, (sums[name] ?? 0) + value]));
      await link.breathe();
    }
    total += shard.rows;
  }
  const means = Object.entries(sums).map(([name, sum]) => [name, sum / total] as const);
  return { loss: lossSum / total, ...Object.fromEntries(means) };
}
