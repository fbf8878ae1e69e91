import type { Reader } from '../../runtime/tpm/wire.ts';

/** TPM_RC, TPM 2.0 Library Part 2 section 6.6. The first block is final; the second says which handle, parameter or session is meant. */
export const RC = {
  initialize: 0x100,
  badTag: 0x01e,
  authMissing: 0x125,
  pcrChanged: 0x128,
  authUnavailable: 0x12f,
  commandSize: 0x142,
  commandCode: 0x143,
  authSize: 0x144,
  nvRange: 0x146,
  nvAuthorisation: 0x149,
  nvUninitialised: 0x14a,
  nvDefined: 0x14c,
  objectMemory: 0x902,
  sessionMemory: 0x903,
  locality: 0x907,
  /** Handle n is not loaded: 0x910 plus n - 1. */
  handleNotLoaded: 0x910,
  /** Session n is not loaded: 0x918 plus n - 1. */
  sessionNotLoaded: 0x918,

  attributes: 0x082,
  hash: 0x083,
  value: 0x084,
  mode: 0x089,
  type: 0x08a,
  handle: 0x08b,
  range: 0x08d,
  size: 0x095,
  symmetric: 0x096,
  scheme: 0x092,
  insufficient: 0x09a,
  key: 0x09c,
  policyFail: 0x09d,
  reservedBits: 0x0a1,
  badAuth: 0x0a2,
} as const;

/** A command the TPM refuses; becomes the response code. */
export class Refusal extends Error {
  readonly responseCode: number;

  constructor(responseCode: number) {
    super(`response code 0x${responseCode.toString(16).padStart(3, '0')}`);
    this.responseCode = responseCode;
  }
}

/** Counted from 1, as the specification does. */
export function handleRefusal(n: number, responseCode: number): Refusal {
  return new Refusal(responseCode | (n << 8));
}

export function parameterRefusal(n: number, responseCode: number): Refusal {
  return new Refusal(responseCode | 0x40 | (n << 8));
}

export function sessionRefusal(n: number, responseCode: number): Refusal {
  return new Refusal(responseCode | 0x800 | (n << 8));
}

/** Refuses a command that goes on after its last parameter; called before anything has happened. */
export function endOf(parameters: Reader): void {
  if (parameters.remaining > 0) throw new Refusal(RC.size);
}
