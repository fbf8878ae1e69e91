import { expect } from 'vitest';
import type { ErrorCode } from '../../runtime/errors.ts';

/** Matches an error of this code whose message contains all of `parts`. */
export function rejection(code: ErrorCode, ...parts: readonly string[]): Error {
  const pattern = new RegExp(
    parts.map((part) => `(?=[\\s\\S]*${part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')})`).join(''),
  );
  return expect.objectContaining({ code, message: expect.stringMatching(pattern) });
}
