import { SecureTrainingError } from '../../errors.ts';
import { cellNumber } from './cells.ts';

/** More classes than this is not a classification: most likely another column was taken for the label. */
const MAXIMUM_CLASSES = 1000;

/** Number of classes (labels 0 to count - 1), or their names; no names: labels are values, for a regression. */
export type Classes = number | readonly string[];

/** What to write instead of classes where labels are values. */
const VALUES = 'values';

/** Whether labels are numbers to come close to, not classes to tell apart. */
export function areValues(classes: Classes | undefined): boolean {
  return typeof classes === 'object' && classes.length === 0;
}

/**
 * Reads `10`, `setosa,versicolor,virginica` or `values`.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`
 */
export function parseClasses(text: string): Classes {
  if (text.trim() === VALUES) return [];
  const names = text.split(',').map((name) => name.trim());
  return checkClasses(names.length === 1 ? Number(names[0] || Number.NaN) : names);
}

/** @throws {@link SecureTrainingError} `CONFIG_INVALID` for fewer than two classes, too many, or a name given twice */
export function checkClasses(classes: Classes): Classes {
  if (areValues(classes)) return classes;
  const count = typeof classes === 'number' ? classes : new Set(classes).size;
  const names = typeof classes === 'number' ? count : classes.length;
  if (
    Number.isSafeInteger(count) &&
    count >= 2 &&
    count <= MAXIMUM_CLASSES &&
    count === names &&
    !(typeof classes !== 'number' && classes.includes(''))
  ) {
    return classes;
  }
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    `classes: wanted a whole number from 2 to ${MAXIMUM_CLASSES}, or as many different names, separated by commas, or ${VALUES}`,
  );
}

/** A label as it stands in prepared files and in the list of classes: trimmed, and `5` where the source says `5.0`. */
export function canonicalLabel(cell: string): string {
  const value = cellNumber(cell);
  return Number.isInteger(value) ? String(value) : cell.trim();
}

/**
 * Learns which classes there are while rows go by, or holds every label against those that were given.
 * Its errors say where a label stands, never what it is.
 */
export class LabelReader {
  readonly #allowed: ReadonlySet<string> | undefined;
  readonly #given: Classes | undefined;
  readonly #seen = new Set<string>();
  #isNumeric: boolean | undefined;

  constructor(given?: Classes) {
    this.#given = given;
    if (given !== undefined) this.#allowed = new Set(classNames(given));
  }

  /** What is wrong with a {@link canonicalLabel}, if anything; one that is right counts as seen. */
  problem(label: string): string | undefined {
    if (areValues(this.#given))
      return Number.isFinite(Math.fround(cellNumber(label))) ? undefined : 'found no number for a label';
    if (this.#seen.has(label)) return undefined;
    if (this.#allowed !== undefined && !this.#allowed.has(label))
      return `found a label outside ${describe(this.#given)}`;
    const problem = this.#allowed === undefined ? this.#learn(label) : undefined;
    if (problem === undefined) this.#seen.add(label);
    return problem;
  }

  /**
   * All classes in order: numbers by size, from 0 without gaps where 0 is one of them; names as they sort.
   * @throws {@link SecureTrainingError} `CONFIG_INVALID` when there is only one
   */
  classes(where: string): readonly string[] {
    if (this.#given !== undefined) return classNames(this.#given);
    if (this.#seen.size < 2) throw invalid(where, `found ${this.#seen.size} class, wanted at least 2`);
    if (this.#isNumeric !== true) return [...this.#seen].sort();
    const numbers = [...this.#seen].map(Number).sort((a, b) => a - b);
    const highest = numbers.at(-1) ?? 0;
    // A label that counts from 0 is an index: a class that happens to have no row must not shift the others.
    return numbers[0] === 0 && highest < MAXIMUM_CLASSES ? classNames(highest + 1) : numbers.map(String);
  }

  #learn(label: string): string | undefined {
    const value = cellNumber(label);
    if (label === '') return 'found no label';
    if (!Number.isNaN(value) && !Number.isInteger(value))
      return `found a label with a fraction, wanted classes: whole numbers or names (--classes ${VALUES} for a regression)`;
    const isNumeric = !Number.isNaN(value);
    this.#isNumeric ??= isNumeric;
    if (isNumeric !== this.#isNumeric)
      return `found a ${isNumeric ? 'number' : 'name'} for a label, the ones before are ${isNumeric ? 'names' : 'numbers'}`;
    if (this.#seen.size >= MAXIMUM_CLASSES)
      return `found more than ${MAXIMUM_CLASSES} classes: is this the label column?`;
    return undefined;
  }
}

function classNames(classes: Classes): readonly string[] {
  return typeof classes === 'number'
    ? Array.from({ length: classes }, (_, i) => String(i))
    : classes.map(canonicalLabel);
}

function describe(classes: Classes | undefined): string {
  return typeof classes === 'number' ? `0 to ${classes - 1}` : `the ${classes?.length ?? 0} classes given`;
}

function invalid(where: string, message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', `${where}: ${message}`);
}
