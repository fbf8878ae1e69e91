import { EXIT_CODES, SecureTrainingError } from '../runtime/errors.ts';

/** Prints what went wrong (one line when we know it, a stack when it is our bug) and gives the exit code. */
export function reportError(error: unknown, { json }: { readonly json: boolean }): number {
  if (!(error instanceof SecureTrainingError)) {
    console.error(error);
    return 1;
  }
  const { code, message, failures } = error;
  if (json) console.log(JSON.stringify({ error: { code, message, failures } }));
  else console.error(`error: ${message} [${code}]`);
  return EXIT_CODES[code];
}
