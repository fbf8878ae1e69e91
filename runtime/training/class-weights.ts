import { SecureTrainingError } from '../errors.ts';
import type { TrainingConfig } from '../training-config.ts';

/**
 * What each class's rows count in the loss of a step, in the order of the classes; those that are not named count 1.
 * @returns `undefined` where all count the same
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` where a name is no class
 */
export function classWeights(
  { training: { class_weights } }: TrainingConfig,
  classes: readonly string[],
): Float32Array | undefined {
  if (class_weights === undefined) return undefined;
  const unknown = Object.keys(class_weights).filter((name) => !classes.includes(name));
  if (unknown.length > 0) {
    const failures = unknown.map(
      (name) => `class_weights names ${JSON.stringify(name)}, which is no class of the data`,
    );
    throw new SecureTrainingError('CONFIG_INVALID', failures.join('; '), { failures });
  }
  return Float32Array.from(classes, (name) => (Object.hasOwn(class_weights, name) ? (class_weights[name] ?? 1) : 1));
}

/** Weight of each row of a batch. */
export function rowWeights(
  weights: Float32Array,
  { labels, rows }: { readonly labels: ArrayLike<number>; readonly rows: number },
): Float32Array {
  // An output beyond the classes has no row, and so no weight.
  return Float32Array.from({ length: rows }, (_, row) => weights[labels[row] ?? 0] ?? 1);
}
