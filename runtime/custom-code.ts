import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CUSTOM_CODE_FILE } from './catalogue.ts';
import { sha256, toHex } from './crypto/bytes.ts';
import { SecureTrainingError } from './errors.ts';
import type { Agreement } from './statements/agreement.ts';

/**
 * Holds the custom code of this trainer against what was reviewed. It is part of the bundle's digest already; this is so that an
 * agreement which says that there is none, or names another, can be taken at its word.
 * @throws {@link SecureTrainingError} `CONSENT_MISSING`
 */
export function checkCustomCode(bundleDir: string, { name, customCode }: Agreement): void {
  const path = join(bundleDir, CUSTOM_CODE_FILE);
  const found = existsSync(path) ? toHex(sha256(readFileSync(path))) : undefined;
  const wanted = customCode === false ? undefined : customCode.sha256;
  if (found === wanted) return;
  const say = (digest: string | undefined) => (digest === undefined ? 'none' : digest);
  throw new SecureTrainingError(
    'CONSENT_MISSING',
    `agreement ${name}: the trainer's custom code is ${say(found)}, agreed was ${say(wanted)}`,
  );
}
