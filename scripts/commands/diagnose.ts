import { Command } from 'commander';
import { EXIT_CODES } from '../../runtime/errors.ts';
import { checkRunId } from '../../runtime/queue.ts';
import { openContext } from '../context.ts';
import { diagnose, findingLines } from '../diagnose/diagnose.ts';
import { gatherFacts } from '../diagnose/gather.ts';

interface DiagnoseFlags {
  readonly run?: string;
  readonly console?: string;
  readonly trainerLog?: string;
  readonly vaultLog?: string;
  readonly storageLog?: string;
  readonly attestationLog?: string;
  readonly activityLog?: string;
  readonly modelsDir: string;
  readonly json?: boolean;
  readonly deployment?: string;
}

export function diagnoseCommand(): Command {
  return new Command('diagnose')
    .description('where a run or its machine stopped, why, what shows it, and what to do')
    .option('--run <id>', "a run, as 'ctrain runs' lists it (default: the newest)")
    .option('--console <file>', "the machine's serial console (emulator: its own)")
    .option('--trainer-log <file>', 'rows of TrainingSecurity_CL: JSON, JSON Lines or CSV (emulator: its own)')
    .option('--vault-log <file>', 'rows of AZKVAuditLogs (emulator: its own)')
    .option('--storage-log <file>', 'rows of StorageBlobLogs (emulator: its own)')
    .option('--attestation-log <file>', 'rows of AzureAttestationDiagnostics')
    .option('--activity-log <file>', 'rows of AzureActivity')
    .option('-m, --models-dir <folder>', 'where opened models are', 'models')
    .option('--json', 'machine-readable output')
    .option('-d, --deployment <file>', 'deployment file (default: the emulator)')
    .addHelpText(
      'after',
      `
Examples:
  $ ctrain diagnose
  $ az vm boot-diagnostics get-boot-log --ids VM > console.txt
  $ ctrain diagnose --run run-20261123-201500-1a2b3c --console console.txt --deployment deployment.json

Nobody can log into the machine: this is what it tells. Every file is optional, more of them show more (docs/diagnosing.md).
Exit codes: 0 nothing is wrong, else that of the run's own code: ${Object.entries(EXIT_CODES)
        .map(([code, exit]) => `${exit} ${code}`)
        .join(', ')}.`,
    )
    .action(async (flags: DiagnoseFlags) => {
      if (flags.run !== undefined) checkRunId(flags.run);
      const { console: consoleFile, trainerLog, vaultLog, storageLog, attestationLog, activityLog } = flags;
      const context = await openContext(flags.deployment, console.error);
      try {
        const files = {
          ...(consoleFile === undefined ? {} : { console: consoleFile }),
          ...(trainerLog === undefined ? {} : { trainer: trainerLog }),
          ...(vaultLog === undefined ? {} : { vault: vaultLog }),
          ...(storageLog === undefined ? {} : { storage: storageLog }),
          ...(attestationLog === undefined ? {} : { attestation: attestationLog }),
          ...(activityLog === undefined ? {} : { activity: activityLog }),
        };
        const facts = await gatherFacts(context, flags.run, files, flags.modelsDir, new Date());
        const { runId } = facts.request;
        const findings = diagnose(facts);
        if (flags.json === true) console.log(JSON.stringify({ runId, findings }));
        else {
          console.log(`${runId}: ${facts.status?.state ?? 'queued'}, step ${facts.status?.step ?? 'queued'}`);
          for (const line of findings.flatMap(findingLines)) console.log(line);
        }
        const code = findings.find((finding) => finding.code !== undefined)?.code;
        process.exitCode = code === undefined ? 0 : EXIT_CODES[code];
      } finally {
        await context.close();
      }
    });
}
