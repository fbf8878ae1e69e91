/** Where something stands in a JSON value: names of members and indices. */
type Path = readonly string[];

/** Where something stands in a JSON value, the value itself included. */
export function pathsOf(value: unknown, at: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [at];
  return [at, ...Object.entries(value).flatMap(([name, inner]) => pathsOf(inner, [...at, name]))];
}

/** A copy with the value at a path replaced; a path that leads nowhere changes nothing. */
export function replaceAt(value: unknown, path: Path, instead: unknown): unknown {
  const [name, ...rest] = path;
  if (name === undefined) return instead;
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return value;
  const inner = replaceAt((value as Record<string, unknown>)[name], rest, instead);
  if (Array.isArray(value)) return value.map((each: unknown, index) => (String(index) === name ? inner : each));
  return { ...value, [name]: inner };
}
