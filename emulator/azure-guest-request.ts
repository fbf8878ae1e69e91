import { asObject, asText, jsonObject } from '../runtime/attestation/jws.ts';
import { fromBase64, toHex } from '../runtime/crypto/bytes.ts';
import { SecureTrainingError } from '../runtime/errors.ts';

/** What a client of `attest/AzureGuest` sent, as bytes. Nothing of it has been checked. */
export interface GuestRequest {
  readonly snpReport: Uint8Array;
  readonly vcekChain: string;
  readonly runtimeClaims: Uint8Array;
  readonly akCertificate: Uint8Array;
  readonly akPublicArea: Uint8Array;
  readonly quote: {
    readonly message: Uint8Array;
    readonly signature: Uint8Array;
    readonly pcrs: Readonly<Record<string, string>>;
  };
  readonly ephemeral: {
    readonly publicArea: Uint8Array;
    readonly certifyInfo: Uint8Array;
    readonly certifySignature: Uint8Array;
  };
  /** TCG event log; some clients have none to send. */
  readonly eventLog: Uint8Array;
  /** Names to base64 of texts: goes back as it came. */
  readonly clientPayload: Readonly<Record<string, string>>;
  /** What the client says of itself; nobody may decide on it. */
  readonly system: {
    readonly type: string;
    readonly distro: string;
    readonly build: string;
    readonly major: number;
    readonly minor: number;
  };
}

/**
 * Reads a request in the forms that clients in the field write: both spellings of the outer member, both base64 alphabets,
 * padded or not (Microsoft's C++ client 990f662; Azure/azure-rest-api-specs 2025-06-01, AttestAzureGuestVm.json).
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`
 */
export function parseGuestRequest(body: Readonly<Record<string, unknown>>): GuestRequest {
  const outer = body.AttestationInfo ?? body.attestationInfo;
  const info = jsonObject(fromBase64(asText(outer, 'AttestationInfo'), 'AttestationInfo'), 'AttestationInfo');
  if (info.AttestationProtocolVersion !== '2.0') throw malformed('AttestationProtocolVersion: wanted "2.0"');
  const tpm = asObject(info.TpmInfo, 'TpmInfo');
  const isolation = asObject(info.IsolationInfo, 'IsolationInfo');
  if (isolation.Type !== 'SevSnp') throw malformed('IsolationInfo.Type: wanted "SevSnp"');
  const evidence = asObject(isolation.Evidence, 'IsolationInfo.Evidence');
  const proof = jsonObject(bytesOf(evidence, 'Proof'), 'Proof');
  return {
    snpReport: bytesOf(proof, 'SnpReport'),
    vcekChain: textOf(proof, 'VcekCertChain'),
    runtimeClaims: bytesOf(evidence, 'RunTimeData'),
    akCertificate: bytesOf(tpm, 'AikCert'),
    akPublicArea: bytesOf(tpm, 'AikPub'),
    quote: { message: bytesOf(tpm, 'PcrQuote'), signature: bytesOf(tpm, 'PcrSignature'), pcrs: readPcrs(tpm) },
    ephemeral: {
      publicArea: bytesOf(tpm, 'EncKeyPub'),
      certifyInfo: bytesOf(tpm, 'EncKeyCertifyInfo'),
      certifySignature: bytesOf(tpm, 'EncKeyCertifyInfoSignature'),
    },
    eventLog: info.TcgLogs === undefined || info.TcgLogs === null ? new Uint8Array() : bytesOf(info, 'TcgLogs'),
    clientPayload: readPayload(info.ClientPayload),
    system: {
      type: textOf(info, 'OSType'),
      distro: textOf(info, 'OSDistro'),
      build: textOf(info, 'OSBuild'),
      major: numberOf(info, 'OSVersionMajor'),
      minor: numberOf(info, 'OSVersionMinor'),
    },
  };
}

function readPcrs(tpm: Readonly<Record<string, unknown>>): Record<string, string> {
  const { PCRs: list, PcrSet: set } = tpm;
  if (!Array.isArray(list) || !Array.isArray(set) || list.length > 24) throw malformed('PCRs, PcrSet: wanted lists');
  const pcrs = list.map((item: unknown, i): [string, string] => {
    const pcr = asObject(item, `PCRs[${i}]`);
    return [String(numberOf(pcr, 'Index')), toHex(bytesOf(pcr, 'Digest'))];
  });
  const indexes = pcrs.map(([index]) => index);
  if (new Set(indexes).size !== indexes.length) throw malformed('PCRs: one index stands there twice');
  if (indexes.toSorted().join() !== set.map(String).toSorted().join())
    throw malformed('PcrSet is not the indexes of PCRs');
  return Object.fromEntries(pcrs);
}

/** The C++ client writes null where its caller gave nothing. */
function readPayload(value: unknown): Record<string, string> {
  if (value === undefined || value === null) return {};
  const entries = Object.entries(asObject(value, 'ClientPayload'));
  return Object.fromEntries(entries.map(([name, text]) => [name, asText(text, `ClientPayload.${name}`)]));
}

function bytesOf(holder: Readonly<Record<string, unknown>>, name: string): Uint8Array {
  return fromBase64(asText(holder[name], name), name);
}

function textOf(holder: Readonly<Record<string, unknown>>, name: string): string {
  return new TextDecoder().decode(bytesOf(holder, name));
}

function numberOf(holder: Readonly<Record<string, unknown>>, name: string): number {
  const value = holder[name];
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
    throw malformed(`${name}: wanted a number`);
  return value;
}

function malformed(message: string): SecureTrainingError {
  return new SecureTrainingError('EVIDENCE_MALFORMED', message);
}
