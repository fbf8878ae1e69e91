import { fromBase64, fromHex, toBase64Url } from '../crypto/bytes.ts';
import type { RsaPublicJwk } from '../crypto/jwk.ts';
import { malformed, unsupported } from './malformed.ts';
import { SNP_REPORT_SIZE } from './snp-report.ts';

/** Offsets of what the paravisor keeps at NV index 0x01400001 (openvmm `igvm_attest/get.rs`); integers are little endian. */
export const HCL_OFFSETS = {
  signature: 0x00,
  headerVersion: 0x04,
  reportSize: 0x08,
  requestType: 0x0c,
  status: 0x10,
  hardwareReport: 0x20,
  dataSize: 0x4c0,
  dataVersion: 0x4c4,
  reportType: 0x4c8,
  hashType: 0x4cc,
  claimsSize: 0x4d0,
  claims: 0x4d4,
} as const;

/** "HCLA", read as a little-endian integer. */
export const HCL_SIGNATURE = 0x414c4348;
/** The two requests a guest may see use one number for each field; anything else is another structure. */
export const HCL_REQUEST_AK_CERT = 2;
export const HCL_DATA_VERSION = 1;
export const HCL_REPORT_SNP = 2;
export const HCL_HASH_SHA256 = 1;
/** Size of the request data before the claims; `data_size` counts it. */
export const HCL_DATA_HEADER = HCL_OFFSETS.claims - HCL_OFFSETS.dataSize;

const REPORT_TYPES: Readonly<Record<number, string>> = { 1: 'VBS', 2: 'SNP', 3: 'trusted launch', 4: 'TDX', 5: 'CCA' };
/** Azure's vTPM makes RSA-2048 keys, always with the default exponent. */
const AK_MODULUS_SIZE = 256;
const AK_EXPONENT = 'AQAB';

/** What an HCL report says. Only `snpReport` is signed; the claims are trustworthy once their hash is found in it. */
export interface HclReport {
  /** 1 closed HCL, 2 OpenHCL. Not covered by any signature. */
  readonly headerVersion: number;
  readonly snpReport: Uint8Array;
  /** The exact bytes that the SNP report hashes; never re-serialise them. */
  readonly runtimeClaims: Uint8Array;
  /** HCLAkPub: the key that quotes. */
  readonly akKey: RsaPublicJwk;
  readonly vmConfiguration: {
    readonly secureBoot: boolean;
    readonly tpmEnabled: boolean;
    readonly consoleEnabled: boolean;
    /** Lower case, as the metadata service writes it. */
    readonly vmUniqueId: string;
  };
  /**
   * What the guest wrote to NV index 0x01400002, 64 bytes.
   * @default - an old report, which has none
   */
  readonly userData?: Uint8Array;
}

/**
 * Reads an HCL report. Header and sizes are unmeasured, so every one is checked against the bytes at hand.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`
 */
export function parseHclReport(input: Uint8Array): HclReport {
  const at = HCL_OFFSETS;
  if (input.length < at.claims) throw malformed(`hcl report has ${input.length} bytes, wanted at least ${at.claims}`);
  const bytes = Uint8Array.from(input);
  const view = new DataView(bytes.buffer);
  const u32 = (offset: number): number => view.getUint32(offset, true);

  if (u32(at.signature) !== HCL_SIGNATURE) throw malformed('hcl report does not start with HCLA');
  const headerVersion = u32(at.headerVersion);
  if (headerVersion !== 1 && headerVersion !== 2) {
    throw unsupported(`hcl header version is ${headerVersion}, wanted 1 or 2`);
  }
  expect(u32(at.requestType), HCL_REQUEST_AK_CERT, 'hcl request type');
  expect(u32(at.status), 0, 'hcl status');
  expect(u32(at.dataVersion), HCL_DATA_VERSION, 'hcl request data version');
  const type = u32(at.reportType);
  if (type !== HCL_REPORT_SNP) {
    throw unsupported(`hcl report is of type ${type} (${REPORT_TYPES[type] ?? 'unknown'}), wanted 2 (SNP)`);
  }
  expect(u32(at.hashType), HCL_HASH_SHA256, 'hcl hash type');
  const claimsSize = u32(at.claimsSize);
  // What follows the claims is left alone: no signature covers it, and nothing here uses it.
  if (claimsSize > bytes.length - at.claims) {
    throw malformed(`hcl report has ${bytes.length - at.claims} bytes of claims, its header says ${claimsSize}`);
  }
  expect(u32(at.dataSize), HCL_DATA_HEADER + claimsSize, 'hcl data size');
  expect(u32(at.reportSize), at.hardwareReport + SNP_REPORT_SIZE + HCL_DATA_HEADER + claimsSize, 'hcl report size');

  const runtimeClaims = bytes.subarray(at.claims, at.claims + claimsSize);
  return {
    headerVersion,
    snpReport: bytes.subarray(at.hardwareReport, at.hardwareReport + SNP_REPORT_SIZE),
    runtimeClaims,
    ...parseClaims(runtimeClaims),
  };
}

