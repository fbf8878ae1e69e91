import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    reporters: ['default', './test/skip-reporter.ts'],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/{runtime,emulator,scripts,constructs,live,docs}/**/*.test.ts'],
          exclude: ['test/**/*.process.test.ts'],
          testTimeout: 30_000,
        },
      },
      { test: { name: 'synth', include: ['test/stacks/**/*.test.ts'], testTimeout: 60_000 } },
      // Real processes on two cores: one file at a time.
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts', 'test/**/*.process.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
