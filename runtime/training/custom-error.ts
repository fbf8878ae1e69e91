import { SecureTrainingError } from '../errors.ts';
import type { TrainingConfig } from '../training-config.ts';

/**
 * What may be said of a custom module outside the machine (design section 8): one of these sentences, the error's class, file:line
 * and step. Whatever else there is to say may quote rows, and is sealed to the data owners.
 */
const PROBLEMS = {
  threw: 'it threw',
  definition: 'its default export is not what defineModel or defineDataset returns',
  model: 'build did not return a tfjs model of the wanted input and output',
  shape: 'it gave something else than a tensor of the wanted shape',
  promise: 'it returned a promise where a tensor was wanted',
  leak: 'it keeps tensors: there are more after each step',
  rows: 'its dataset gave other rows than the manifest and the configuration say',
  labels: 'a label is outside the classes',
  diverged: 'its loss or its weights are not finite: try a lower learning_rate, or normalised features',
  privacy:
    'it cannot be trained with differential privacy: wanted a sequence of layers that treat each row by itself, and a loss by name',
  memory:
    'it takes more memory than there is: fewer or smaller layers, or a lower training.batch_size or training.shuffle_rows',
  silent: 'nothing was heard of it: a promise that never settles, or a loop without end',
  ended: 'the trainer refused to go on with it',
} as const;
export type Problem = keyof typeof PROBLEMS;

/** Where in a custom module something went wrong, in words that cannot carry a row. */
export interface CustomFailure {
  readonly problem: Problem;
  readonly step: number;
  /** @default - no error of the engine's own */
  readonly errorClass?: string;
  /** @default - an unknown place */
  readonly file?: string;
  readonly line?: number;
}

/** Names of the classes that JavaScript itself has: a module's own could be named after what it found. */
const CLASSES = ['Error', 'TypeError', 'RangeError', 'ReferenceError', 'SyntaxError', 'EvalError', 'URIError'];
const HIGHEST_LINE = 1_000_000;

/** A custom module failed. {@link message} is what anybody may read, {@link text} what only the data owners may. */
export class CustomModuleError extends SecureTrainingError {
  readonly problem: Problem;
  readonly text: string;

  constructor(failure: CustomFailure, text: string) {
    const sentence = sentenceOf(failure);
    super('CONFIG_INVALID', sentence, { failures: [sentence] });
    this.problem = failure.problem;
    this.text = text;
  }
}

/** For the worker, where the step is not known yet. */
export function customProblem(problem: Problem, text: string): CustomModuleError {
  return new CustomModuleError({ problem, step: 0 }, text);
}

/** The names by which a place may be told: a module could make up any other. */
export function moduleFiles({ training: { model, dataset } }: TrainingConfig): readonly string[] {
  return [model, dataset].flatMap((path) => path?.split('/').at(-1) ?? []);
}

/** What a worker says of a failure, as far as it can be believed: the worker is where the custom module runs. */
export function readFailure(value: unknown, files: readonly string[]): CustomFailure {
  const given = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  const { problem, step, errorClass, file, line } = given;
  const isKnown = typeof problem === 'string' && Object.hasOwn(PROBLEMS, problem);
  const known = files.find((name) => name === file);
  return {
    problem: isKnown ? (problem as Problem) : 'ended',
    step: isCount(step, Number.MAX_SAFE_INTEGER) ? step : 0,
    ...(errorClass === undefined ? {} : { errorClass: CLASSES.find((name) => name === errorClass) ?? 'Error' }),
    ...(known !== undefined && isCount(line, HIGHEST_LINE) ? { file: known, line } : {}),
  };
}

/** The failure that an error in the worker is, and its whole text. */
export function failureOf(
  error: unknown,
  step: number,
  files: readonly string[],
): { failure: CustomFailure; text: string } {
  if (error instanceof CustomModuleError) {
    return { failure: { problem: error.problem, step, ...placeIn(error, files) }, text: error.text };
  }
  if (error instanceof SecureTrainingError) return { failure: { problem: 'ended', step }, text: error.message };
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const errorClass = CLASSES.find((name) => error instanceof Error && error.constructor.name === name) ?? 'Error';
  return { failure: { problem: 'threw', step, errorClass, ...placeIn(error, files) }, text };
}

/** The innermost line of a stack that is in one of the modules themselves; a source map gives it its own name. */
function placeIn(error: unknown, files: readonly string[]): { file?: string; line?: number } {
  const lines = error instanceof Error ? (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line)) : [];
  for (const at of lines) {
    const [, file, line] = /([\w.-]+):(\d+)(?::\d+)?\)?$/.exec(at) ?? [];
    if (file !== undefined && files.includes(file)) return { file, line: Number(line) };
  }
  return {};
}

function sentenceOf({ problem, step, errorClass, file, line }: CustomFailure): string {
  const place = file === undefined ? 'an unknown place' : `${file}:${line}`;
  const what = errorClass === undefined && file === undefined ? '' : ` (${errorClass ?? 'found'} at ${place})`;
  return `custom module: ${PROBLEMS[problem]}${what}, step ${step}`;
}

function isCount(value: unknown, maximum: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= maximum;
}
