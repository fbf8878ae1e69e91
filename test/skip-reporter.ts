import { relative } from 'node:path';
import type { Reporter, TestModule } from 'vitest/node';

/** What a test file needs beyond npm, and how to get it. */
const NEEDS: Readonly<Record<string, string>> = {
  'test/emulator/vtpm/conformance.test.ts': 'swtpm is not on PATH: npm run setup:tools brings it from Debian',
  'test/runtime/statements/model-signature.test.ts':
    'model_signing is not on PATH: npm run setup:tools brings it from PyPI into .tools/venv/bin',
  'test/runtime/attestation/public-evidence.test.ts':
    'public evidence is not at ATTESTATION_VECTORS (default ../shared/vectors)',
  'test/runtime/keys/release-policy.test.ts':
    'public evidence is not at ATTESTATION_VECTORS (default ../shared/vectors)',
  'test/runtime/tpm/structures.test.ts': 'public evidence is not at ATTESTATION_VECTORS (default ../shared/vectors)',
  'test/runtime/training/confinement.test.ts': 'this system gives no user and network namespaces to unshare',
};

/** After a run, one line for each file with skipped tests (how many, and what they would need), and one with the counts. */
export default class SkipReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    for (const module of modules) {
      const skipped = [...module.children.allTests('skipped')].length;
      if (skipped === 0) continue;
      const file = relative(process.cwd(), module.moduleId);
      console.log(`skipped: ${skipped} in ${file}: ${NEEDS[file] ?? 'needs another kind of system'}`);
    }
    const count = (state: 'passed' | 'failed' | 'skipped') =>
      modules.reduce((sum, module) => sum + [...module.children.allTests(state)].length, 0);
    console.log(`tests: ${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped`);
  }
}
