/** What a serial console says of the newest boot, as far as it is in words of ours (constructs/boot.ts, runtime/run-reporter.ts). */
export interface ConsoleFacts {
  /** Something that is fetched at boot and has not come: its name, and the exit code of the attempt. */
  readonly waitingFor?: { readonly what: string; readonly code: string };
  /** Something that was fetched and is not what was pinned. */
  readonly refused?: string;
  /** A way into the machine that should be closed. */
  readonly open?: string;
  /** Checks of the process that failed before any run was taken. */
  readonly hygiene?: string;
  /** How the trainer's unit ended: systemd's word for it, and the exit status. */
  readonly stopped?: { readonly result: string; readonly code: string };
  /** The trainer waits for a run. */
  readonly isWaiting: boolean;
  /** Whether there is anything of a boot. */
  readonly hasBooted: boolean;
}

/** A console of months is read from its end. */
const LONGEST = 1 << 20;

/** Lines of anybody else are passed over: kernel and services write there too. */
export function readConsole(text: string): ConsoleFacts {
  const lines = text
    .slice(-LONGEST)
    .split(/\r?\n/)
    .filter((line) => /ctrain: boot\.|\bstep=/.test(line));
  let start = lines.findLastIndex((line) => line.includes('ctrain: boot.started'));
  // Doors are shut before anything is fetched.
  while (/ctrain: boot\.(open|closed)/.test(lines[start - 1] ?? '')) start--;
  const facts: { -readonly [K in keyof ConsoleFacts]: ConsoleFacts[K] } = { isWaiting: false, hasBooted: false };
  for (const line of lines.slice(Math.max(0, start))) {
    const [, word = '', rest = ''] = /ctrain: (boot\.[a-z]+) ?(.*)$/.exec(line) ?? [];
    if (word !== '') facts.hasBooted = true;
    const [what = '', ...more] = rest.split(' ');
    if (word === 'boot.waiting') facts.waitingFor = { what, code: more.at(-1) ?? '' };
    if (word === 'boot.fetched' && facts.waitingFor?.what === what) delete facts.waitingFor;
    if (word === 'boot.refused') facts.refused = rest;
    if (word === 'boot.open') facts.open = what;
    if (word === 'boot.stopped') facts.stopped = { result: what, code: more.at(-1) ?? '' };
    const [, failures] = /\bstep=hygiene state=failed (.*)$/.exec(line) ?? [];
    if (failures !== undefined) facts.hygiene = failures;
    if (/\bstep=waiting for=run\b/.test(line)) facts.isWaiting = true;
    if (/\brun=\S+ step=/.test(line)) facts.isWaiting = false;
  }
  return facts;
}
