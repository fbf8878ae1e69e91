import type { ErrorCode } from '../../runtime/errors.ts';
import type { Ending, Facts } from './facts.ts';

/** Where a finding comes from, for whoever wants to see for themselves. */
export interface Evidence {
  readonly source:
    | 'status'
    | 'console'
    | 'machine'
    | 'queue'
    | 'trainer'
    | 'vault'
    | 'storage'
    | 'attestation'
    | 'activity';
  /** RFC 3339, or `line N` of the console. */
  readonly at: string;
  readonly what: string;
}

export type LogName = Extract<Evidence['source'], 'trainer' | 'vault' | 'storage' | 'attestation' | 'activity'>;

/**
 * One way in which a run or a boot comes to an end, or waits: how it is recognised, what it is in a sentence, what to do. The
 * tables in causes-*.ts are all there are, most telling first.
 */
export interface Cause {
  readonly name: string;
  /** Exit code that the command ends with; `undefined`: nothing is wrong. */
  readonly code?: ErrorCode;
  readonly recognise: (facts: Facts, ending: Ending | undefined) => Recognised | undefined;
  readonly says: string;
  /** A command, or a place in docs. */
  readonly next: readonly string[];
  /** Logs whose refusals belong to it. */
  readonly logs?: readonly LogName[];
}

interface Recognised {
  /** Failed checks, or what else there is to tell apart. */
  readonly checks?: readonly string[];
  readonly evidence: readonly Evidence[];
}

export interface EndingPattern {
  readonly code: ErrorCode | 'INTERNAL';
  /** Found in the message or in one of the failed checks. @default - any */
  readonly text?: RegExp;
}

/** Recognises how a run ended by its code and the fixed words of its message. */
export function endedWith({ code, text }: EndingPattern): Cause['recognise'] {
  return (_, ending) => {
    if (ending === undefined || ending.code !== code) return undefined;
    if (text !== undefined && ![ending.message, ...ending.checks].some((told) => text.test(told))) return undefined;
    return recognisedEnding(ending);
  };
}

function recognisedEnding({ source, state, step, code, message, checks, at }: Ending): Recognised {
  return {
    checks: checks.length > 0 ? checks : [message],
    evidence: [{ source, at, what: `${state} in step ${step}: ${code}` }],
  };
}
