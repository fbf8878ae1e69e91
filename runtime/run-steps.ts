/**
 * What a machine that nobody enters says about itself: the words of its serial console and of `status.json`, written once.
 * The boot script (constructs/boot.ts) and the trainer say them, `ctrain diagnose` reads them; no line carries data.
 */
import { type ErrorCode, EXIT_CODES } from './errors.ts';
import { printable } from './shape.ts';

/** Steps of a run, in their order; `status.json` names the one being done, or the one that ended it. */
export const RUN_STEPS = ['agreement', 'measuring', 'environment', 'opening data', 'training', 'exporting'] as const;
export type RunStep = (typeof RUN_STEPS)[number];

/** What else the trainer tells of itself on the console: before a run, beside one and after it. */
export const SIDE_STEPS = [
  'hygiene',
  'waiting',
  'verifyEnvironment',
  'setupAttestation',
  'initializeEncryption',
  'resuming',
  'checkpoint',
  'worker',
  'lease',
  'sealing-errors',
  'deallocate',
] as const;
export type ConsoleStep = RunStep | (typeof SIDE_STEPS)[number];

export const CONSOLE_STATES = [
  'success',
  'failed',
  'skipped',
  'not-renewed',
  'refused',
  'interrupted',
  'finished',
] as const;

/** Members of a line, in the order they are said. */
export interface ConsoleFields {
  readonly run?: string;
  readonly step?: ConsoleStep;
  readonly state?: (typeof CONSOLE_STATES)[number];
  readonly code?: ErrorCode | 'INTERNAL';
  /** Step of the training that a checkpoint is of. */
  readonly checkpoint?: number;
  /** Why a checkpoint was passed over. */
  readonly reason?: string;
  /** What the machine does without, stated in the receipt too. */
  readonly missing?: string;
  readonly backend?: string;
  readonly warning?: string;
  /** What is waited for. */
  readonly for?: string;
  /** Log rows that could not be delivered. */
  readonly lost?: number;
}
type ConsoleField = keyof ConsoleFields;

const FIELDS: readonly ConsoleField[] = [
  'run',
  'step',
  'state',
  'code',
  'checkpoint',
  'reason',
  'missing',
  'backend',
  'warning',
  'for',
  'lost',
];
const VALUE = /^[\w.,-]{1,100}$/;
/** Longer than any line that is said; a log may hold longer ones, and nobody reads those. */
const LONGEST_LINE = 4000;

/** One line of the trainer, without the name that comes before it. */
export function consoleLine(fields: ConsoleFields): string {
  return FIELDS.filter((name) => fields[name] !== undefined)
    .map((name) => `${name}=${String(fields[name]).replaceAll(/[^\w.,-]/g, '-')}`)
    .join(' ');
}

/** The line of a check that did not hold. */
export function failedCheckLine(check: string): string {
  return `failed=${printable(check)}`;
}

/** Words of a boot, each with the form of what follows it. */
const BOOT_WORDS = {
  /** Every door is shut. */
  closed: /^$/,
  /** This one is not. */
  open: /^ (?<about>[\w.@-]+)$/,
  started: /^$/,
  /** Tried again every quarter of a minute; the code is curl's (its man page), 1 where there is no identity token. */
  waiting: /^ (?<about>[\w.-]+) (?<digest>[0-9a-f]{64}) code (?<code>\d{1,3})$/,
  fetched: /^ (?<about>[\w.-]+) (?<digest>[0-9a-f]{64})$/,
  refused: /^ (?<about>[\w.-]+): digest is not (?<digest>[0-9a-f]{64})$/,
  /** A command that had to succeed did not: most likely the disk. */
  failed: /^ (?<about>[\w.-]+) code (?<code>\d{1,3})$/,
  ready: /^$/,
  /** The trainer's process ended: systemd's SERVICE_RESULT and EXIT_STATUS (systemd.exec). */
  stopped: /^ (?<about>[a-z-]+) code (?<code>\w{1,20})$/,
} as const;
export type BootWord = keyof typeof BOOT_WORDS;

export type ConsoleLine =
  | {
      readonly kind: 'boot';
      readonly word: BootWord;
      readonly about: string;
      readonly digest: string;
      readonly code: string;
    }
  | { readonly kind: 'step'; readonly fields: Readonly<Partial<Record<ConsoleField, string>>> }
  | { readonly kind: 'check'; readonly check: string }
  | { readonly kind: 'error'; readonly code: ErrorCode | 'INTERNAL'; readonly message: string };

/**
 * Reads a line of a serial console, whatever the kernel or systemd put before it. Anybody may write to a console: what is
 * none of these forms is `undefined`, and no text that is given back holds what a terminal obeys.
 */
export function parseConsoleLine(line: string): ConsoleLine | undefined {
  const said = /(?:^|[\s:])ctrain: ([^\r\n]*)\r?$/.exec(line.slice(0, LONGEST_LINE))?.[1];
  if (said === undefined) return undefined;
  return bootLine(said) ?? checkLine(said) ?? stepLine(said) ?? errorLine(said);
}

function bootLine(said: string): ConsoleLine | undefined {
  const [, word, rest = ''] = /^boot\.([a-z]{1,12})(.*)$/.exec(said) ?? [];
  if (word === undefined || !Object.hasOwn(BOOT_WORDS, word)) return undefined;
  const groups = BOOT_WORDS[word as BootWord].exec(rest);
  if (groups === null) return undefined;
  const { about = '', digest = '', code = '' } = groups.groups ?? {};
  return { kind: 'boot', word: word as BootWord, about, digest, code };
}

function checkLine(said: string): ConsoleLine | undefined {
  return said.startsWith('failed=') ? { kind: 'check', check: printable(said.slice('failed='.length)) } : undefined;
}

const STEPS: ReadonlySet<string> = new Set([...RUN_STEPS, ...SIDE_STEPS].map((step) => step.replaceAll(' ', '-')));
const KNOWN: Readonly<Partial<Record<string, ReadonlySet<string>>>> = {
  step: STEPS,
  state: new Set<string>(CONSOLE_STATES),
  code: new Set([...Object.keys(EXIT_CODES), 'INTERNAL']),
};

function stepLine(said: string): ConsoleLine | undefined {
  const fields: Partial<Record<ConsoleField, string>> = {};
  for (const word of said.split(' ')) {
    const [, name, value = ''] = /^([a-z]+)=(.*)$/.exec(word) ?? [];
    const field = FIELDS.find((known) => known === name);
    if (field === undefined || !VALUE.test(value) || KNOWN[field]?.has(value) === false) return undefined;
    fields[field] = value;
  }
  return { kind: 'step', fields };
}

function errorLine(said: string): ConsoleLine | undefined {
  if (said === 'internal error') return { kind: 'error', code: 'INTERNAL', message: said };
  const [, code = '', message = ''] = /^([A-Z_]{1,30}) (.+)$/.exec(said) ?? [];
  if (!Object.hasOwn(EXIT_CODES, code)) return undefined;
  return { kind: 'error', code: code as ErrorCode, message: printable(message) };
}
