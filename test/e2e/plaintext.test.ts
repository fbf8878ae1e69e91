import { readdirSync, readFileSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { toBase64, utf8 } from '../../runtime/crypto/bytes.ts';
import { flowers, opened, type Place, startPlace, train } from './place.ts';

/** Eight floats that occur nowhere else, as text and as the bytes they are in memory. */
const CANARY = [71.3125, -52.0625, 93.4375, 17.6875, -88.5625, 64.8125, -31.9375, 45.1875];
const CANARY_BYTES = new Uint8Array(Float32Array.from(CANARY).buffer);

let place: Place;

beforeAll(async () => {
  place = await startPlace({
    training: { epochs: 3, checkpoint_steps: 10 },
    csv: `${flowers(1500)}${CANARY.join(',')},1\n`,
  });
});
afterAll(() => place?.stop());

function* filesBelow(folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else if (entry.isFile()) yield path;
  }
}

/** Files that hold the canary in any of the forms it could leak in. */
function leaks(folder: string): string[] {
  const forms = [
    Buffer.from(CANARY_BYTES),
    Buffer.from(CANARY.join(',')),
    Buffer.from(toBase64(CANARY_BYTES).slice(0, 30)),
    Buffer.from(toBase64(utf8(CANARY.join(','))).slice(0, 30)),
    Buffer.from(Buffer.from(CANARY_BYTES).toString('hex')),
  ];
  return [...filesBelow(folder)].filter(
    (path) => statSync(path).size > 0 && forms.some((form) => readFileSync(path).includes(form)),
  );
}

test('a canary row is found in the file that was put there, so the search works', async () => {
  expect(leaks(place.dir)).toEqual([join(place.dir, 'flowers.csv')]);
  await writeFile(join(place.dir, 'probe.bin'), CANARY_BYTES);
  expect(leaks(place.dir)).toContain(join(place.dir, 'probe.bin'));
  await writeFile(join(place.dir, 'probe.bin'), '');
});

test('after a run it is nowhere else: not in storage, logs, the machine, temporary or core files', async () => {
  const runId = await train(place);
  await opened(place, runId);
  expect(leaks(place.dir)).toEqual([join(place.dir, 'flowers.csv')]);
  expect(place.serial.join('\n')).not.toContain(String(CANARY[0]));
});

test('the receipt says how the worker was confined, and the serial console what was missing', async () => {
  const content = await opened(place, await train(place));
  const { missing, readOnlyFiles, emptyEnvironment } = content.confinement as {
    missing: string[];
    readOnlyFiles: boolean;
    emptyEnvironment: boolean;
  };
  expect({ readOnlyFiles, emptyEnvironment }).toEqual({ readOnlyFiles: true, emptyEnvironment: true });
  if (missing.length > 0) expect(place.serial.join('\n')).toContain(`missing=${missing.join(',')}`);
  expect(content.hardware).toBe('EMULATED');
});
