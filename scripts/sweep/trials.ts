import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../runtime/data/atomic-file.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { CARD_FILE } from '../model/card-file.ts';
import type { Combination } from './grid.ts';

/** One combination and what came of it. */
export interface Trial {
  readonly set: Combination;
  /** Folder of the model. @default - it failed, or its turn has not come */
  readonly folder?: string;
  readonly metrics?: Readonly<Record<string, number>>;
  /** Why it failed. */
  readonly error?: string;
}

interface TrialResult {
  readonly folder: string;
  readonly metrics: Readonly<Record<string, number>>;
}

/** Trains one combination. */
export type RunTrial = (combination: Combination) => Promise<TrialResult>;

/**
 * Makes every trial that the file does not have yet, and writes it down after each: a rerun goes on. One that fails for what it is
 * (a loss that is no number) does not stop the others; it is made again by a rerun.
 * @throws whatever is no fault of a combination's own, such as a service that is away
 */
export async function runTrials(
  file: string,
  all: readonly Combination[],
  run: RunTrial,
  onTrial: (trials: readonly Trial[], done: number) => void = () => undefined,
): Promise<readonly Trial[]> {
  const before = await finishedTrials(file);
  // Another grid over the same rows may have been there before: what it has trained stays.
  const others = before.filter((each) => !all.some((set) => same(each.set, set)));
  const trials: Trial[] = all.map((set) => before.find((each) => same(each.set, set)) ?? { set });
  for (const [i, { set, folder }] of trials.entries()) {
    if (folder === undefined) {
      trials[i] = await made(set, run);
      await writeFileAtomic(file, `${JSON.stringify({ version: 1, trials: [...trials, ...others] }, null, 2)}\n`);
    }
    onTrial(trials, i + 1);
  }
  return trials;
}

async function made(set: Combination, run: RunTrial): Promise<Trial> {
  try {
    const { folder, metrics } = await run(set);
    return { set, folder, metrics };
  } catch (error) {
    if (!(error instanceof SecureTrainingError) || error.code !== 'CONFIG_INVALID') throw error;
    return { set, error: error.message.split('\n')[0] ?? '' };
  }
}

/** Those whose models are still there. */
async function finishedTrials(file: string): Promise<Trial[]> {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) return [];
  const trials = recorded(text, file);
  const found: Trial[] = [];
  for (const trial of trials) {
    const isThere =
      trial.folder !== undefined &&
      (await access(join(trial.folder, CARD_FILE)).then(
        () => true,
        () => false,
      ));
    if (isThere) found.push(trial);
  }
  return found;
}

function recorded(text: string, file: string): readonly Trial[] {
  try {
    const { version, trials } = JSON.parse(text) as { version?: number; trials?: Trial[] };
    if (version === 1 && Array.isArray(trials)) return trials;
  } catch {
    // Said below.
  }
  throw new SecureTrainingError('CONFIG_INVALID', `${file} is no record of a sweep: remove it to begin anew`);
}

function same(a: Combination, b: Combination): boolean {
  const entries = Object.entries(a);
  return entries.length === Object.keys(b).length && entries.every(([field, value]) => b[field] === value);
}
