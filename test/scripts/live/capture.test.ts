import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { sha256, toHex } from '../../../runtime/crypto/bytes.ts';
import { type CaptureManifest, capture, MANIFEST_FILE, type StepRecord } from '../../../scripts/live/capture.ts';
import { CAPTURED_QUESTIONS, STEPS, stepsFor } from '../../../scripts/live/plan.ts';
import { requireAnswers, summaryLines } from '../../../scripts/live/summary.ts';
import { createEmulatedPlace, type EmulatedPlace } from '../../live/emulated-place.ts';

let place: EmulatedPlace;

beforeAll(async () => {
  place = await createEmulatedPlace();
}, 60_000);

afterEach(async () => {
  for (const service of ['vault', 'attestation', 'metadata'] as const) await place.azure.faults.clear(service);
});
afterAll(() => place.stop());

const stepOf = (manifest: CaptureManifest, name: string): StepRecord | undefined =>
  manifest.steps.find((step) => step.name === name);

describe('a whole capture', () => {
  let out: string;
  let manifest: CaptureManifest;
  const told: string[] = [];

  beforeAll(async () => {
    const options = place.options({ onStep: ({ name }) => told.push(name) });
    out = options.out;
    manifest = await capture(options);
  });

  test('goes through every step and keeps a file of each, by its digest', () => {
    expect(told).toEqual(STEPS.map(({ name }) => name));
    expect(manifest.steps.filter(({ state }) => state !== 'captured')).toEqual([]);
    expect(readdirSync(out).sort()).toEqual([...STEPS.map(({ file }) => file), MANIFEST_FILE].sort());
    for (const { file = '', sha256: digest } of manifest.steps) {
      expect(toHex(sha256(Uint8Array.from(readFileSync(join(out, file)))))).toBe(digest);
    }
    expect(JSON.parse(readFileSync(join(out, MANIFEST_FILE), 'utf8'))).toEqual(manifest);
  });

  test('answers every question that a program can, in one line each', () => {
    expect(manifest.questions).toEqual(Object.fromEntries(CAPTURED_QUESTIONS.map((id) => [id, 'answered'])));
    const lines = summaryLines(manifest);
    expect(lines).toHaveLength(CAPTURED_QUESTIONS.length + 1);
    expect(lines).toContain('K2  answered does a vault echo the nonce in what it signs');
    expect(() => requireAnswers(manifest)).not.toThrow();
  });

  // What the emulator decides: each answer told apart from the one beside it.
  test.each([
    ['attest-as-microsoft', 200],
    ['attest-random-unique', 200],
    ['attest-pcrs-0-15', 200],
    ['attest-qualifying-data', 400],
    ['attest-altered-report', 400],
    ['attest-wrong-key', 400],
    ['attest-old-quote', 200],
    ['attest-denying-policy', 400],
    ['attest-every-input', 200],
    ['release', 200],
    ['release-altered-token', 403],
    ['release-no-role', 403],
    ['release-wrong-policy', 403],
    ['release-expired-token', 403],
    ['release-disabled-key', 403],
    ['release-expired-key', 200],
    ['symmetric-key', 400],
  ])('%s is answered with %i', (name, status) => {
    expect(stepOf(manifest, name)?.status).toBe(status);
  });

  test('says what a refusal says, and whether the release opened', () => {
    expect(stepOf(manifest, 'attest-wrong-key')?.text).toContain('ephemeral key is certified by the attestation key');
    expect(stepOf(manifest, 'attest-altered-report')?.text).toContain('report is signed by this vcek');
    expect(stepOf(manifest, 'release-no-role')?.text).toContain('Caller is not authorized');
    expect(stepOf(manifest, 'release')?.text).toBe('opened; the nonce is echoed');
    expect(stepOf(manifest, 'hcl-report')?.text).toBe('2600 bytes, header version 2, report version 3');
    expect(stepOf(manifest, 'pcrs')?.text).toBe('PCR 15 is zero');
  });

  test('no line, no record and no manifest carries a token, and no file the bearer token or the released key', () => {
    const said = JSON.stringify(manifest) + summaryLines(manifest).join();
    expect(said).not.toMatch(/eyJ/);
    for (const { file } of STEPS) {
      const text = readFileSync(join(out, file), 'latin1');
      expect(text).not.toMatch(/Bearer (trainer|stranger)|PRIVATE KEY|authorization"/i);
    }
  });

  test('nobody else may read the folder', () => {
    expect(statSync(out).mode & 0o777).toBe(0o700);
    expect(statSync(join(out, 'release.json')).mode & 0o777).toBe(0o600);
  });
});

describe('when something is away', () => {
  test('a vault that is down leaves its questions open; all others are answered', async () => {
    await place.azure.faults.set('vault', { kind: 'down' });
    const manifest = await capture(place.options());
    const failed = manifest.steps.filter(({ state }) => state === 'failed');
    expect(failed.map(({ name }) => name)).toEqual([
      'key',
      'release',
      'release-altered-token',
      'release-no-role',
      'release-wrong-policy',
      'release-expired-token',
      'release-disabled-key',
      'release-expired-key',
      'secure-unwrap',
      'rotate',
      'symmetric-key',
    ]);
    expect(failed[1]).toMatchObject({
      code: 'UNAVAILABLE',
      text: expect.stringMatching(/^vault: gave up after 3 attempts: no answer: E/),
    });
    expect(manifest.questions).toMatchObject({ A3: 'answered', M3: 'answered', K1: 'open', K10: 'open' });
    expect(() => requireAnswers(manifest)).toThrow(
      expect.objectContaining({
        code: 'UNAVAILABLE',
        message: 'still open: K1, K2, K3, K4, K7, K8, K9, K10',
        failures: ['K1', 'K2', 'K3', 'K4', 'K7', 'K8', 'K9', 'K10'],
      }),
    );
  });

  test('without the control, no refusal is taken for an answer', async () => {
    await place.azure.faults.set('attestation', { kind: 'status', status: 403 });
    const manifest = await capture(place.options({ only: ['A1', 'A7'] }));
    expect(stepOf(manifest, 'attest-as-microsoft')).toMatchObject({ state: 'unsettled', status: 403 });
    expect(stepOf(manifest, 'attest-pcrs-0-15')).toMatchObject({
      state: 'failed',
      code: 'UNAVAILABLE',
      text: 'attest-as-microsoft has brought nothing to go on with',
    });
    expect(() => requireAnswers(manifest)).toThrow('still open: A1, A7');
  });

  test('an empty metadata service fails what depends on it, by name', async () => {
    await place.azure.faults.set('metadata', { kind: 'status', status: 404 });
    const manifest = await capture(place.options({ only: ['A6'] }));
    expect(manifest.steps.map(({ name, state, status }) => [name, state, status])).toEqual([
      ['hcl-report', 'captured', undefined],
      ['event-log', 'captured', undefined],
      ['thim-certificates', 'unsettled', 404],
      ['vm-id', 'unsettled', 404],
      ['evidence', 'failed', undefined],
    ]);
  });

  test('an event log that is not there is an answer', async () => {
    const readEventLog = async () => Promise.reject(Object.assign(new Error('no such file'), { code: 'ENOENT' }));
    const manifest = await capture(place.options({ only: ['M5'], readEventLog }));
    expect(manifest.steps).toMatchObject([{ state: 'captured', text: 'there is none' }]);
    expect(manifest.questions).toEqual({ M5: 'answered' });
  });
});

describe('what is asked', () => {
  test('steps without their inputs are skipped, which leaves questions open but is no failure', async () => {
    const manifest = await capture(place.options({ only: ['K2', 'A5'], inputs: {} }));
    expect(stepOf(manifest, 'release')).toMatchObject({
      state: 'skipped',
      text: 'not given: vaultHost, key, credential, authority',
    });
    expect(manifest.questions).toEqual({ K2: 'open', A5: 'answered' });
    expect(summaryLines(manifest)).toContain('      skipped release not given: vaultHost, key, credential, authority');
    expect(() => requireAnswers(manifest)).not.toThrow();
  });

  test('a question brings the steps it needs, and no others', () => {
    expect(stepsFor(['A1']).map(({ name }) => name)).toEqual([
      'hcl-report',
      'ak-certificate',
      'ak-public',
      'event-log',
      'thim-certificates',
      'attest-as-microsoft',
      'attest-pcrs-0-15',
    ]);
  });

  test('a question for a person is refused, with what to keep', () => {
    expect(() => stepsFor(['K5'])).toThrow(
      expect.objectContaining({
        code: 'CONFIG_INVALID',
        message: "K5 is answered by hand: keep rows of one run from the vault's audit log",
      }),
    );
  });

  test('a folder that is not empty is refused before anything is asked', async () => {
    const options = place.options({ only: ['M3'] });
    await capture(options);
    const before = place.azure.requests.length;
    await expect(capture(options)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: `${options.out} is not empty: a capture is not mixed with another`,
    });
    expect(place.azure.requests).toHaveLength(before);
  });
});
