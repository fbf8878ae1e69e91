import type { MachineState } from '../../runtime/azure/resource-manager.ts';
import type { ErrorCode } from '../../runtime/errors.ts';
import type { SecurityEvent } from '../../runtime/events.ts';
import type { RunRequest, RunStatus } from '../../runtime/queue.ts';
import type { BootWord, ConsoleLine } from '../../runtime/run-steps.ts';
import { printable } from '../../runtime/shape.ts';
import type { Row, StorageRow, VaultRow } from '../run/access-rows.ts';

/** A line of the serial console that this project's programs wrote, and where it stands in the log. */
export interface NumberedLine {
  /** From 1. */
  readonly number: number;
  readonly line: ConsoleLine;
}

/** All that is known of a run from outside: what nobody could look at is `undefined`, what was looked at and empty is []. */
export interface Facts {
  readonly now: Date;
  readonly request: RunRequest;
  readonly status?: RunStatus;
  /** @default - it could not be asked */
  readonly machine?: MachineState;
  /** Ids of unfinished runs before this one in the queue. */
  readonly ahead: readonly string[];
  /** Whether the run's model was opened here already. */
  readonly fetched: boolean;
  readonly console?: readonly NumberedLine[];
  readonly trainer?: readonly SecurityEvent[];
  readonly vault?: readonly VaultRow[];
  readonly storage?: readonly StorageRow[];
  /** Rows of AzureAttestationDiagnostics and of AzureActivity. */
  readonly attestation?: readonly Row[];
  readonly activity?: readonly Row[];
}

/** How a run ended that did not finish. */
export interface Ending {
  readonly source: 'status' | 'console';
  readonly code: ErrorCode | 'INTERNAL';
  readonly state: 'refused' | 'interrupted';
  /** Step that it ended in. */
  readonly step: string;
  readonly message: string;
  readonly checks: readonly string[];
  /** Time, or line of the console. */
  readonly at: string;
}

/** The last word of the run: of its status, or of the console where the status could not be written any more. */
export function endingOf({ status, console: lines = [], request }: Facts): Ending | undefined {
  if (status?.state === 'finished') return undefined;
  if (status?.state === 'refused' || status?.state === 'interrupted') {
    const { state, code = 'INTERNAL', step, message = '', failures = [], updatedAt } = status;
    const checks = failures.map((check) => printable(check));
    return { source: 'status', code, state, step, message: printable(message), checks, at: printable(updatedAt) };
  }
  const lastStart = lines.findLastIndex(({ line }) => line.kind === 'step' && line.fields.step === 'agreement');
  const index = lines.findLastIndex(({ line }) => {
    if (line.kind !== 'step' || line.fields.run !== request.runId) return false;
    return line.fields.state === 'refused' || line.fields.state === 'interrupted';
  });
  const found = lines[index];
  if (found?.line.kind !== 'step' || index < lastStart) return undefined;
  const after = lines.slice(index + 1);
  const checks: string[] = [];
  for (const { line } of after) {
    if (line.kind !== 'check') break;
    checks.push(line.check);
  }
  const error = after.map(({ line }) => line).find((line) => line.kind === 'error');
  return {
    source: 'console',
    code: (found.line.fields.code ?? 'INTERNAL') as Ending['code'],
    state: found.line.fields.state === 'refused' ? 'refused' : 'interrupted',
    step: found.line.fields.step ?? 'agreement',
    message: error?.message ?? checks.join('; '),
    checks,
    at: `line ${found.number}`,
  };
}

/** The boot that the console ends with: its lines from `boot.started` on; the machine's first words before it. */
export function lastBoot({ console: lines = [] }: Facts): readonly NumberedLine[] {
  const start = lines.findLastIndex(({ line }) => line.kind === 'boot' && line.word === 'started');
  return start < 0 ? lines : lines.slice(start);
}

/** The last line of a boot with this word. */
export function bootWord(
  facts: Facts,
  word: BootWord,
): { readonly number: number; readonly line: Extract<ConsoleLine, { readonly kind: 'boot' }> } | undefined {
  for (const { number, line } of lastBoot(facts).toReversed()) {
    if (line.kind === 'boot' && line.word === word) return { number, line };
  }
  return undefined;
}

/** Whether the trainer itself spoke in the last boot. */
export function trainerSpoke(facts: Facts): boolean {
  return lastBoot(facts).some(({ line }) => line.kind === 'step');
}
