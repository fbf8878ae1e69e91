import { SecureTrainingError } from './errors.ts';
import { nearest } from './nearest.ts';

/** One shard of the train split, and whose it is. */
export interface MixedShard {
  readonly rows: number;
  readonly ownerId: string;
  readonly dataset: string;
}

/**
 * How many rows of each train shard an epoch learns from where datasets are mixed by weight: an epoch stays as long as all rows
 * together, each dataset gives its weight's share of it, and its shards share that by their rows. A dataset that gives more than it has
 * gives some rows more than once, one that gives less leaves some out, others each epoch (see training/order.ts).
 * @param weights by `dataset`, or `ownerId/dataset` where two owners use one name
 * @returns `undefined` where there are no weights: every row once
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for a weight of no dataset, a dataset without one, or a name of two
 */
export function mixedRows(
  shards: readonly MixedShard[],
  weights: Readonly<Record<string, number>> | undefined,
): number[] | undefined {
  if (weights === undefined) return undefined;
  const weightOf = weightsByDataset(shards, weights);
  const ids = [...weightOf.keys()];
  const total = shards.reduce((sum, { rows }) => sum + rows, 0);
  const shares = apportion(
    total,
    ids.map((id) => weightOf.get(id) ?? 0),
  );
  const result = new Array<number>(shards.length).fill(0);
  ids.forEach((id, i) => {
    const own = shards.flatMap((shard, at) => (idOf(shard) === id ? [at] : []));
    const drawn = apportion(
      shares[i] ?? 0,
      own.map((at) => shards[at]?.rows ?? 0),
    );
    own.forEach((at, k) => {
      result[at] = drawn[k] ?? 0;
    });
  });
  return result;
}

function weightsByDataset(shards: readonly MixedShard[], weights: Readonly<Record<string, number>>) {
  const datasets = new Map(shards.map((shard) => [idOf(shard), shard]));
  const failures: string[] = [];
  const weightOf = new Map<string, number>();
  for (const [name, weight] of Object.entries(weights)) {
    const found = [...datasets].filter(([id, { dataset }]) => id === name || dataset === name).map(([id]) => id);
    const [id] = found;
    const known = [...datasets.values()].map(({ dataset }) => dataset);
    if (id === undefined) failures.push(`${name}: no dataset of the agreement, did you mean ${nearest(name, known)}?`);
    else if (found.length > 1) failures.push(`${name}: of ${found.length} owners, wanted ${found.join(' or ')}`);
    else weightOf.set(id, weight);
  }
  for (const [id, { dataset }] of datasets) {
    if (!weightOf.has(id) && !Object.hasOwn(weights, dataset)) failures.push(`${dataset}: has no weight`);
  }
  if (failures.length === 0) return weightOf;
  const message = failures.map((failure) => `training.dataset_weights.${failure}`).join('; ');
  throw new SecureTrainingError('CONFIG_INVALID', message, { failures });
}

function idOf({ ownerId, dataset }: MixedShard): string {
  return `${ownerId}/${dataset}`;
}

/** Whole numbers in these proportions that add up to `total`: what is left over goes to the largest remainders, the first first. */
export function apportion(total: number, proportions: readonly number[]): number[] {
  const sum = proportions.reduce((all, each) => all + each, 0);
  const exact = proportions.map((each) => (sum === 0 ? 0 : (total * each) / sum));
  const whole = exact.map(Math.floor);
  const left = sum === 0 ? 0 : total - whole.reduce((all, each) => all + each, 0);
  const byRemainder = exact
    .map((each, i) => ({ i, rest: each - (whole[i] ?? 0) }))
    .sort((a, b) => b.rest - a.rest || a.i - b.i);
  for (const { i } of byRemainder.slice(0, left)) whole[i] = (whole[i] ?? 0) + 1;
  return whole;
}
