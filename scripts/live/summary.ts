import { SecureTrainingError } from '../../runtime/errors.ts';
import type { CaptureManifest, StepRecord } from './capture.ts';
import { QUESTIONS, type QuestionId } from './questions.ts';

/** One line a question, and below an open one what became of each step that settled nothing. */
export function summaryLines(manifest: CaptureManifest): readonly string[] {
  const ids = Object.keys(manifest.questions) as QuestionId[];
  const answered = ids.filter((id) => manifest.questions[id] === 'answered');
  return [
    ...ids.flatMap((id) => [
      `${id.padEnd(4)}${String(manifest.questions[id]).padEnd(9)}${QUESTIONS[id]}`,
      ...openReasons(id, manifest),
    ]),
    `${answered.length} of ${ids.length} answered`,
  ];
}

/** A step as it ends. */
export function stepLine({ name, questions, state, status, code, text }: StepRecord): string {
  const words = [state.padEnd(10), name.padEnd(24), questions.join(','), status, code, text];
  return words.filter((word) => word !== undefined).join(' ');
}

/**
 * Skipped steps are the operator's choice; failed and unsettled ones are not.
 * @throws {@link SecureTrainingError} `UNAVAILABLE` naming every question that is still open
 */
export function requireAnswers({ steps, questions }: CaptureManifest): void {
  if (steps.every(({ state }) => state === 'captured' || state === 'skipped')) return;
  const open = (Object.keys(questions) as QuestionId[]).filter((id) => questions[id] === 'open');
  throw new SecureTrainingError('UNAVAILABLE', `still open: ${open.join(', ')}`, { failures: open });
}

function openReasons(id: QuestionId, { steps }: CaptureManifest): string[] {
  return steps
    .filter(({ questions, state }) => questions.includes(id) && state !== 'captured')
    .map((step) => `      ${stepLine({ ...step, questions: [] }).replaceAll(/ +/g, ' ')}`);
}
