import { chmod, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { firstLine } from '../../runtime/azure/http-failure.ts';
import { sha256, toHex, utf8 } from '../../runtime/crypto/bytes.ts';
import { writeFileAtomic } from '../../runtime/data/atomic-file.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { CAPTURED_QUESTIONS, stepsFor } from './plan.ts';
import type { QuestionId } from './questions.ts';
import type { CaptureInputs, Outcome, Place, Step } from './step.ts';

export interface CaptureOptions extends Omit<Place, 'findings'> {
  /** Made if need be; must be empty. */
  readonly out: string;
  readonly packageVersion: string;
  /** @default - every question that a program can answer */
  readonly only?: readonly QuestionId[];
  /** Told as each step ends. */
  readonly onStep?: (record: StepRecord) => void;
}

/** What became of one step. */
export interface StepRecord {
  readonly name: string;
  readonly questions: readonly QuestionId[];
  /** `unsettled`: there is a file, but the question stays open. */
  readonly state: 'captured' | 'unsettled' | 'failed' | 'skipped';
  /** RFC 3339: the time at which its certificates and tokens are to be judged. */
  readonly at: string;
  /** Name and SHA-256 (hex) of what was kept. */
  readonly file?: string;
  readonly sha256?: string;
  /** HTTP status of the answer. */
  readonly status?: number;
  /** Code of our error. */
  readonly code?: string;
  readonly text?: string;
}

/** `capture.json`: what is in a folder, and what it says about which question. */
export interface CaptureManifest {
  readonly version: 1;
  readonly packageVersion: string;
  readonly capturedAt: string;
  readonly authority?: string;
  readonly vaultHost?: string;
  readonly keys: Readonly<Record<string, { readonly name: string; readonly version: string }>>;
  readonly steps: readonly StepRecord[];
  readonly questions: Readonly<Partial<Record<QuestionId, 'answered' | 'open'>>>;
}

export const MANIFEST_FILE = 'capture.json';
/** Tokens and replies are of use to nobody but whoever made the throw-away keys, and still not for everybody's eyes. */
const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;

/**
 * Asks a virtual machine and its services whatever only they can answer, and keeps each answer in a file. A step that
 * fails is recorded, and the rest goes on.
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` when the folder is not empty, or for a question that a person has to answer
 */
export async function capture(options: CaptureOptions): Promise<CaptureManifest> {
  const { out, inputs, now } = options;
  const questions = options.only ?? CAPTURED_QUESTIONS;
  const steps = stepsFor(questions);
  await prepareFolder(out);
  const capturedAt = now().toISOString();
  const place: Place = { ...options, findings: {} };
  const records: StepRecord[] = [];
  try {
    for (const step of steps) {
      const record = await runStep(step, place, out);
      records.push(record);
      options.onStep?.(record);
    }
  } finally {
    await place.findings.session?.ephemeral.close();
  }
  const manifest: CaptureManifest = {
    version: 1,
    packageVersion: options.packageVersion,
    capturedAt,
    ...(inputs.authority === undefined ? {} : { authority: inputs.authority }),
    ...(inputs.vaultHost === undefined ? {} : { vaultHost: inputs.vaultHost }),
    keys: keysOf(inputs),
    steps: records,
    questions: Object.fromEntries(questions.map((id) => [id, stateOf(id, records)])),
  };
  await writeFileAtomic(join(out, MANIFEST_FILE), jsonText(manifest), { mode: FILE_MODE });
  return manifest;
}

async function runStep(step: Step, place: Place, out: string): Promise<StepRecord> {
  const { name, questions } = step;
  const base = { name, questions, at: place.now().toISOString() };
  const missing = (step.inputs ?? []).filter((input) => place.inputs[input] === undefined);
  if (missing.length > 0) return { ...base, state: 'skipped', text: `not given: ${missing.join(', ')}` };
  try {
    const outcome = await step.run(place);
    return {
      ...base,
      ...(await keep(step, outcome, out)),
      state: outcome.unsettled === true ? 'unsettled' : 'captured',
    };
  } catch (error) {
    const code = error instanceof SecureTrainingError ? error.code : 'internal';
    const message = error instanceof Error ? error.message : String(error);
    return { ...base, state: 'failed', code, text: firstLine(message) };
  }
}

async function keep(step: Step, { content, status, text }: Outcome, out: string): Promise<Partial<StepRecord>> {
  const said = {
    ...(status === undefined ? {} : { status }),
    ...(text === undefined || text === '' ? {} : { text: firstLine(text) }),
  };
  if (content === undefined) return said;
  const bytes = content instanceof Uint8Array ? content : utf8(jsonText(content));
  await writeFileAtomic(join(out, step.file), bytes, { mode: FILE_MODE });
  return { file: step.file, sha256: toHex(sha256(bytes)), ...said };
}

async function prepareFolder(out: string): Promise<void> {
  await mkdir(out, { recursive: true, mode: FOLDER_MODE });
  if ((await readdir(out)).length > 0) {
    throw new SecureTrainingError('CONFIG_INVALID', `${out} is not empty: a capture is not mixed with another`);
  }
  await chmod(out, FOLDER_MODE);
}

function stateOf(id: QuestionId, records: readonly StepRecord[]): 'answered' | 'open' {
  return records.filter(({ questions }) => questions.includes(id)).every(({ state }) => state === 'captured')
    ? 'answered'
    : 'open';
}

/** By the name of the step that asked for it: what a reply is compared with later. */
function keysOf(inputs: CaptureInputs): CaptureManifest['keys'] {
  const { key, keyOfAnotherPolicy, disabledKey, expiredKey } = inputs;
  const named = { release: key, 'release-wrong-policy': keyOfAnotherPolicy, 'release-disabled-key': disabledKey };
  const all = Object.entries({ ...named, 'release-expired-key': expiredKey });
  return Object.fromEntries(all.flatMap(([name, version]) => (version === undefined ? [] : [[name, version]])));
}

function jsonText(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
