import { SecureTrainingError } from '../../errors.ts';
import { nearest } from '../../nearest.ts';
import { cellNumber } from './cells.ts';
import type { PrepareSettings, Range } from './options.ts';

/** Names that a label column may have, best first. */
const LABEL_NAMES = ['label', 'target', 'y', 'class'] as const;
const LISTED_COLUMNS = 12;

/** What a column of a table is for. */
export interface ColumnPlan {
  readonly label: number;
  /** Rows with the same value here are never in two splits. */
  readonly group: number | undefined;
  /** In file order. */
  readonly features: readonly FeatureColumn[];
}

export interface FeatureColumn {
  readonly name: string;
  readonly index: number;
  /** Holds names, which are coded, instead of numbers. */
  readonly isCategorical: boolean;
  readonly minimum: number;
  readonly maximum: number;
}

type Roles = Pick<PrepareSettings, 'inputPath' | 'label' | 'features' | 'drop' | 'group' | 'categorical' | 'ranges'>;

/**
 * Gives every column its role: features are all that are not label, group or dropped, unless they are named.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for a name that no column has, or a column with two roles
 */
export function planColumns(columns: readonly string[], roles: Roles): ColumnPlan {
  const path = roles.inputPath;
  if (columns.length < 2)
    throw invalid(path, `line 1: found 1 column (${columns[0]}), wanted a label and at least one feature`);
  const find = (flag: string, name: string) => findColumn(path, columns, flag, name);
  const label = findLabelColumn(path, columns, roles.label);
  const group = roles.group === undefined ? undefined : find('--group', roles.group);
  const drop = new Set(roles.drop.map((name) => find('--drop', name)));
  const chosen = roles.features?.map((name) => find('--features', name));
  const taken = (index: number) => index === label || index === group || drop.has(index);
  if (group === label) throw invalid(path, `column ${columns[label]} is both label and group`);
  for (const index of [label, group]) {
    if (index !== undefined && drop.has(index))
      throw invalid(path, `column ${columns[index]} is ${index === label ? 'the label' : 'the group'} and dropped`);
  }
  const twice = chosen?.find(taken);
  if (twice !== undefined) throw invalid(path, `column ${columns[twice]} is a feature and something else`);
  const wanted = new Set(chosen ?? [...columns.keys()].filter((index) => !taken(index)));
  const categorical = new Set(roles.categorical.map((name) => find('--categorical', name)));
  const ranges = new Map(Object.entries(roles.ranges).map(([name, range]) => [find('--range', name), range]));
  for (const [flag, indices] of [
    ['--categorical', categorical],
    ['--range', new Set(ranges.keys())],
  ] as const) {
    const other = [...indices].find((index) => !wanted.has(index));
    if (other !== undefined) throw invalid(path, `${flag}: column ${columns[other]} is no feature`);
  }
  const both = [...categorical].find((index) => ranges.has(index));
  if (both !== undefined) throw invalid(path, `column ${columns[both]} holds categories, which have no range`);
  const features = columns.flatMap((name, index) => {
    if (!wanted.has(index)) return [];
    const { minimum, maximum } = ranges.get(index) ?? { minimum: -Infinity, maximum: Infinity };
    return [{ name, index, isCategorical: categorical.has(index), minimum, maximum }];
  });
  if (features.length === 0) throw invalid(path, 'no column is left for a feature');
  return { label, group, features };
}

/**
 * Reads `age=0:120`; either end may be left out.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID`
 */
export function parseRange(text: string): [column: string, range: Range] {
  const [, column = '', low = '', high = ''] = /^(.+)=([^=:]*):([^=:]*)$/.exec(text) ?? [];
  const minimum = low === '' ? -Infinity : cellNumber(low);
  const maximum = high === '' ? Infinity : cellNumber(high);
  if (column !== '' && minimum <= maximum && (low !== '' || high !== '')) return [column, { minimum, maximum }];
  throw new SecureTrainingError(
    'CONFIG_INVALID',
    `range: found '${text}', wanted COLUMN=MINIMUM:MAXIMUM with the smaller number first`,
  );
}

/**
 * Index of the label column: the one called `wanted`, or without it label, target, y or class.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` listing the columns when there is none
 */
function findLabelColumn(path: string, columns: readonly string[], wanted?: string): number {
  const names = wanted === undefined ? LABEL_NAMES : [wanted];
  for (const name of names) {
    const index = indexOf(columns, name);
    if (index >= 0) return index;
  }
  if (wanted === undefined && columns.every((column) => !Number.isNaN(cellNumber(column)))) {
    throw invalid(path, 'line 1 holds numbers, wanted column names, one of them label, target, y or class');
  }
  const found =
    wanted === undefined ? 'no column is called label, target, y or class' : `no column is called ${wanted}`;
  throw invalid(path, `${found}; columns: ${listed(columns)}${wanted === undefined ? '; name it with --label' : ''}`);
}

function findColumn(path: string, columns: readonly string[], flag: string, name: string): number {
  const index = indexOf(columns, name);
  if (index >= 0) return index;
  throw invalid(
    path,
    `${flag}: no column is called ${name}, did you mean ${nearest(name, columns)}? columns: ${listed(columns)}`,
  );
}

function indexOf(columns: readonly string[], name: string): number {
  const exact = columns.indexOf(name);
  return exact >= 0 ? exact : columns.findIndex((column) => column.toLowerCase() === name.toLowerCase());
}

function listed(columns: readonly string[]): string {
  const more = columns.length > LISTED_COLUMNS ? `, … (${columns.length} columns)` : '';
  return `${columns.slice(0, LISTED_COLUMNS).join(', ')}${more}`;
}

function invalid(path: string, message: string): SecureTrainingError {
  return new SecureTrainingError('CONFIG_INVALID', `${path}: ${message}`);
}
