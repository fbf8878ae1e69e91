import { type Cell, cellNumber, csvCell, trimmed } from './cells.ts';
import type { ColumnPlan, FeatureColumn } from './columns.ts';
import { canonicalLabel, type LabelReader } from './labels.ts';
import type { Missing } from './missing.ts';
import type { TableRow } from './table.ts';

const FLOAT32_MAXIMUM = 3.4028234663852886e38;
/** A category becomes part of a column's name, which is signed and shown. */
const CATEGORY = /^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]{1,100}$/u;

/** A row that was checked. It is used again for the next one. */
export interface CheckedRow {
  label: string;
  /** Value of the group column. */
  group: string;
  /** A number a feature; NaN where there is none, or a name instead. */
  readonly numbers: Float64Array;
  /** A name a feature; empty where there is none, or a number instead. */
  readonly names: string[];
  /** Whether a feature is missing. */
  isIncomplete: boolean;
  /** Label and features as they stand in the file: what decides on the split. */
  text: string;
}

/** What is wrong with a row; never with a value of it. */
export interface RowProblem {
  readonly column?: string;
  readonly reason: string;
}

/** The checked row, what is wrong with it, or `undefined` where it is left out because a value is missing. */
export type RowReader = (row: TableRow) => CheckedRow | RowProblem | undefined;

export function isProblem(row: CheckedRow | RowProblem): row is RowProblem {
  return 'reason' in row;
}

/** Checks rows of these columns one by one. */
export function rowReader(
  columns: readonly string[],
  { label: labelIndex, group: groupIndex, features }: ColumnPlan,
  labels: LabelReader,
  missing: Missing,
): RowReader {
  const row: CheckedRow = {
    label: '',
    group: '',
    numbers: new Float64Array(features.length).fill(Number.NaN),
    names: new Array<string>(features.length).fill(''),
    isIncomplete: false,
    text: '',
  };
  // Label and features in file order: where the label stands among them is part of what the split is made of.
  const order: readonly (FeatureColumn | 'label')[] = [
    ...features.filter(({ index }) => index < labelIndex),
    'label',
    ...features.filter(({ index }) => index > labelIndex),
  ];
  const texts = new Array<string>(order.length).fill('');
  return ({ cells, problem }) => {
    if (problem !== undefined) return { reason: problem };
    let isIncomplete = false;
    let feature = 0;
    for (let i = 0; i < order.length; i++) {
      const column = order[i];
      if (column === undefined) continue;
      if (column === 'label') {
        row.label = canonicalLabel(textOf(cells[labelIndex]));
        const wrong = labels.problem(row.label);
        if (wrong !== undefined) return bad(columns[labelIndex], wrong);
        texts[i] = csvCell(row.label);
        continue;
      }
      const cell = cells[column.index] ?? '';
      const at = feature++;
      if (column.isCategorical) {
        const name = canonicalLabel(textOf(cell));
        if (name === '' && missing.kind === 'fail') return bad(column.name, 'found an empty cell, wanted a category');
        if (name !== '' && !CATEGORY.test(name))
          return bad(column.name, 'found no name of 1 to 100 characters on one line');
        isIncomplete ||= name === '';
        row.names[at] = name;
        texts[i] = csvCell(name);
        continue;
      }
      const text = typeof cell === 'number' ? String(cell) : trimmed(cell);
      const value = typeof cell === 'number' ? cell : cellNumber(text);
      if (text === '') {
        if (missing.kind === 'fail') return bad(column.name, 'found an empty cell, wanted a number');
        isIncomplete = true;
      } else if (!(Math.abs(value) <= FLOAT32_MAXIMUM)) {
        return bad(column.name, wrongNumber(value));
      } else if (value < column.minimum || value > column.maximum) {
        return bad(column.name, `found a number outside ${describeRange(column)}`);
      }
      row.numbers[at] = value;
      texts[i] = text;
    }
    if (groupIndex !== undefined) {
      row.group = textOf(cells[groupIndex]).trim();
      if (row.group === '') return bad(columns[groupIndex], 'found no group');
    }
    if (isIncomplete && missing.kind === 'drop-row') return undefined;
    row.isIncomplete = isIncomplete;
    row.text = texts.join(',');
    return row;
  };
}

function textOf(cell: Cell | undefined): string {
  return typeof cell === 'number' ? String(cell) : (cell ?? '');
}

function bad(column: string | undefined, reason: string): RowProblem {
  return column === undefined ? { reason } : { column, reason };
}

function wrongNumber(value: number): string {
  const found = Number.isNaN(value) ? 'something else' : 'a number too large for 32 bits';
  return `found ${found}, wanted a number`;
}

function describeRange({ minimum, maximum }: FeatureColumn): string {
  if (minimum === -Infinity) return `numbers up to ${maximum}`;
  return maximum === Infinity ? `numbers from ${minimum}` : `${minimum} to ${maximum}`;
}
