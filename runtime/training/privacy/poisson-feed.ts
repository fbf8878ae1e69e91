import { allocateLabels } from '../../data/arrow-shard.ts';
import type { Feed, ShardRows } from '../feed.ts';
import { normaliser } from '../feed.ts';
import type { InputSchema } from '../frames.ts';
import { poissonSample } from './noise.ts';

export interface PoissonFeedOptions {
  readonly shards: readonly number[];
  readonly schema: InputSchema;
  readonly sampleRate: number;
  /** Steps of one epoch. */
  readonly steps: number;
  /** Steps of the first epoch that are done. */
  readonly done: number;
  fetch(shard: number): Promise<ShardRows>;
}

/**
 * Batches in which each row is with the same probability, whatever the others: what the accounting relies on, and what no order of
 * rows that is gone through can give. All rows are held in memory. The draw is the system's, never the seed's: who knows which rows were
 * in which step has more than epsilon says. So a step that is made again after a kill draws anew; what it drew before has left no trace
 * but in weights that are gone, and only the steps that led to the model are counted.
 */
export async function poissonFeed(options: PoissonFeedOptions): Promise<Feed> {
  const { shards, schema, sampleRate, steps, fetch } = options;
  const width = schema.featureCount;
  const total = shards.reduce((sum, rows) => sum + rows, 0);
  const features = schema.dtype === 'uint8' ? new Uint8Array(total * width) : new Float32Array(total * width);
  const labels = allocateLabels(total, schema.classes);
  let filled = 0;
  for (const shard of shards.keys()) {
    const rows = await fetch(shard);
    features.set(rows.features, filled * width);
    labels.set(rows.labels, filled);
    filled += rows.rows;
  }
  const normalise = normaliser(schema);
  let step = options.done;
  return {
    async next() {
      if (step === steps) {
        step = 0;
        return undefined;
      }
      step++;
      const sample = poissonSample(total, sampleRate);
      const batch = new Float32Array(sample.length * width);
      const chosen = allocateLabels(sample.length, schema.classes);
      sample.forEach((row, i) => {
        normalise(features, row, batch, i);
        chosen[i] = labels[row] ?? 0;
      });
      return { features: batch, labels: chosen, rows: sample.length };
    },
  };
}
