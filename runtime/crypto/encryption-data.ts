import { SecureTrainingError } from '../errors.ts';
import { checkShape, integer, jsonObject, oneOf, parseJson, text } from '../shape.ts';
import { fromBase64, toBase64, utf8 } from './bytes.ts';
import type { SealingProtocol } from './key-wrap.ts';
import { NONCE_LENGTH, REGION_LIMITS } from './sealed-object.ts';

/** Name of the blob metadata entry that the Azure SDKs read and write; beside a local file it is `NAME.encryptiondata.json`. */
export const ENCRYPTION_DATA = 'encryptiondata';

/** What client-side encryption 2 says beside the bytes. None of it is authenticated: it only helps to choose. */
export interface EncryptionData {
  /** Versioned URL of the wrapping key, or a key's `urn:ietf:params:oauth:jwk-thumbprint:` name. Never fetched. */
  readonly keyId: string;
  readonly encryptedKey: Uint8Array;
  readonly protocol: SealingProtocol;
  readonly regionLength: number;
}

const LIBRARY = 'confidential-training';
const anyText = text(/^[\s\S]{1,1024}$/, 'a text of 1 to 1024 characters');

/** The JSON text, in the order that the Java SDK insists on (facts/crypto-formats.md 1.2). */
export function encryptionDataJson({ keyId, encryptedKey, protocol, regionLength }: EncryptionData): string {
  return JSON.stringify({
    WrappedContentKey: { KeyId: keyId, EncryptedKey: toBase64(encryptedKey), Algorithm: 'RSA-OAEP-256' },
    EncryptionAgent: { Protocol: protocol, EncryptionAlgorithm: 'AES_GCM_256' },
    EncryptedRegionInfo: { DataLength: regionLength, NonceLength: NONCE_LENGTH },
    KeyWrappingMetadata: { EncryptionLibrary: LIBRARY },
    EncryptionMode: 'FullBlob',
  });
}

/**
 * Members in any order; what others add is ignored, what decides is pinned.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`, every wrong member listed
 */
export function parseEncryptionData(json: string, what = ENCRYPTION_DATA): EncryptionData {
  return checkShape(
    (value, path, failures) => {
      const outer = jsonObject(value, path, failures);
      const part = (name: string) => jsonObject(outer[name], name, failures);
      const [key, agent, region] = [part('WrappedContentKey'), part('EncryptionAgent'), part('EncryptedRegionInfo')];
      const keyId = anyText(key.KeyId, 'WrappedContentKey.KeyId', failures);
      const encoded = text(/^[A-Za-z0-9+/]{1,2048}={0,2}$/, 'base64')(
        key.EncryptedKey,
        'WrappedContentKey.EncryptedKey',
        failures,
      );
      oneOf('RSA-OAEP-256')(key.Algorithm, 'WrappedContentKey.Algorithm', failures);
      oneOf('AES_GCM_256')(agent.EncryptionAlgorithm, 'EncryptionAgent.EncryptionAlgorithm', failures);
      oneOf(NONCE_LENGTH)(region.NonceLength, 'EncryptedRegionInfo.NonceLength', failures);
      return {
        keyId,
        encryptedKey: wrappedKey(encoded, failures),
        protocol: oneOf('2.0', '2.1')(agent.Protocol, 'EncryptionAgent.Protocol', failures),
        regionLength: integer(...REGION_LIMITS)(region.DataLength, 'EncryptedRegionInfo.DataLength', failures),
      };
    },
    parseJson(utf8(json), what),
    what,
  );
}

function wrappedKey(encoded: string, failures: string[]): Uint8Array {
  try {
    return fromBase64(encoded);
  } catch (error) {
    if (!(error instanceof SecureTrainingError)) throw error;
    failures.push('WrappedContentKey.EncryptedKey: found text of an impossible length, wanted base64');
    return new Uint8Array();
  }
}
