import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { fromBase64, sha256, toHex, utf8 } from '../../../runtime/crypto/bytes.ts';
import { signModel, verifyModelSignature } from '../../../runtime/statements/model-signature.ts';
import { rejection } from '../rejection.ts';

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
const CONTENTS = { 'weights.bin': 'w', 'a-b/x': '1', 'a/z': '2', 'a/b/c': '3', 'model.json': '{}' };
const FILES = Object.fromEntries(Object.entries(CONTENTS).map(([name, text]) => [name, toHex(sha256(utf8(text)))]));
const signature = signModel(FILES, 'model', privateKey);
const read = () => JSON.parse(JSON.stringify(signature));

test('files are listed as the reference tool sorts them, under the digest of their digests', () => {
  const statement = JSON.parse(new TextDecoder().decode(fromBase64(signature.dsseEnvelope.payload)));
  const names = statement.predicate.resources.map(({ name }: { name: string }) => name);
  expect(names).toEqual(['a/b/c', 'a/z', 'a-b/x', 'model.json', 'weights.bin']);
  const digests = names.map((name: string) => Buffer.from(FILES[name] ?? '', 'hex'));
  expect(statement.subject).toEqual([{ name: 'model', digest: { sha256: toHex(sha256(...digests)) } }]);
  const pem = publicKey.export({ type: 'spki', format: 'pem' });
  expect(signature.verificationMaterial.publicKey.hint).toBe(toHex(sha256(utf8(String(pem)))));
});

test('the signed files verify, with either half of the key', () => {
  verifyModelSignature(read(), FILES, publicKey);
  verifyModelSignature(read(), FILES, privateKey);
});

test('names every file that differs', () => {
  const { 'a/z': _, ...rest } = FILES;
  expect(() =>
    verifyModelSignature(read(), { ...rest, 'weights.bin': 'ab'.repeat(32), 'x.js': 'ab'.repeat(32) }, publicKey),
  ).toThrow(
    expect.objectContaining({
      code: 'CIPHERTEXT_REJECTED',
      failures: ['a/z is missing', 'weights.bin is not the file that was signed', 'x.js was not signed'],
    }),
  );
});

test('refuses another key and another kind of bundle', () => {
  expect(() => verifyModelSignature(read(), FILES, stranger)).toThrow(
    rejection('CONSENT_MISSING', 'model signature: no valid'),
  );
  expect(() => verifyModelSignature({ ...read(), mediaType: 'x' }, FILES, publicKey)).toThrow(
    rejection('EVIDENCE_MALFORMED', 'mediaType'),
  );
  expect(() => verifyModelSignature([], FILES, publicKey)).toThrow(rejection('EVIDENCE_MALFORMED', 'model signature'));
  expect(() => signModel({}, 'model', privateKey)).toThrow(rejection('CONFIG_INVALID', 'a list of 0'));
});

// The reference implementation (PyPI model-signing 1.1.1, with pyopenssl) as an oracle, where it is installed.
test.skipIf(!hasReferenceTool())('the reference tool accepts it, and names a changed file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'model-signature-'));
  try {
    for (const [name, text] of Object.entries(CONTENTS)) {
      mkdirSync(dirname(join(folder, 'model', name)), { recursive: true });
      writeFileSync(join(folder, 'model', name), text);
    }
    writeFileSync(join(folder, 'model.sig'), JSON.stringify(signature));
    writeFileSync(join(folder, 'key.pub'), publicKey.export({ type: 'spki', format: 'pem' }));
    const verify = () =>
      execFileSync('model_signing', ['verify', 'key', 'model', '--signature', 'model.sig', '--public_key', 'key.pub'], {
        cwd: folder,
        stdio: 'pipe',
      });
    expect(String(verify())).toContain('succeeded');
    writeFileSync(join(folder, 'model', 'weights.bin'), 'other');
    expect(verify).toThrow('weights.bin');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

function hasReferenceTool(): boolean {
  try {
    execFileSync('model_signing', ['--help'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
