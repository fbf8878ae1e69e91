/** One figure of a benchmark; `ratio` is value over baseline, both taken in the same run. */
export interface Measure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly baseline?: number;
  readonly ratio?: number;
  /** How it was measured, where that is not told by the name. */
  readonly method?: string;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const [below, above] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  if (below === undefined || above === undefined) throw new RangeError('no values to take the median of');
  return (below + above) / 2;
}

/** What takes turns in {@link medianTimes}. */
export type Work = () => unknown;

/**
 * Milliseconds that each piece of work takes, the median of `rounds`. All of them run once in every round, so that whatever
 * else the machine does slows them alike; the first two rounds are warm-up and do not count.
 */
export async function medianTimes<N extends string>(
  works: Readonly<Record<N, Work>>,
  rounds: number,
): Promise<Readonly<Record<N, number>>> {
  const names = Object.keys(works) as N[];
  const times = new Map(names.map((name) => [name, [] as number[]]));
  for (let round = -2; round < rounds; round++) {
    for (const name of names) {
      const start = performance.now();
      await works[name]();
      if (round >= 0) times.get(name)?.push(performance.now() - start);
    }
  }
  return Object.fromEntries(names.map((name) => [name, median(times.get(name) ?? [])])) as Record<N, number>;
}
