import { BlockList, isIPv4 } from 'node:net';

/** A row of a log table. */
export type Row = Readonly<Record<string, unknown>>;

/** A column, or a path into a dynamic one. */
export type Column = string | readonly [column: string, ...path: string[]];

/**
 * What a row must be. As small as the rules need it to be, so that one definition can mean the same in KQL and here;
 * text is compared without regard to case, as Azure's logs spell names one way today and another tomorrow.
 */
export type Condition =
  | { readonly all: readonly Condition[] }
  | { readonly any: readonly Condition[] }
  | { readonly not: Condition }
  | { readonly column: Column; readonly oneOf: readonly string[] }
  | { readonly column: Column; readonly contains: string }
  /** A number, or a text that is one. */
  | { readonly column: Column; readonly atLeast: number }
  /** An IPv4 address, with or without a port, in one of these networks (`10.60.0.0/24`). */
  | { readonly column: Column; readonly inNetworks: readonly string[] };

/** Whether a row is what a condition wants. What cannot be read as asked for is not: a missing number is not large, nonsense in no network. */
export function matches(condition: Condition, row: Row): boolean {
  if ('all' in condition) return condition.all.every((part) => matches(part, row));
  if ('any' in condition) return condition.any.some((part) => matches(part, row));
  if ('not' in condition) return !matches(condition.not, row);
  const text = textOf(row, condition.column);
  if ('oneOf' in condition) return condition.oneOf.some((wanted) => wanted.toLowerCase() === text.toLowerCase());
  if ('contains' in condition) return text.toLowerCase().includes(condition.contains.toLowerCase());
  if ('atLeast' in condition) return text.trim() !== '' && Number(text) >= condition.atLeast;
  const address = text.split(':', 1)[0] ?? '';
  return isIPv4(address) && networks(condition.inNetworks).check(address);
}

/** A value as text; nothing for what is not there, JSON for what is no single value. */
export function textOf(row: Row, column: Column): string {
  const [first, ...path] = typeof column === 'string' ? [column] : column;
  let value: unknown = Object.hasOwn(row, first ?? '') ? row[first ?? ''] : undefined;
  for (const name of path) {
    const inside = typeof value === 'object' && value !== null && Object.hasOwn(value, name);
    value = inside ? (value as Row)[name] : undefined;
  }
  if (value === undefined || value === null) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** The condition as KQL. */
export function conditionKql(condition: Condition): string {
  if ('all' in condition) return joined(condition.all, 'and', 'true');
  if ('any' in condition) return joined(condition.any, 'or', 'false');
  if ('not' in condition) return `not(${conditionKql(condition.not)})`;
  const column = columnKql(condition.column);
  if ('oneOf' in condition) return `${column} in~ (${condition.oneOf.map(literal).join(', ')})`;
  if ('contains' in condition) return `${column} contains ${literal(condition.contains)}`;
  // Null makes null of everything around it, and `not` of it still is no match: an unreadable value must count as false.
  if ('atLeast' in condition) return `coalesce(todouble(${column}) >= ${condition.atLeast}, false)`;
  const address = `tostring(split(${column}, ":")[0])`;
  return `coalesce(ipv4_is_in_any_range(${address}, ${condition.inNetworks.map(literal).join(', ')}), false)`;
}

/** A column as text. */
export function columnKql(column: Column): string {
  const [first = '', ...path] = typeof column === 'string' ? [column] : column;
  return `tostring(${first}${path.map((name) => `[${literal(name)}]`).join('')})`;
}

/** A string literal that holds any text (learn.microsoft.com/kusto/query/scalar-data-types/string); a value that Terraform fills in stays whole. */
function literal(text: string): string {
  const escaped = text.replace(/[\\"]/g, '\\$&').replace(/\p{Cc}|[\u2028\u2029]/gu, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
  return `"${escaped}"`;
}

function joined(parts: readonly Condition[], word: 'and' | 'or', empty: string): string {
  if (parts.length === 0) return empty;
  return `(${parts.map(conditionKql).join(` ${word} `)})`;
}

function networks(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [address = '', bits = '32'] = range.split('/');
    list.addSubnet(address, Number(bits), 'ipv4');
  }
  return list;
}
