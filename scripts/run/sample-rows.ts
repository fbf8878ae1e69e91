import type { DatasetSchema, RowCoding } from '../../runtime/statements/manifest.ts';

/** Made-up rows in the form of a dataset. */
export interface SampleRows {
  /** Columns of the owner's table, the label last. */
  readonly header: readonly string[];
  /** The rows as a csv file has them. */
  readonly cells: readonly (readonly string[])[];
  /** The same rows as features, row by row, and as places in the list of classes. */
  readonly features: Uint8Array | Float32Array;
  readonly labels: Int32Array;
}

/** A csv file says no more of a number. */
const DIGITS = 6;
const BYTE_MAXIMUM = 255;

/**
 * Makes rows from a schema alone: every class equally often, names among those known, numbers around the mean or within the range
 * that the normalisation tells. Classes differ a little in every feature, so that a model has something to learn; what it
 * learns is made up too. The same seed makes the same rows.
 */
export function sampleRows(schema: DatasetSchema, rows: number, seed: number): SampleRows {
  const { featureCount, dtype, classes, coding } = schema;
  const random = generator(seed);
  const features = dtype === 'uint8' ? new Uint8Array(rows * featureCount) : new Float32Array(rows * featureCount);
  const labels = new Int32Array(rows);
  const columns = tableColumns(schema);
  const cells = Array.from({ length: rows }, (_, row) => {
    const label = row % classes.length;
    labels[row] = label;
    const texts = columns.map(({ at, names }) => {
      const place = row * featureCount + at;
      if (names !== undefined) return writeName(names, coding?.names, features, place, random());
      const shift = generator(seed + 7919 * label + at + 1)() - 0.5;
      const value = Number(numberFor(schema, at, gauss(random) + shift).toPrecision(DIGITS));
      features[place] = value;
      return String(value);
    });
    return [...texts, classes[label] ?? ''];
  });
  return { header: [...columns.map(({ name }) => name), schema.label], cells, features, labels };
}

interface TableColumn {
  readonly name: string;
  /** First feature that comes of it. */
  readonly at: number;
  /** Where it holds names: those there are. */
  readonly names?: readonly string[];
}

/** Columns of the table that a schema's features were made of. */
function tableColumns({ columns, coding }: DatasetSchema): TableColumn[] {
  const found: TableColumn[] = [];
  for (let at = 0; at < columns.length; ) {
    const feature = columns[at] ?? '';
    const coded = Object.entries(coding?.categories ?? {}).find(([column, [first]]) =>
      coding?.names === 'one-hot' ? feature === `${column}=${first}` : feature === column,
    );
    found.push(coded === undefined ? { name: feature, at } : { name: coded[0], at, names: coded[1] });
    at += coded !== undefined && coding?.names === 'one-hot' ? coded[1].length : 1;
  }
  return found;
}

function writeName(
  names: readonly string[],
  kind: RowCoding['names'] | undefined,
  features: Uint8Array | Float32Array,
  at: number,
  draw: number,
): string {
  const chosen = Math.floor(draw * names.length);
  if (kind === 'one-hot') features[at + chosen] = 1;
  else features[at] = chosen + 1;
  return names[chosen] ?? '';
}

/** @param deviations how far from the middle, in deviations */
function numberFor({ normalisation, dtype }: DatasetSchema, feature: number, deviations: number): number {
  const [low, high] = dtype === 'uint8' ? [0, BYTE_MAXIMUM] : [-Infinity, Infinity];
  const within = (value: number) => Math.min(high, Math.max(low, dtype === 'uint8' ? Math.round(value) : value));
  if (normalisation.kind === 'standard')
    return within((normalisation.mean[feature] ?? 0) + deviations * (normalisation.deviation[feature] ?? 1));
  // Nothing else is told: a range from 0, or numbers around it.
  if (normalisation.kind === 'scale' || dtype === 'uint8') {
    const top = normalisation.kind === 'scale' ? normalisation.divisor : BYTE_MAXIMUM;
    return within(Math.min(top, Math.max(0, top * (0.5 + deviations / 4))));
  }
  return deviations;
}

/** Box-Muller; one of the two is enough. */
function gauss(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Mulberry32: 32 bits of state, good enough for rows that mean nothing. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
