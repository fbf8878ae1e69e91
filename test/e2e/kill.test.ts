import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readStatus } from '../../runtime/queue.ts';
import { SCORES_FILE } from '../../runtime/scores-file.ts';
import { submitRun, watchRun } from '../../scripts/run/submit.ts';
import { off, opened, type Place, startPlace } from './place.ts';

let place: Place;
let undisturbed: string;
/** Requests that an undisturbed run makes: instants are counted in them, so that they hit on a machine of any speed. */
let requestsOfARun: number;
let hits = 0;

beforeAll(async () => {
  place = await startPlace({ training: { epochs: 12, hidden_size: 256, checkpoint_steps: 25 } });
  const { runId } = await submitRun(place.context, place.agreement, new Date());
  const before = place.emulator.requests.length;
  await off(place);
  requestsOfARun = place.emulator.requests.length - before;
  undisturbed = await weights(runId);
});
afterAll(() => place?.stop());

async function weights(runId: string): Promise<string> {
  const { model } = await opened(place, runId);
  // The scores' file has a salt of its own each time.
  const weights = model.filter(({ name }) => name !== SCORES_FILE);
  return weights.map(({ name, plainSha256 }) => `${name} ${plainSha256}`).join('; ');
}

/** Children of a process, from /proc. */
function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return new RegExp(`^PPid:\\s+${pid}$`, 'm').test(readFileSync(`/proc/${name}/status`, 'utf8'));
      } catch {
        return false;
      }
    })
    .map(Number);
}

function descendantsOf(pid: number): number[] {
  return childrenOf(pid).flatMap((child) => [child, ...descendantsOf(child)]);
}

function victimsOf(who: string): readonly number[] {
  const broker = place.emulator.machine.processId;
  if (broker === undefined) return [];
  const workers = descendantsOf(broker);
  return { broker: [broker], worker: workers, both: workers.length === 0 ? [] : [...workers, broker] }[who] ?? [];
}

function isOff(): boolean {
  const { state } = place.emulator.machine;
  return state === 'deallocated' || state === 'stopped';
}

/** Kills as soon as there is whom to kill, unless the run ends before. */
async function kill(who: string): Promise<boolean> {
  for (let victims = victimsOf(who); ; victims = victimsOf(who)) {
    for (const pid of victims) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Gone in the meantime: as good as killed.
      }
    }
    if (victims.length > 0) return true;
    if (isOff()) return false;
    await delay(2);
  }
}

// Instants spread over the whole run, each in its own part of it, by a fixed sequence.
const INSTANTS = Array.from({ length: 14 }, (_, i) => ({
  who: ['broker', 'worker', 'both'][i % 3] as string,
  part: (0.95 * (i + ((i * 7919) % 97) / 97)) / 14,
}));

test.each(INSTANTS)(
  'kill -9 $who at $part of a run: the same command finishes with the same weights',
  async ({ who, part }) => {
    const { runId } = await submitRun(place.context, place.agreement, new Date());
    const before = place.emulator.requests.length;
    while (place.emulator.requests.length - before < part * requestsOfARun && !isOff()) await delay(2);
    if (await kill(who)) hits++;
    // The machine's unit may have mended it already; if not, this is what a person would do.
    await watchRun(place.context, runId, () => undefined).catch(() => undefined);
    for (let attempt = 0; attempt < 3; attempt++) {
      await off(place);
      const status = await submitAgain(runId);
      if (status === 'finished') break;
    }
    expect(await weights(runId)).toBe(undisturbed);
  },
);

async function submitAgain(runId: string): Promise<string> {
  const before = await readStatus(place.runs, runId);
  if (before?.state === 'finished') return 'finished';
  const again = await submitRun(place.context, place.agreement, new Date());
  expect(again.runId).toBe(runId);
  return (await watchRun(place.context, runId, () => undefined)).state;
}

test('the kills hit, and runs went on from checkpoints', () => {
  expect(hits).toBeGreaterThanOrEqual(10);
  expect(place.serial.filter((line) => line.includes('step=resuming')).length).toBeGreaterThanOrEqual(3);
});
