import { Token } from 'cdktf';
import type { Construct, IConstruct } from 'constructs';

/** A caller's mistake: construct path, field, what was wanted, what was found. */
export function misuse(scope: IConstruct, field: string, wanted: string, found: unknown): RangeError {
  return new RangeError(`${scope.node.path}: ${field} must be ${wanted}, got ${JSON.stringify(found)}`);
}

/** Refuses what is known at synth and does not match; a token passes, for its value is known only at apply. */
export function requireMatch(scope: Construct, field: string, value: string, pattern: RegExp, wanted: string): string {
  if (!Token.isUnresolved(value) && !pattern.test(value)) throw misuse(scope, field, wanted, value);
  return value;
}

/** Refuses a whole number outside its limits. */
export function requireWithin(
  scope: Construct,
  field: string,
  value: number,
  minimum: number,
  maximum: number,
): number {
  if (Token.isUnresolved(value)) return value;
  if (!Number.isInteger(value) || value < minimum || value > maximum) {
    throw misuse(scope, field, `a whole number from ${minimum} to ${maximum}`, value);
  }
  return value;
}

export const SHA256_HEX = /^[0-9a-f]{64}$/;
export const GUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Four numbers below 256; a token passes. */
export function requireAddress(scope: Construct, field: string, value: string): string {
  const isAddress = /^\d{1,3}(\.\d{1,3}){3}$/.test(value) && value.split('.').every((part) => Number(part) < 256);
  if (!Token.isUnresolved(value) && !isAddress) throw misuse(scope, field, 'an IPv4 address', value);
  return value;
}
