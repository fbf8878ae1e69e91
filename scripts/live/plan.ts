import { SecureTrainingError } from '../../runtime/errors.ts';
import { ATTESTATION_STEPS } from './attestation-steps.ts';
import { MACHINE_STEPS } from './machine-steps.ts';
import { BY_HAND, QUESTIONS, type QuestionId } from './questions.ts';
import type { Step } from './step.ts';
import { VAULT_STEPS } from './vault-steps.ts';

/** Every step, in the order of a capture: each comes after those it needs. */
export const STEPS: readonly Step[] = [...MACHINE_STEPS, ...ATTESTATION_STEPS, ...VAULT_STEPS];

/**
 * The steps that answer these questions, with those they need.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` for a question that only a person can answer
 */
export function stepsFor(questions: readonly QuestionId[]): readonly Step[] {
  const byHand = questions.find((id) => BY_HAND[id] !== undefined);
  if (byHand !== undefined) {
    throw new SecureTrainingError('CONFIG_INVALID', `${byHand} is answered by hand: keep ${BY_HAND[byHand]}`);
  }
  const wanted = new Set<string>();
  // Backwards: whatever a step needs comes before it.
  for (const step of STEPS.toReversed()) {
    if (!wanted.has(step.name) && !step.questions.some((id) => questions.includes(id))) continue;
    for (const name of [step.name, ...(step.needs ?? [])]) wanted.add(name);
  }
  return STEPS.filter(({ name }) => wanted.has(name));
}

/** All that a program in the machine can answer. */
export const CAPTURED_QUESTIONS: readonly QuestionId[] = (Object.keys(QUESTIONS) as QuestionId[]).filter(
  (id) => BY_HAND[id] === undefined,
);
