import { SecureTrainingError } from '../../runtime/errors.ts';
import { generator } from '../../runtime/training/order.ts';
import { parseOverride } from '../../runtime/training-config.ts';

/** One field of the configuration and the values that are tried for it, each as `--set` takes it. */
export interface GridAxis {
  readonly field: string;
  readonly values: readonly string[];
}

/** What a trial changes: field to value, as text. */
export type Combination = Readonly<Record<string, string>>;

/** More would be a mistake. */
const MOST_COMBINATIONS = 10_000;
/** They decide what is trained, not how. */
const FIXED = ['model', 'dataset', 'dataset_weights', 'initial_weights'].map((field) => `training.${field}`);

/**
 * Reads `training.<field>=<value>,<value>,…`.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` naming the field
 */
export function parseAxis(text: string): GridAxis {
  const [, field = '', list = ''] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
  const values = list.split(',').map((value) => value.trim());
  if (field === '' || values.includes('')) {
    throw invalid(`found ${JSON.stringify(text.slice(0, 80))}, wanted training.<field>=<value>,<value>`);
  }
  if (FIXED.includes(field)) throw invalid(`${field} is not one to vary: wanted a number or a choice`);
  for (const value of values) parseOverride(`${field}=${value}`);
  if (new Set(values).size < values.length) throw invalid(`${field}: a value stands there twice`);
  return { field, values };
}

/**
 * All combinations, the last axis changing fastest.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for none, too many, or a field that is given twice
 */
export function combinations(axes: readonly GridAxis[]): Combination[] {
  const fields = axes.map(({ field }) => field);
  const twice = fields.find((field, i) => fields.indexOf(field) !== i);
  if (twice !== undefined) throw invalid(`${twice} is given twice`);
  const count = axes.reduce((product, { values }) => product * values.length, 1);
  if (axes.length === 0 || count > MOST_COMBINATIONS) {
    throw invalid(
      `found ${axes.length === 0 ? 'no field' : `${count} combinations`}, wanted 1 to ${MOST_COMBINATIONS}`,
    );
  }
  return axes.reduce<Combination[]>(
    (before, { field, values }) => before.flatMap((each) => values.map((value) => ({ ...each, [field]: value }))),
    [{}],
  );
}

/** Some of them, drawn without repetition, in the order in which they were drawn; same seed, same ones. */
export function drawn(all: readonly Combination[], count: number, seed: number): Combination[] {
  const rest = [...all];
  const random = generator(`sweep|${seed}`);
  return Array.from({ length: Math.min(count, all.length) }, () => rest.splice(random() % rest.length, 1)).flat();
}

/** As `--set` takes them. */
export function settings(combination: Combination): string[] {
  return Object.entries(combination).map(([field, value]) => `${field}=${value}`);
}

function invalid(message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', `--grid: ${message}`);
}
