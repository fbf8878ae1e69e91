import { createDecipheriv } from 'node:crypto';
import { concat, fromBase64, fromHex, toBase64, toBase64Url, utf8 } from '../crypto/bytes.ts';
import { SecureTrainingError } from '../errors.ts';
import { asObject, asText, jsonObject } from './jws.ts';

/**
 * The `attest/AzureGuest` exchange of Azure Attestation, as Microsoft's own client speaks it
 * (Azure/confidential-computing-cvm-guest-attestation 990f662, AttestationClientImpl and AttestationHelper). Pure.
 */
export interface AzureGuestRequest {
  /** DER, NV index 0x01C101D0. */
  readonly akCertificate: Uint8Array;
  /** TPM2B_PUBLIC of the attestation key. */
  readonly akPublicArea: Uint8Array;
  /** Quote over PCRs 0-7 with empty qualifying data. */
  readonly pcrQuote: {
    readonly message: Uint8Array;
    readonly signature: Uint8Array;
    readonly pcrs: Readonly<Record<string, string>>;
  };
  /** The key that will open the answer and the release: its TPM2B_PUBLIC, and TPM2_Certify by the attestation key. */
  readonly ephemeral: {
    readonly publicArea: Uint8Array;
    readonly certifyInfo: Uint8Array;
    readonly certifySignature: Uint8Array;
  };
  /** Comes back in the token: the only freshness it has. */
  readonly nonce: string;
  readonly snpReport: Uint8Array;
  /** Exactly the bytes that the report's data is the hash of. */
  readonly runtimeClaims: Uint8Array;
  /** PEM text: VCEK, ASK, ARK. */
  readonly vcekChain: string;
  /**
   * TCG event log.
   * @default - sent empty
   */
  readonly tcgLog?: Uint8Array;
}

/** AAD of the sealed token: a constant of Microsoft's client. */
const RESPONSE_AAD = utf8('Transport Key');
const AES_256 = { Cipher: 'AES', BlockMode: 'ChainingModeGCM', KeySizeInBits: 256 } as const;

/** Body of `POST AUTHORITY/attest/AzureGuest`. The operating system's name goes in unverified: nobody may decide on it. */
export function buildAzureGuestRequest(request: AzureGuestRequest): { readonly AttestationInfo: string } {
  const pcrs = Object.entries(request.pcrQuote.pcrs)
    .map(([index, digest]) => ({ Index: Number(index), Digest: toBase64(fromHex(digest, `pcr ${index}`)) }))
    .sort((a, b) => a.Index - b.Index);
  const proof = { SnpReport: toBase64Url(request.snpReport), VcekCertChain: toBase64(utf8(request.vcekChain)) };
  const info = {
    AttestationProtocolVersion: '2.0',
    OSType: toBase64(utf8('Linux')),
    OSDistro: toBase64(utf8('Ubuntu')),
    OSVersionMajor: 24,
    OSVersionMinor: 4,
    OSBuild: toBase64(utf8('NotApplication')),
    TcgLogs: toBase64(request.tcgLog ?? new Uint8Array(0)),
    ClientPayload: { nonce: toBase64(utf8(request.nonce)) },
    TpmInfo: {
      AikCert: toBase64(request.akCertificate),
      AikPub: toBase64(request.akPublicArea),
      PcrQuote: toBase64(request.pcrQuote.message),
      PcrSignature: toBase64(request.pcrQuote.signature),
      EncKeyPub: toBase64(request.ephemeral.publicArea),
      EncKeyCertifyInfo: toBase64(request.ephemeral.certifyInfo),
      EncKeyCertifyInfoSignature: toBase64(request.ephemeral.certifySignature),
      PcrSet: pcrs.map((pcr) => pcr.Index),
      PCRs: pcrs,
    },
    IsolationInfo: {
      Type: 'SevSnp',
      Evidence: { Proof: toBase64(utf8(JSON.stringify(proof))), RunTimeData: toBase64(request.runtimeClaims) },
    },
  };
  return { AttestationInfo: toBase64Url(utf8(JSON.stringify(info))) };
}

/**
 * Opens the service's answer: the token is sealed to a key that was sealed to the ephemeral key.
 * @param decryptInnerKey - RSAES-PKCS1-v1_5 inside the vTPM
 * @returns the token, of which nothing has been verified
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`, `ATTESTATION_REJECTED` when it was not sealed to this machine
 */
export async function openAzureGuestResponse(
  body: unknown,
  decryptInnerKey: (cipher: Uint8Array) => Promise<Uint8Array>,
): Promise<string> {
  const outer = asText(asObject(body, 'attestation answer').token, 'attestation answer: token');
  const sealed = jsonObject(fromBase64(outer, 'attestation answer: token'), 'attestation answer: token');
  const bytes = (name: string) => fromBase64(asText(sealed[name], name), name);
  const parameters = asObject(sealed.EncryptionParams, 'EncryptionParams');
  for (const [name, wanted] of Object.entries(AES_256)) {
    if (parameters[name] !== wanted) throw malformed(`EncryptionParams.${name}: wanted ${wanted}`);
  }
  const iv = fromBase64(asText(parameters.Iv, 'EncryptionParams.Iv'), 'EncryptionParams.Iv');
  const tag = bytes('AuthenticationData');
  // Node takes shorter tags for good: a 4-byte tag would be a guess away from a forged token.
  if (iv.length !== 12 || tag.length !== 16)
    throw malformed(`iv has ${iv.length} bytes and tag ${tag.length}, wanted 12 and 16`);
  const ciphertext = bytes('Jwt');
  const key = await decryptInnerKey(bytes('EncryptedInnerKey'));
  try {
    if (key.length !== 32) throw malformed(`inner key has ${key.length} bytes, wanted 32`);
    const decipher = createDecipheriv('aes-256-gcm', key, iv, { authTagLength: 16 })
      .setAAD(RESPONSE_AAD)
      .setAuthTag(tag);
    return new TextDecoder().decode(concat(decipher.update(ciphertext), decipher.final()));
  } catch (cause) {
    if (cause instanceof SecureTrainingError) throw cause;
    throw new SecureTrainingError('ATTESTATION_REJECTED', 'the attestation answer was not sealed to this machine', {
      cause,
    });
  } finally {
    key.fill(0);
  }
}

function malformed(message: string): SecureTrainingError {
  return new SecureTrainingError('EVIDENCE_MALFORMED', message);
}
