/** A value that does not fit: where, what was found, what was wanted. */
export interface FieldProblem {
  readonly path: string;
  readonly found: unknown;
  readonly wanted: string;
}

/** Reads one value; says what is wrong with it instead of throwing, so that all problems come together. */
export type Field<T> = (value: unknown, path: string, problems: FieldProblem[]) => T;
type Shape = Readonly<Record<string, Field<unknown>>>;
type Read<S extends Shape> = { readonly [K in keyof S]: S[K] extends Field<infer T> ? T : never };

/** Stands in where a value could not be read; nobody sees it, because a problem was noted. */
function unread<T>(problems: FieldProblem[], problem: FieldProblem): T {
  problems.push(problem);
  return undefined as T;
}

export function text(pattern: RegExp, wanted: string): Field<string> {
  return (value, path, problems) =>
    typeof value === 'string' && pattern.test(value) ? value : unread(problems, { path, found: value, wanted });
}

export function oneOf<const T extends string>(...values: readonly T[]): Field<T> {
  return (value, path, problems) =>
    values.find((known) => known === value) ?? unread(problems, { path, found: value, wanted: values.join(' or ') });
}

export function whole(minimum: number, maximum: number): Field<number> {
  return (value, path, problems) =>
    typeof value === 'number' && Number.isInteger(value) && value >= minimum && value <= maximum
      ? value
      : unread(problems, { path, found: value, wanted: `a whole number from ${minimum} to ${maximum}` });
}

export const flag: Field<boolean> = (value, path, problems) =>
  typeof value === 'boolean' ? value : unread(problems, { path, found: value, wanted: 'true or false' });

/** The value where there is one, else the default. */
export function optional<T, const D>(field: Field<T>, otherwise: D): Field<T | D> {
  return (value, path, problems) => (value === undefined ? otherwise : field(value, path, problems));
}

/** Whichever the value's own form asks for. */
export function either<A, B>(isFirst: (value: unknown) => boolean, first: Field<A>, second: Field<B>): Field<A | B> {
  return (value, path, problems) => (isFirst(value) ? first : second)(value, path, problems);
}

export function list<T>(field: Field<T>): Field<readonly T[]> {
  return (value, path, problems) =>
    Array.isArray(value)
      ? value.map((item: unknown, i) => field(item, `${path}[${i}]`, problems))
      : unread(problems, { path, found: value, wanted: 'a list' });
}

export function dictionary<T>(name: RegExp, wanted: string, field: Field<T>): Field<Readonly<Record<string, T>>> {
  return (value, path, problems) => {
    if (!isObject(value)) return unread(problems, { path, found: value, wanted: 'an object' });
    for (const key of Object.keys(value).filter((key) => !name.test(key))) {
      problems.push({ path, found: key, wanted: `names of ${wanted}` });
    }
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, field(item, `${path}.${key}`, problems)]),
    );
  };
}

/** All known members and no other; one that starts with `//` is a remark. */
export function object<S extends Shape>(shape: S): Field<Read<S>> {
  return (value, path, problems) => {
    if (!isObject(value)) return unread(problems, { path, found: value, wanted: 'an object' });
    const at = (key: string) => (path === '' ? key : `${path}.${key}`);
    for (const key of Object.keys(value).filter((key) => !key.startsWith('//') && !Object.hasOwn(shape, key))) {
      problems.push({ path: at(key), found: value[key], wanted: `one of ${Object.keys(shape).join(', ')}` });
    }
    const read = Object.entries(shape).map(([key, field]) => [key, field(value[key], at(key), problems)]);
    return Object.fromEntries(read) as Read<S>;
  };
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
