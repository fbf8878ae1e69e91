/**
 * `npm run scan`: checkov over what the example environment is, against the table of exceptions. Exit code 10 for a finding
 * that is not in the table, and for an entry of the table that nothing needs any more.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { utf8 } from '../runtime/crypto/bytes.ts';
import { writeFileAtomic } from '../runtime/data/atomic-file.ts';
import { SecureTrainingError } from '../runtime/errors.ts';
// biome-ignore lint/style/noRestrictedImports: a table of words; the stacks themselves are started, never imported
import { SCANNER_EXCEPTIONS } from '../stacks/scanner-exceptions.ts';
import { reportError } from './report-error.ts';
import { runCheckov } from './scan/checkov.ts';
import { checkovBaseline, exceptionsPage, judge, policyExemptions, trivyIgnore } from './scan/exemptions.ts';
import { synthesize } from './synthesize.ts';

const FINDINGS = 10;
const EXAMPLE = 'example';
const PAGE = join(import.meta.dirname, '..', 'docs', 'scanner-exceptions.md');

async function main(args: readonly string[]): Promise<number> {
  const { page, emit, environment } = readArguments(args);
  if (page === true) {
    await writeFileAtomic(PAGE, utf8(exceptionsPage(SCANNER_EXCEPTIONS)));
    return 0;
  }
  const verdict = judge(await runCheckov(await synthesize(environment)), SCANNER_EXCEPTIONS);
  const { unexplained, explained } = verdict;
  // Other environments have other options: what they do without says nothing about the table.
  const unused = environment === EXAMPLE ? verdict.unused : [];
  for (const { id, stack, address, says } of unexplained) console.log(`✗ ${id}  ${stack}: ${address}\n    ${says}`);
  for (const { checkov, stack, resource } of unused) {
    console.log(
      `✗ ${checkov}  ${stack}: ${resource}\n    excused in stacks/scanner-exceptions.ts, and not found any more`,
    );
  }
  console.log(
    `${explained.length} findings explained, ${unexplained.length} not; ${unused.length} exceptions that nothing needs`,
  );
  if (emit !== undefined) {
    await mkdir(emit, { recursive: true });
    await writeFileAtomic(join(emit, 'checkov.baseline.json'), utf8(checkovBaseline(explained)));
    await writeFileAtomic(join(emit, '.trivyignore.yaml'), utf8(trivyIgnore(SCANNER_EXCEPTIONS)));
    await writeFileAtomic(join(emit, 'policy-exemptions.json'), utf8(policyExemptions(SCANNER_EXCEPTIONS)));
  }
  return unexplained.length + unused.length === 0 ? 0 : FINDINGS;
}

function readArguments(args: readonly string[]) {
  const options = {
    page: { type: 'boolean' },
    emit: { type: 'string' },
    environment: { type: 'string', default: EXAMPLE },
  } as const;
  try {
    return parseArgs({ args: [...args], options }).values;
  } catch (cause) {
    const message = cause instanceof Error ? cause.message.split('. ')[0] : String(cause);
    const usage = 'usage: scan.ts [--page | --emit FOLDER] [--environment NAME]';
    throw new SecureTrainingError('CONFIG_INVALID', `${message}; ${usage}`, { cause });
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = reportError(error, { json: false });
}
