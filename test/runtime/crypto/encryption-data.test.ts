import { expect, test } from 'vitest';
import { encryptionDataJson, parseEncryptionData } from '../../../runtime/crypto/encryption-data.ts';
import { rejection } from '../rejection.ts';

const DATA = {
  keyId: `https://kv.vault.azure.net/keys/dataset-kek/${'0'.repeat(32)}`,
  encryptedKey: new Uint8Array(384).fill(9),
  protocol: '2.0',
  regionLength: 4194304,
} as const;

/** As the Java SDK orders and extends it (facts/crypto-formats.md 1.3). */
const JAVA = {
  EncryptionMode: 'FullBlob',
  WrappedContentKey: {
    KeyId: DATA.keyId,
    EncryptedKey: Buffer.alloc(384, 9).toString('base64'),
    Algorithm: 'RSA-OAEP-256',
  },
  EncryptionAgent: { Protocol: '2.1', EncryptionAlgorithm: 'AES_GCM_256' },
  EncryptedRegionInfo: { DataLength: 65536, NonceLength: 12 },
  KeyWrappingMetadata: { EncryptionLibrary: 'JavaTrack212.31.0' },
};

test('writes members in the order that SDKs need, and fits blob metadata', () => {
  const json = encryptionDataJson(DATA);
  expect(json.length).toBeLessThan(1000);
  expect(json).toMatch(
    /^\{"WrappedContentKey":\{"KeyId":"https:[^"]+","EncryptedKey":"[A-Za-z0-9+/]{512}","Algorithm":"RSA-OAEP-256"\},"EncryptionAgent":\{"Protocol":"2.0","EncryptionAlgorithm":"AES_GCM_256"\},"EncryptedRegionInfo":\{"DataLength":4194304,"NonceLength":12\},"KeyWrappingMetadata":\{"EncryptionLibrary":"[^"]+"\},"EncryptionMode":"FullBlob"\}$/,
  );
  expect(parseEncryptionData(json)).toEqual(DATA);
});

test('reads what the Java SDK writes', () => {
  expect(parseEncryptionData(JSON.stringify(JAVA))).toEqual({ ...DATA, protocol: '2.1', regionLength: 65536 });
});

test.each([
  [
    'version 1',
    { EncryptionAgent: { Protocol: '1.0', EncryptionAlgorithm: 'AES_CBC_256' } },
    'EncryptionAgent.Protocol: found "1.0"',
  ],
  [
    'RSA-OAEP with SHA-1',
    { WrappedContentKey: { ...JAVA.WrappedContentKey, Algorithm: 'RSA-OAEP' } },
    'WrappedContentKey.Algorithm: found "RSA-OAEP"',
  ],
  [
    'another nonce',
    { EncryptedRegionInfo: { DataLength: 65536, NonceLength: 8 } },
    'EncryptedRegionInfo.NonceLength: found 8, wanted 12',
  ],
  [
    'a giant region',
    { EncryptedRegionInfo: { DataLength: 2 ** 30, NonceLength: 12 } },
    'EncryptedRegionInfo.DataLength: found 1073741824',
  ],
  [
    'no base64',
    { WrappedContentKey: { ...JAVA.WrappedContentKey, EncryptedKey: 'a b' } },
    'WrappedContentKey.EncryptedKey',
  ],
  [
    'an impossible length',
    { WrappedContentKey: { ...JAVA.WrappedContentKey, EncryptedKey: 'AAAAA' } },
    'WrappedContentKey.EncryptedKey',
  ],
  ['no wrapped key', { WrappedContentKey: null }, 'WrappedContentKey: found null, wanted an object'],
])('refuses %s', (_, change, message) => {
  expect(() => parseEncryptionData(JSON.stringify({ ...JAVA, ...change }))).toThrow(
    rejection('EVIDENCE_MALFORMED', message),
  );
});

test('refuses what is no JSON, without quoting it', () => {
  expect(() => parseEncryptionData('{secret')).toThrow(rejection('EVIDENCE_MALFORMED', 'encryptiondata is not JSON'));
});
