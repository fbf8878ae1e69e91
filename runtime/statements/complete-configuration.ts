import { SecureTrainingError } from '../errors.ts';
import { jsonObject } from '../shape.ts';
import { parseTrainingConfig, type TrainingConfig } from '../training-config.ts';

/** Checks a configuration in a statement. Defaults must be written out: what is agreed must not depend on which trainer reads it. */
export function completeConfiguration(value: unknown, path: string, failures: string[]): TrainingConfig {
  try {
    const complete = parseTrainingConfig(value, path);
    const given = jsonObject(jsonObject(value, path, failures).training, path, failures);
    for (const field of Object.keys(complete.training)) {
      if (!Object.hasOwn(given, field)) failures.push(`${path}.training.${field}: found nothing, wanted a value`);
    }
    // One way to say each thing: a name for editors, or a default that the canonical form leaves out, is not part of an agreement.
    for (const field of Object.keys(given)) {
      if (!Object.hasOwn(complete.training, field))
        failures.push(`${path}.training.${field}: wanted it left out, it is the default`);
    }
    if (Object.hasOwn(jsonObject(value, path, failures), '$schema')) failures.push(`${path}.$schema: unknown key`);
    return complete;
  } catch (error) {
    if (!(error instanceof SecureTrainingError)) throw error;
    failures.push(...error.failures.map((each) => `${path}.${each}`));
    return value as TrainingConfig;
  }
}
