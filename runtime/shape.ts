/**
 * Reads JSON that somebody else wrote, member by member: everything wrong is collected, each with its path, so that one
 * refusal names it all. An unknown member is a failure: what a signature covers must not mean something we did not read.
 */
import { type ErrorCode, SecureTrainingError } from './errors.ts';
import { nearest } from './nearest.ts';

/** Returns the value as it should be; notes what is wrong in `failures` and then returns anything. */
export type Check<T> = (value: unknown, path: string, failures: string[]) => T;

/** A check of strings that shows its rule, for names of members and parts of other texts. */
export type TextCheck = Check<string> & { readonly pattern: RegExp; readonly wanted: string };

/**
 * Applies a check to a whole document.
 * @throws {@link SecureTrainingError} `code` with one failure per wrong member
 */
export function checkShape<T>(
  check: Check<T>,
  value: unknown,
  what: string,
  code: ErrorCode = 'EVIDENCE_MALFORMED',
): T {
  const failures: string[] = [];
  const result = check(value, '', failures);
  if (failures.length > 0) throw new SecureTrainingError(code, `${what}: ${failures.join('; ')}`, { failures });
  return result;
}

/** No document nests a quarter as deep. `JSON.parse` takes any depth, but whoever then walks the value runs out of stack. */
const DEEPEST_JSON = 64;

/**
 * Parses UTF-8 JSON strictly.
 * @throws {@link SecureTrainingError} `code`; the message never quotes the text
 */
export function parseJson(bytes: Uint8Array, what: string, code: ErrorCode = 'EVIDENCE_MALFORMED'): unknown {
  if (isDeeper(bytes, DEEPEST_JSON)) {
    throw new SecureTrainingError(code, `${what} is nested deeper than ${DEEPEST_JSON} levels`);
  }
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch {
    // The cause would quote what was found, and that may be anything.
    throw new SecureTrainingError(code, `${what} is not JSON`);
  }
}

/** A string that `pattern` matches whole; `wanted` says so in words. */
export function text(pattern: RegExp, wanted: string): TextCheck {
  const check: Check<string> = (value, path, failures) => {
    if (typeof value === 'string' && pattern.test(value)) return value;
    return fail(failures, path, value, wanted, '');
  };
  return Object.assign(check, { pattern, wanted });
}

export function integer(minimum: number, maximum: number = Number.MAX_SAFE_INTEGER): Check<number> {
  return (value, path, failures) => {
    if (Number.isSafeInteger(value) && Number(value) >= minimum && Number(value) <= maximum) return Number(value);
    return fail(failures, path, value, `a whole number from ${minimum} to ${maximum}`, minimum);
  };
}

export const finite: Check<number> = (value, path, failures) =>
  typeof value === 'number' && Number.isFinite(value) ? value : fail(failures, path, value, 'a number', 0);

export const flag: Check<boolean> = (value, path, failures) =>
  typeof value === 'boolean' ? value : fail(failures, path, value, 'true or false', false);

export function oneOf<const T extends string | number | boolean>(...allowed: readonly [T, ...T[]]): Check<T> {
  return (value, path, failures) => {
    const found = allowed.find((candidate) => candidate === value);
    return found ?? fail(failures, path, value, allowed.map((each) => JSON.stringify(each)).join(' or '), allowed[0]);
  };
}

/** A list whose entries `keyOf` tells apart; two with one key are a failure. */
export function list<T>(
  item: Check<T>,
  { minimum = 0, maximum, keyOf }: { minimum?: number; maximum: number; keyOf?: (item: T) => string },
): Check<readonly T[]> {
  return (value, path, failures) => {
    if (!Array.isArray(value) || value.length < minimum || value.length > maximum) {
      return fail(failures, path, value, `a list of ${minimum} to ${maximum}`, []);
    }
    const before = failures.length;
    const items = value.map((each, index) => item(each, `${path}[${index}]`, failures));
    if (keyOf !== undefined && failures.length === before) {
      const seen = new Set<string>();
      for (const [index, each] of items.entries()) {
        const key = keyOf(each);
        if (seen.has(key)) failures.push(`${path}[${index}]: ${key} is there twice`);
        seen.add(key);
      }
    }
    return items;
  };
}

