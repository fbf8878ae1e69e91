import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { runCheckov } from '../../../scripts/scan/checkov.ts';
import { judge } from '../../../scripts/scan/exemptions.ts';
import { type SynthesizedStack, synthesize } from '../../../scripts/synthesize.ts';
import { SCANNER_EXCEPTIONS } from '../../../stacks/scanner-exceptions.ts';

const isInstalled = existsSync(fileURLToPath(new URL('../../../.tools/checkov/bin/checkov', import.meta.url)));

test.skipIf(!isInstalled)('needs checkov: what it finds is in the table, and nothing else is', async () => {
  const stacks = await synthesize('example');
  const { unexplained, unused } = judge(await runCheckov(stacks), SCANNER_EXCEPTIONS);
  expect({ unexplained, unused }).toEqual({ unexplained: [], unused: [] });
  // That it looks at all: an account that is opened is found.
  const opened = JSON.parse(
    JSON.stringify(stacks).replaceAll('"shared_access_key_enabled":false', '"shared_access_key_enabled":true'),
  ) as SynthesizedStack[];
  const found = judge(await runCheckov(opened), SCANNER_EXCEPTIONS).unexplained;
  expect(found.map(({ id }) => id)).toContain('CKV2_AZURE_40');
});
