// What the README promises of the main job, read from its own output.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const result = JSON.parse(readFileSync(process.argv[2], 'utf8').trim().split('\n').at(-1));
assert.equal(result.rows, 70_000);
assert.ok(result.metrics.test_accuracy >= 0.97, `test accuracy is ${result.metrics.test_accuracy}, wanted 0.97`);
assert.equal(result.verdict, 'EMULATED');
assert.deepEqual(
  result.checks.filter((check) => !check.passed),
  [],
);
assert.match(readFileSync(result.report, 'utf8'), /<svg/, 'the report has no chart');
console.log(
  `main job: accuracy ${result.metrics.test_accuracy}, verdict ${result.verdict}, ${result.checks.length} checks, ${result.seconds.toFixed(0)} s`,
);
