import { type ErrorCode, EXIT_CODES, SecureTrainingError } from '../runtime/errors.ts';
import { INTERRUPTED_EXIT_CODE, Interruption } from './interrupt.ts';

/** What the operating system says about a path that somebody named; anything else it says is a bug of ours. */
const PATH_ERRORS = new Set([
  'EACCES',
  'EEXIST',
  'EISDIR',
  'ELOOP',
  'ENAMETOOLONG',
  'ENOENT',
  'ENOTDIR',
  'EPERM',
  'EROFS',
]);
const DISK_ERRORS = new Set(['EDQUOT', 'EMFILE', 'ENOSPC']);

/** Prints what went wrong (one line when we know it, a stack when it is our bug) and gives the exit code. */
export function reportError(error: unknown, { json }: { readonly json: boolean }): number {
  if (error instanceof Interruption) {
    if (json) console.log(JSON.stringify({ interrupted: { message: error.message } }));
    else console.error(error.message);
    return INTERRUPTED_EXIT_CODE;
  }
  const known = knownError(error);
  if (known === undefined) {
    console.error(error);
    return 1;
  }
  const { code, message, failures } = known;
  if (json) console.log(JSON.stringify({ error: { code, message, failures } }));
  else console.error(`error: ${message} [${code}]`);
  return EXIT_CODES[code];
}

function knownError(error: unknown): SecureTrainingError | undefined {
  if (error instanceof SecureTrainingError) return error;
  if (!(error instanceof Error && 'syscall' in error && 'code' in error)) return undefined;
  const found = String(error.code);
  const code: ErrorCode | undefined = PATH_ERRORS.has(found)
    ? 'CONFIG_INVALID'
    : DISK_ERRORS.has(found)
      ? 'UNAVAILABLE'
      : undefined;
  return code === undefined ? undefined : new SecureTrainingError(code, error.message, { cause: error });
}