function parseClaims(bytes: Uint8Array): Pick<HclReport, 'akKey' | 'vmConfiguration' | 'userData'> {
  const claims = object(parseJson(bytes), 'runtime claims');
  const configuration = object(claims['vm-configuration'], 'vm-configuration');
  const userData = claims['user-data'];
  return {
    akKey: attestationKey(claims.keys),
    // Unknown members are let through: every release of the paravisor adds some.
    vmConfiguration: {
      secureBoot: flag(configuration, 'secure-boot'),
      tpmEnabled: flag(configuration, 'tpm-enabled'),
      consoleEnabled: flag(configuration, 'console-enabled'),
      vmUniqueId: vmId(configuration.vmUniqueId),
    },
    ...(userData === undefined ? {} : { userData: parseUserData(userData) }),
  };
}

/** Chosen by its name alone: reports of 2022 and 2023 say `key_ops: ["encrypt"]` of the very key that signs quotes. */
function attestationKey(keys: unknown): RsaPublicJwk {
  if (!Array.isArray(keys)) throw malformed('runtime claims have no list of keys');
  const found = keys.map((key) => object(key, 'a key of the runtime claims')).filter((key) => key.kid === 'HCLAkPub');
  const [key] = found;
  if (key === undefined || found.length > 1) throw malformed(`runtime claims have ${found.length} HCLAkPub, wanted 1`);
  if (key.kty !== 'RSA' || typeof key.n !== 'string' || key.e !== AK_EXPONENT) {
    throw malformed('HCLAkPub is not an RSA key with exponent 65537');
  }
  const n = fromBase64(key.n, 'modulus of HCLAkPub');
  const modulus = n.subarray(
    Math.max(
      0,
      n.findIndex((byte) => byte !== 0),
    ),
  );
  const [first = 0] = modulus;
  // An even modulus is no RSA key at all, and some libraries fail on it instead of saying no.
  if (modulus.length !== AK_MODULUS_SIZE || first < 0x80 || ((modulus.at(-1) ?? 0) & 1) === 0) {
    throw malformed('modulus of HCLAkPub is not an odd number of 2048 bits');
  }
  return { kty: 'RSA', n: toBase64Url(modulus), e: AK_EXPONENT };
}

/** Closed HCL writes upper case, OpenHCL lower: only the decoded bytes mean anything. */
function parseUserData(value: unknown): Uint8Array {
  const data = typeof value === 'string' ? fromHex(value, 'user-data') : undefined;
  if (data?.length !== 64) throw malformed('user-data is not 64 bytes of hexadecimal');
  return data;
}

function vmId(value: unknown): string {
  if (typeof value !== 'string' || !/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value)) {
    throw malformed('vmUniqueId is not a uuid');
  }
  return value.toLowerCase();
}

function flag(configuration: Readonly<Record<string, unknown>>, name: string): boolean {
  const value = configuration[name];
  if (typeof value !== 'boolean') throw malformed(`vm-configuration has no boolean ${name}`);
  return value;
}

function object(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed(`${what} is not an object`);
  return { ...value };
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw malformed('runtime claims are not JSON', error);
  }
}

function expect(found: number, wanted: number, what: string): void {
  if (found !== wanted) throw malformed(`${what} is ${found}, wanted ${wanted}`);
}
