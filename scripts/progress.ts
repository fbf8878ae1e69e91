/** A step of work as people see it: a line when it ends, a bar while it lasts where there is a terminal. */
export interface Reporter {
  /** Runs `work`, showing `title`, then its result and how long it took. */
  step<T>(
    title: string,
    work: (show: (state: StepState) => void) => Promise<T>,
    summary?: (result: T) => string,
  ): Promise<T>;
  line(text: string): void;
}

export interface StepState {
  /** 0 to 1. */
  readonly fraction: number;
  /** What goes on right now, for example `epoch 2/3, 5,120 samples/s, loss 0.0931`. */
  readonly detail?: string;
}

const BAR_WIDTH = 24;
/** Without a terminal a long step says where it is this often. */
const PLAIN_INTERVAL_MS = 5000;
/** Before that much time and work an estimate would be a guess. */
const LEAST_ELAPSED_MS = 1000;
const LEAST_DONE = 0.01;

/** Writes to `stream`: bars on a terminal, plain lines elsewhere, nothing but results when `quiet`. */
export function terminalReporter(stream: NodeJS.WriteStream, { quiet = false } = {}): Reporter {
  let stepsDone = 0;
  const write = (text: string) => {
    if (!quiet) stream.write(text);
  };
  return {
    line: (text) => write(`${text}\n`),
    step: async (title, work, summary) => {
      const started = performance.now();
      let said = started;
      const timeLeft = leftTimer();
      const show = ({ fraction, detail: given }: StepState) => {
        const detail = [given, timeLeft(fraction, performance.now())].filter((part) => part !== undefined).join(', ');
        if (stream.isTTY) {
          write(
            `\r\u001b[2K  ${title.padEnd(26)} ${bar(fraction)} ${percent(fraction)} ${detail}`.slice(
              0,
              (stream.columns ?? 120) + 5,
            ),
          );
        } else if (performance.now() - said >= PLAIN_INTERVAL_MS) {
          said = performance.now();
          write(`  ${title}: ${percent(fraction).trim()} ${detail}\n`);
        }
      };
      try {
        const result = await work(show);
        stepsDone++;
        write(
          `${clear(stream)}✓ ${title.padEnd(26)} ${seconds(performance.now() - started)}  ${summary?.(result) ?? ''}\n`,
        );
        return result;
      } catch (error) {
        // Where in a list of steps it stopped; for the first step the error that follows says all there is.
        write(
          stepsDone === 0
            ? clear(stream)
            : `${clear(stream)}✗ ${title.padEnd(26)} ${seconds(performance.now() - started)}\n`,
        );
        throw error;
      }
    },
  };
}

/**
 * Tells how long a step still takes, once there is something to go by: from the first fraction on, since a step that goes on after a
 * kill does not begin at 0.
 */
export function leftTimer(): (fraction: number, now: number) => string | undefined {
  let first: { readonly fraction: number; readonly now: number } | undefined;
  return (fraction, now) => {
    first ??= { fraction, now };
    const [done, elapsed] = [fraction - first.fraction, now - first.now];
    if (elapsed < LEAST_ELAPSED_MS || done < LEAST_DONE || fraction >= 1) return undefined;
    const left = Math.round(((1 - fraction) / done) * (elapsed / 1000));
    return left < 120 ? `${left} s left` : `${Math.round(left / 60)} min left`;
  };
}

export function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`.padStart(7);
}

export function count(value: number): string {
  return value.toLocaleString('en-GB');
}

export function bytes(value: number): string {
  if (value < 1e3) return `${value} B`;
  if (value < 1e6) return `${(value / 1e3).toFixed(1)} kB`;
  return value < 1e9 ? `${(value / 1e6).toFixed(1)} MB` : `${(value / 1e9).toFixed(2)} GB`;
}

function bar(fraction: number): string {
  const full = Math.round(Math.min(1, Math.max(0, fraction)) * BAR_WIDTH);
  return `${'█'.repeat(full)}${'░'.repeat(BAR_WIDTH - full)}`;
}

function percent(fraction: number): string {
  return `${Math.floor(Math.min(1, Math.max(0, fraction)) * 100)} %`.padStart(5);
}

function clear(stream: NodeJS.WriteStream): string {
  return stream.isTTY ? '\r\u001b[2K' : '';
}
