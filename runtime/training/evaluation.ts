import { allocateLabels } from '../data/arrow-shard.ts';
import type { BrokerLink } from './broker-link.ts';
import type { Engine } from './engine.ts';
import { normaliser, oneAhead, type ShardRows } from './feed.ts';
import type { InputSchema, StartHeader } from './frames.ts';
import { averages, type Confusion, confusionCounter, MOST_SCORED_CLASSES } from './scores.ts';

/** Rows of one forward pass. */
export const EVALUATION_ROWS = 512;

/** `loss` first, then `accuracy` and what is averaged over the classes, or what a custom model measures. */
type SplitMetrics = Readonly<Record<string, number>> & { readonly loss: number };

export interface SplitEvaluation {
  readonly metrics: SplitMetrics;
  /** @default - labels are values, or there are more outputs than {@link MOST_SCORED_CLASSES} */
  readonly confusion?: Confusion;
}

/** Mean loss and metrics over a whole split, shard after shard in their own order. */
export function evaluateSplit(
  split: string,
  engine: Engine,
  link: BrokerLink,
  { config, schema, shards }: StartHeader,
): Promise<SplitEvaluation> {
  const rows = oneAhead((shards[split] ?? []).keys(), (index) => link.fetch(split, index));
  return evaluateRows(rows, engine, { schema, outputs: config.training.output_size }, () => link.breathe());
}

/** The same of rows from anywhere, not yet normalised. */
export async function evaluateRows(
  shards: AsyncIterable<ShardRows>,
  engine: Engine,
  { schema, outputs }: { readonly schema: InputSchema; readonly outputs: number },
  breathe: () => Promise<void> = async () => undefined,
): Promise<SplitEvaluation> {
  const normalise = normaliser(schema);
  const features = new Float32Array(EVALUATION_ROWS * schema.featureCount);
  const labels = allocateLabels(EVALUATION_ROWS, schema.classes);
  // Fewer outputs than classes: a custom model's own idea of its labels.
  const isScored = schema.classes.length > 0 && outputs >= schema.classes.length && outputs <= MOST_SCORED_CLASSES;
  let counter = isScored ? confusionCounter(outputs) : undefined;
  let lossSum = 0;
  let sums: Record<string, number> = {};
  let total = 0;
  for await (const shard of shards) {
    for (let start = 0; start < shard.rows; start += EVALUATION_ROWS) {
      const rows = Math.min(EVALUATION_ROWS, shard.rows - start);
      for (let i = 0; i < rows; i++) normalise(shard.features, start + i, features, i);
      labels.set(shard.labels.subarray(start, start + rows));
      const result = engine.evaluate({ features, labels, rows });
      lossSum += result.lossSum;
      const found = result.sums ?? { accuracy: result.correct };
      sums = Object.fromEntries(Object.entries(found).map(([name, value]) => [name, (sums[name] ?? 0) + value]));
      if (result.predicted === undefined) counter = undefined;
      else counter?.add(labels, result.predicted, rows);
      await breathe();
    }
    total += shard.rows;
  }
  const means = Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / total] as const));
  const confusion = counter?.matrix();
  if (confusion === undefined) return { metrics: { loss: lossSum / total, ...means } };
  // Twice, for the order and for the value: of two with one name, a custom model's own counts.
  return { metrics: { loss: lossSum / total, ...means, ...averages(confusion), ...means }, confusion };
}
