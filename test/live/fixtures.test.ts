import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AZURE_TRUST } from '../../runtime/azure-trust.ts';
import { fromBase64, sha256, toBase64, toHex } from '../../runtime/crypto/bytes.ts';
import { type CaptureManifest, capture, MANIFEST_FILE } from '../../scripts/live/capture.ts';
import type { Exchange } from '../../scripts/live/exchange.ts';
import { CAPTURE_CHECKS, captureFailures } from './check-capture.ts';
import { createEmulatedPlace, type EmulatedPlace } from './emulated-place.ts';

const LIVE = readdirSync(import.meta.dirname, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)
  .filter((name) => readdirSync(join(import.meta.dirname, name)).includes(MANIFEST_FILE));

describe('captured on Azure', () => {
  test.skipIf(LIVE.length > 0)('no live captures yet', (context) => context.skip('no live captures yet'));

  test.each(LIVE)('%s holds', (name) => {
    expect(captureFailures(join(import.meta.dirname, name), AZURE_TRUST)).toEqual([]);
  });
});

describe('the check itself, on what the emulator gives', () => {
  let place: EmulatedPlace;
  let folder: string;

  beforeAll(async () => {
    place = await createEmulatedPlace();
    const options = place.options();
    folder = options.out;
    await capture(options);
  }, 60_000);

  afterAll(() => place.stop());

  test('an undamaged capture holds', () => {
    expect(captureFailures(folder, place.trust)).toEqual([]);
  });

  test("an emulator's capture does not pass for Azure's", () => {
    const failures = captureFailures(folder, AZURE_TRUST);
    expect(failures).toEqual([
      expect.stringMatching(/^evidence is genuine at its date: .*root is the pinned key/),
      'release reply holds: certificates lead to a pinned root',
    ]);
  });

  /** Damages a file for the length of one check; with `digest`, the manifest is made to fit. */
  function failuresAfter(
    file: string,
    change: (bytes: Uint8Array) => Uint8Array,
    digest: 'old' | 'new',
  ): readonly string[] {
    const [path, manifestPath] = [join(folder, file), join(folder, MANIFEST_FILE)];
    const [genuine, manifestText] = [readFileSync(path), readFileSync(manifestPath, 'utf8')];
    const changed = change(Uint8Array.from(genuine));
    const manifest = JSON.parse(manifestText) as CaptureManifest;
    const steps = manifest.steps.map((step) =>
      step.file === file ? { ...step, sha256: toHex(sha256(changed)) } : step,
    );
    try {
      writeFileSync(path, changed);
      if (digest === 'new') writeFileSync(manifestPath, JSON.stringify({ ...manifest, steps }));
      return captureFailures(folder, place.trust);
    } finally {
      writeFileSync(path, genuine);
      writeFileSync(manifestPath, manifestText);
    }
  }

  const flipAt = (at: number) => (bytes: Uint8Array) => bytes.map((byte, i) => (i === at ? byte ^ 1 : byte));
  const edit = (change: (text: string) => string) => (bytes: Uint8Array) =>
    new TextEncoder().encode(change(new TextDecoder().decode(bytes)));
  const editExchange = (change: (found: Exchange) => Exchange) =>
    edit((text) => JSON.stringify(change(JSON.parse(text) as Exchange)));
  const status = (value: number) => editExchange((found) => ({ ...found, answer: { ...found.answer, status: value } }));
  const body = (change: (text: string) => string) =>
    editExchange((found) => ({ ...found, answer: { ...found.answer, body: change(found.answer.body) } }));
  /** One bit in the middle of base64 text. */
  const flipBase64 = (text: string) => {
    const bytes = fromBase64(text);
    return toBase64(flipAt(bytes.length >> 1)(bytes));
  };
  const flipSignature = (jws: string) => {
    const at = jws.lastIndexOf('.') + 20;
    return `${jws.slice(0, at)}${jws[at] === 'A' ? 'B' : 'A'}${jws.slice(at + 1)}`;
  };

  test('a flipped bit shows by the digest', () => {
    expect(failuresAfter('secure-unwrap.json', flipAt(3), 'old')).toEqual([
      'files are the captured ones: secure-unwrap.json has another digest',
    ]);
  });

  // One row for each check: the damage that it has to find.
  const DAMAGES: readonly (readonly [string, string, (bytes: Uint8Array) => Uint8Array])[] = [
    ['hcl-report parses', 'hcl-report.bin', flipAt(0)],
    ['attestation key is the reported one', 'ak-public.bin', flipAt(200)],
    [
      'evidence is genuine at its date',
      'evidence.json',
      edit((text) => {
        const bundle = JSON.parse(text) as { hclReport: string };
        const report = fromBase64(bundle.hclReport);
        return JSON.stringify({ ...bundle, hclReport: toBase64(flipAt(0x20 + 0x90)(report)) });
      }),
    ],
    [
      'plain quote is signed and has no nonce',
      'quote-plain.json',
      edit((text) => {
        const quote = JSON.parse(text) as { signature: string };
        return JSON.stringify({ ...quote, signature: flipBase64(quote.signature) });
      }),
    ],
    ['tcbm is the reported tcb', 'thim-certificates.json', body((text) => text.replace(/"tcbm":"../, '"tcbm":"00'))],
    ['vm id is the reported one', 'vm-id.json', body((text) => text.replace(/^./, 'f'))],
    ['event log parses', 'event-log.bin', (bytes) => bytes.subarray(0, -1)],
    ['pcr 15 was zero', 'pcrs.json', edit((text) => text.replace(/"15": "0/, '"15": "1'))],
    ['issuer has no slash', 'openid-configuration.json', body((text) => text.replace('.net"', '.net/"'))],
    ...['attest-as-microsoft', 'attest-random-unique', 'attest-pcrs-0-15'].map(
      (step): [string, string, (bytes: Uint8Array) => Uint8Array] => [
        `token of ${{ 'attest-as-microsoft': 'the control', 'attest-random-unique': 'a random unique' }[step] ?? 'pcr 0-15'} holds`,
        `${step}.json`,
        editExchange((found) => ({ ...found, token: flipSignature(found.token ?? '') })),
      ],
    ),
    [
      'token of a quote with qualifying data holds',
      'attest-qualifying-data.json',
      editExchange((found) => ({ ...found, token: 'a.b.c' })),
    ],
    [
      'token names the policy we hash',
      'attest-as-microsoft.json',
      editExchange((found) => ({ ...found, token: 'e30.e30.e30' })),
    ],
    ['altered report is refused', 'attest-altered-report.json', status(200)],
    ['key without its certification is refused', 'attest-wrong-key.json', status(200)],
    ['policy that denies refuses', 'attest-denying-policy.json', body(() => '{}')],
    [
      'release reply holds',
      'release.json',
      body((text) => {
        const { value } = JSON.parse(text) as { value: string };
        return JSON.stringify({ value: flipSignature(value) });
      }),
    ],
    [
      'release opened in the vtpm',
      'release.json',
      editExchange((found) => ({ ...found, opened: { failures: ['signature is valid'] } })),
    ],
    ['release with an altered token is refused', 'release-altered-token.json', status(200)],
    ['release without a role is refused', 'release-no-role.json', status(401)],
    ['release against the policy is refused', 'release-wrong-policy.json', status(200)],
    ['release with an expired token is refused', 'release-expired-token.json', status(200)],
    ['release of a disabled key is refused', 'release-disabled-key.json', status(200)],
    ['release of an expired key is granted', 'release-expired-key.json', status(403)],
  ];

  test.each(DAMAGES)('%s: not with a damaged %s', (check, file, change) => {
    const failures = failuresAfter(file, change, 'new');
    expect(failures.map((failure) => failure.split(':')[0])).toContain(check);
  });

  test('every check has such a row', () => {
    expect(DAMAGES.map(([check]) => check)).toEqual(CAPTURE_CHECKS);
  });
});