/** An object with these members, no more and no fewer. */
export function members<T extends object>(shape: { readonly [K in keyof T]-?: Check<T[K]> }): Check<T> {
  const names = Object.keys(shape) as (keyof T & string)[];
  return (value, path, failures) => {
    const given = asRecord(value);
    if (given === undefined) return fail(failures, path, value, `an object with ${names.join(', ')}`, {} as T);
    for (const name of Object.keys(given)) {
      if (!Object.hasOwn(shape, name)) {
        failures.push(
          `${join(path, shorten(name))}: unknown member, did you mean ${nearest(name.slice(0, 60), names)}?`,
        );
      }
    }
    return Object.fromEntries(
      names.map((name) => [
        name,
        shape[name](Object.hasOwn(given, name) ? given[name] : undefined, join(path, name), failures),
      ]),
    ) as T;
  };
}

/** An object used as a map. */
export function mapOf<T>(key: TextCheck, item: Check<T>, maximum: number): Check<Readonly<Record<string, T>>> {
  return (value, path, failures) => {
    const given = asRecord(value);
    const entries = Object.entries(given ?? {});
    if (given === undefined || entries.length > maximum)
      return fail(failures, path, value, `an object of up to ${maximum}`, {});
    return Object.fromEntries(
      entries.map(([name, each]) => {
        if (!key.pattern.test(name) || name === '__proto__')
          failures.push(`${join(path, shorten(name))}: wanted ${key.wanted} as its name`);
        return [name, item(each, join(path, shorten(name)), failures)];
      }),
    );
  };
}

/** Any JSON object: for parts that another module reads. */
export const jsonObject: Check<Readonly<Record<string, unknown>>> = (value, path, failures) =>
  asRecord(value) ?? fail(failures, path, value, 'an object', {});

/** Adds a rule over a value whose members are in order. */
export function where<T>(check: Check<T>, rule: (value: T) => string | undefined): Check<T> {
  return (value, path, failures) => {
    const before = failures.length;
    const result = check(value, path, failures);
    const problem = failures.length === before ? rule(result) : undefined;
    if (problem !== undefined) failures.push(path === '' ? problem : `${path}: ${problem}`);
    return result;
  };
}

export const hexSha256 = text(/^[0-9a-f]{64}$/, '64 lower-case hex digits');

/** RFC 7638 thumbprint: base64url of 32 bytes; the last character carries four bits. */
export const keyThumbprint = text(/^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/, 'a base64url SHA-256 thumbprint');

/** A name that is also one safe path segment. */
export const fileName = text(
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/,
  'a name of letters, digits, dot, dash and underscore',
);

/** Safe path segments with a slash between two: where something lies in a container. No segment is `.` or `..`. */
export const blobPath = text(
  /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}){0,15}$/,
  'a path without slashes at its ends',
);

/** RFC 3339 in UTC, with `Z`. */
export const instant = where(
  text(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z$/, 'an RFC 3339 time that ends in Z'),
  (value) => {
    const time = new Date(value);
    // Date rolls 30 February over to March: compare what came out with what went in.
    return !Number.isNaN(time.getTime()) && time.toISOString().slice(0, 19) === value.slice(0, 19)
      ? undefined
      : `${value} is no date`;
  },
);

/** Free text that people read: one line, no control characters. */
export const label = text(/^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]{1,200}$/u, 'one line of 1 to 200 characters');

/** Counts brackets outside of strings; a text that is no JSON may come out wrong, and is then refused for that. */
function isDeeper(json: Uint8Array, limit: number): boolean {
  let depth = 0;
  let quoted = false;
  for (let i = 0; i < json.length; i++) {
    const byte = json[i];
    if (quoted) {
      if (byte === 0x5c) i++;
      else if (byte === 0x22) quoted = false;
    } else if (byte === 0x22) quoted = true;
    else if (byte === 0x5b || byte === 0x7b) {
      if (++depth > limit) return true;
    } else if (byte === 0x5d || byte === 0x7d) depth--;
  }
  return false;
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
}

function fail<T>(failures: string[], path: string, found: unknown, wanted: string, instead: T): T {
  failures.push(`${path === '' ? 'document' : path}: found ${show(found)}, wanted ${wanted}`);
  return instead;
}

function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  return shorten(JSON.stringify(value));
}

function shorten(value: string): string {
  return printable(value.length > 60 ? `${value.slice(0, 57)}...` : value);
}

/** Text of others as part of a line: what would end the line, or what a terminal obeys, becomes a question mark. */
export function printable(value: string): string {
  return value.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?');
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}
