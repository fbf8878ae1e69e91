import { fullTraining, type TrainingConfig } from '../../training-config.ts';
import { type SpentPrivacy, spentPrivacy, stepsWithin } from './accountant.ts';

/** What a run with differential privacy promises for each row that it learns from (DP-SGD, Abadi et al. 2016, arXiv:1607.00133). */
export interface PrivacyTerms {
  /** Standard deviation of the noise, in multiples of {@link clipNorm}. */
  readonly noiseMultiplier: number;
  /** Largest norm of one row's gradient. */
  readonly clipNorm: number;
  readonly delta: number;
  /** Epsilon after which a run ends; 0 for none. */
  readonly budget: number;
}

/** @returns `undefined` where a configuration asks for no privacy */
export function privacyTerms(config: TrainingConfig): PrivacyTerms | undefined {
  const { privacy_noise, privacy_clip_norm, privacy_delta, privacy_budget } = fullTraining(config);
  if (privacy_noise === 0) return undefined;
  return { noiseMultiplier: privacy_noise, clipNorm: privacy_clip_norm, delta: privacy_delta, budget: privacy_budget };
}

/** Probability with which each row is in a batch: `batch_size` is the size that is expected. */
export function sampleRate({ training }: TrainingConfig, rows: number): number {
  return Math.min(1, training.batch_size / rows);
}

/**
 * What so many steps have spent; `undefined` where there is no privacy. The noise is alike at every step of a run, so the number of
 * steps, which every checkpoint has, is the whole history.
 */
export function privacyOf(config: TrainingConfig, rows: number, steps: number): SpentPrivacy | undefined {
  const terms = privacyTerms(config);
  if (terms === undefined) return undefined;
  const { noiseMultiplier, delta } = terms;
  return spentPrivacy([{ noiseMultiplier, sampleRate: sampleRate(config, rows), steps }], delta);
}

/** So many of `steps` as the budget has room for. */
export function stepsWithinBudget(config: TrainingConfig, rows: number, steps: number): number {
  const terms = privacyTerms(config);
  if (terms === undefined || terms.budget === 0) return steps;
  const { noiseMultiplier, delta, budget: epsilon } = terms;
  return stepsWithin([], { noiseMultiplier, sampleRate: sampleRate(config, rows) }, { epsilon, delta }, steps);
}

/** Why these rows cannot be learned from with the privacy that is asked for. */
export function privacyFailures(config: TrainingConfig, rows: number): string[] {
  const terms = privacyTerms(config);
  if (terms === undefined || rows === 0) return [];
  const failures: string[] = [];
  if (config.training.batch_size > rows) {
    failures.push(
      `batch_size is ${config.training.batch_size}, with privacy wanted at most the ${rows} rows of the train split`,
    );
  }
  if (terms.delta * rows >= 1) {
    failures.push(
      `privacy_delta is ${terms.delta}, wanted below 1/rows, ${(1 / rows).toPrecision(2)}: it would allow a row to be given away`,
    );
  }
  if (terms.budget > 0 && stepsWithinBudget(config, rows, 1) === 0) {
    failures.push(
      `privacy_budget is ${terms.budget}, less than one step takes: wanted more, or a higher privacy_noise`,
    );
  }
  return failures;
}
