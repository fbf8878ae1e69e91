import { Command } from 'commander';
import { parsePlan } from '../review/plan.ts';
import { review } from '../review/review.ts';
import { readInput } from '../run/read-input.ts';

/** Exit codes: what a pipeline does with the plan. */
const CLEAN = 0;
const FINDINGS = 10;

export function reviewPlanCommand(): Command {
  return new Command('review-plan')
    .description('say what a reviewer must not miss in a Terraform plan: open paths, lost keys, wider roles')
    .argument('<plan>', 'what terraform show -json PLAN prints')
    .option('--drift', 'judge what was changed outside of Terraform as well')
    .option('--json', 'machine-readable output')
    .addHelpText(
      'after',
      `
Examples:
  $ terraform plan -out=plan.bin && terraform show -json plan.bin > plan.json
  $ ctrain review-plan plan.json
  $ ctrain review-plan --drift --json nightly.json

Nothing is called. Exit codes: ${CLEAN} nothing found, ${FINDINGS} findings, 2 no plan.`,
    )
    .action(async (path: string, { drift, json }: { drift?: boolean; json?: boolean }) => {
      const plan = parsePlan(await readInput(path), path);
      const { findings, notes } = review(plan, { drift: drift === true });
      if (json === true) {
        console.log(JSON.stringify({ findings, notes }));
      } else {
        for (const { rule, address, says } of findings) console.log(`✗ ${rule}  ${address}\n    ${says}`);
        for (const { address, says } of notes) console.log(`✓ ${address}\n    ${says}`);
        const changes = plan.changes.filter(({ actions }) => !actions.includes('no-op')).length;
        console.log(`${changes} of ${plan.changes.length} resources change, ${findings.length || 'no'} findings`);
      }
      process.exitCode = findings.length === 0 ? CLEAN : FINDINGS;
    });
}
