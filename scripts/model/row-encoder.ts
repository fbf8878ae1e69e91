import { type Cell, cellNumber } from '../../runtime/data/prepare/cells.ts';
import { canonicalLabel } from '../../runtime/data/prepare/labels.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import type { DatasetSchema } from '../../runtime/statements/manifest.ts';
import { normaliser } from '../../runtime/training/feed.ts';

const LISTED_COLUMNS = 12;

/** Turns rows of a table into what a model was trained on: the same columns by name, codes, fillings and normalisation. */
export interface RowEncoder {
  /** Writes row `at` of `target`. @throws {@link SecureTrainingError} `CONFIG_INVALID` naming `where` and the column, not the value */
  encode(cells: readonly Cell[], where: string, target: Float32Array, at: number): void;
}

/** How one column of the table becomes one or more features. */
interface ColumnEncoder {
  readonly name: string;
  readonly index: number;
  readonly width: number;
  /** Writes `width` numbers; says what is wrong with a cell it cannot take. */
  write(cell: Cell, target: Float32Array, at: number): string | undefined;
}

/**
 * @param header columns of the table, in its order; those that the model does not know are left out
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` listing the columns that are missing
 */
export function rowEncoder(schema: DatasetSchema, header: readonly string[], source: string): RowEncoder {
  const columns = columnEncoders(schema, header);
  const missing = columns.filter(({ index }) => index < 0).map(({ name }) => name);
  if (missing.length > 0) {
    const listed = header.slice(0, LISTED_COLUMNS).join(', ');
    throw new SecureTrainingError(
      'CONFIG_INVALID',
      `${source}: found no column ${missing.slice(0, LISTED_COLUMNS).join(', ')}${missing.length > LISTED_COLUMNS ? ', …' : ''}; columns: ${listed}${header.length > LISTED_COLUMNS ? ', …' : ''}`,
      { failures: missing },
    );
  }
  // Bytes are exact as float32: a table of bytes and of numbers gives the same quotients.
  const normalise = normaliser({ ...schema, dtype: 'float32' });
  const raw = new Float32Array(schema.featureCount);
  return {
    encode(cells, where, target, at) {
      let feature = 0;
      for (const { name, index, width, write } of columns) {
        const problem = write(cells[index] ?? '', raw, feature);
        if (problem !== undefined)
          throw new SecureTrainingError('CONFIG_INVALID', `${where}, column ${name}: ${problem}`);
        feature += width;
      }
      normalise(raw, 0, target, at);
    },
  };
}

function columnEncoders({ columns, coding }: DatasetSchema, header: readonly string[]): ColumnEncoder[] {
  const isOneHot = coding?.names === 'one-hot';
  const categories = new Map(Object.entries(coding?.categories ?? {}));
  const encoders: ColumnEncoder[] = [];
  for (let feature = 0; feature < columns.length; ) {
    const feature0 = columns[feature] ?? '';
    const coded = [...categories].find(([column, names]) =>
      isOneHot ? feature0 === `${column}=${names[0]}` : feature0 === column,
    );
    const encoder =
      coded === undefined
        ? numberColumn(feature0, header, coding?.fill[feature0])
        : nameColumn(coded[0], header, coded[1], isOneHot);
    encoders.push(encoder);
    feature += encoder.width;
  }
  return encoders;
}

function numberColumn(name: string, header: readonly string[], fill: number | undefined): ColumnEncoder {
  return {
    name,
    index: find(header, name),
    width: 1,
    write(cell, target, at) {
      const isMissing = typeof cell === 'string' && cell.trim() === '';
      const value = typeof cell === 'number' ? cell : cellNumber(cell);
      target[at] = isMissing ? (fill ?? Number.NaN) : value;
      if (Number.isFinite(target[at])) return undefined;
      return isMissing ? 'found nothing, wanted a number' : 'found something else, wanted a number';
    },
  };
}

/** As when it was trained: a name that is not known is none of those known. */
function nameColumn(
  name: string,
  header: readonly string[],
  names: readonly string[],
  isOneHot: boolean,
): ColumnEncoder {
  const codes = new Map(names.map((each, i) => [each, i + 1]));
  return {
    name,
    index: find(header, name),
    width: isOneHot ? names.length : 1,
    write(cell, target, at) {
      const code = codes.get(canonicalLabel(String(cell))) ?? 0;
      if (!isOneHot) target[at] = code;
      else for (let i = 0; i < names.length; i++) target[at + i] = Number(i + 1 === code);
      return undefined;
    },
  };
}

function find(header: readonly string[], name: string): number {
  const exact = header.indexOf(name);
  return exact >= 0 ? exact : header.findIndex((column) => column.toLowerCase() === name.toLowerCase());
}
