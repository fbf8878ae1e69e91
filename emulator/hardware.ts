import { createPrivateKey, sign } from 'node:crypto';
import {
  HCL_DATA_HEADER,
  HCL_DATA_VERSION,
  HCL_HASH_SHA256,
  HCL_OFFSETS,
  HCL_REPORT_SNP,
  HCL_REQUEST_AK_CERT,
  HCL_SIGNATURE,
} from '../runtime/attestation/hcl-report.ts';
import {
  ALIAS_CHECK_BIT,
  ECDSA_P384_SHA384,
  encodeTcb,
  POLICY_BITS,
  SNP_OFFSETS,
  SNP_REPORT_SIZE,
} from '../runtime/attestation/snp-report.ts';
import { type Generation, STRICT_ENVIRONMENT, type Tcb } from '../runtime/catalogue.ts';
import { fromHex, sha256, toHex, utf8 } from '../runtime/crypto/bytes.ts';
import type { RsaPublicJwk } from '../runtime/crypto/jwk.ts';
import type { AmdPki } from './amd-pki.ts';

/** What a machine is like, where it is not like a current Azure host. */
export interface HardwareChanges {
  readonly debug: boolean;
  /** Guest policy bit 18. */
  readonly migration: boolean;
  /** Hex, 32 bytes. All ff means none. */
  readonly reportIdMa: string;
  readonly vmpl: number;
  /** The whole guest policy (low 32 bits); `debug` and `migration` are set in it afterwards. */
  readonly policy: number;
  readonly platformInfo: number;
  readonly flags: number;
  readonly guestSvn: number;
  /** Hex, 48 bytes. */
  readonly idKeyDigest: string;
  readonly measurement: string;
  /** 2 to 5. */
  readonly reportVersion: number;
  readonly cpuid: readonly [family: number, model: number, stepping: number];
  readonly committedTcb: Tcb;
  readonly launchTcb: Tcb;
  readonly currentTcb: Tcb;
  readonly reportData: Uint8Array;
  /** Hex. */
  readonly chipId: string;
  readonly headerVersion: number;
  readonly secureBoot: boolean;
  readonly tpmEnabled: boolean;
}

export interface HclReportOptions {
  readonly akKey: RsaPublicJwk;
  readonly ekKey: RsaPublicJwk;
  readonly vmId: string;
  readonly pki: AmdPki;
  /**
   * Reported TCB.
   * @default that of the VCEK
   */
  readonly tcb?: Tcb;
  /**
   * What the guest wrote to NV index 0x01400002.
   * @default 64 zero bytes
   */
  readonly userData?: Uint8Array;
  /** @default - a current Azure host of the chip's generation */
  readonly changes?: Partial<HardwareChanges>;
}

/** Size of the NV index on Azure. */
const REPORT_SIZE = 2600;
/** ABI 0.31 with SMT: the policy of every report seen on Azure. */
const AZURE_POLICY = 0x3001f;
const AZURE_GUEST_SVN = 12;
const SMT_BIT = 0;

const CPUIDS: Readonly<Record<Generation, HardwareChanges['cpuid']>> = {
  Milan: [0x19, 0x01, 1],
  Genoa: [0x19, 0x11, 1],
  Turin: [0x1a, 0x02, 1],
};

/** What an emulated chip and paravisor would leave at NV index 0x01400001: a report that verifies to the given root, and only to that. */
export function buildHclReport(options: HclReportOptions): Uint8Array {
  const claims = runtimeClaims(options);
  if (HCL_OFFSETS.claims + claims.length > REPORT_SIZE) {
    throw new RangeError(`claims of ${claims.length} bytes do not fit an hcl report of ${REPORT_SIZE}`);
  }
  const bytes = new Uint8Array(REPORT_SIZE);
  const view = new DataView(bytes.buffer);
  const at = HCL_OFFSETS;
  view.setUint32(at.signature, HCL_SIGNATURE, true);
  view.setUint32(at.headerVersion, options.changes?.headerVersion ?? 2, true);
  view.setUint32(at.reportSize, at.hardwareReport + SNP_REPORT_SIZE + HCL_DATA_HEADER + claims.length, true);
  view.setUint32(at.requestType, HCL_REQUEST_AK_CERT, true);
  bytes.set(signedReport(options, claims), at.hardwareReport);
  view.setUint32(at.dataSize, HCL_DATA_HEADER + claims.length, true);
  view.setUint32(at.dataVersion, HCL_DATA_VERSION, true);
  view.setUint32(at.reportType, HCL_REPORT_SNP, true);
  view.setUint32(at.hashType, HCL_HASH_SHA256, true);
  view.setUint32(at.claimsSize, claims.length, true);
  bytes.set(claims, at.claims);
  return bytes;
}

/** Members in the order in which OpenHCL writes them. */
function runtimeClaims({ akKey, ekKey, vmId, userData, changes = {} }: HclReportOptions): Uint8Array {
  const padded = new Uint8Array(64);
  padded.set(userData ?? []);
  return utf8(
    JSON.stringify({
      keys: [
        { kid: 'HCLAkPub', key_ops: ['sign'], kty: 'RSA', e: akKey.e, n: akKey.n },
        { kid: 'HCLEkPub', key_ops: ['encrypt'], kty: 'RSA', e: ekKey.e, n: ekKey.n },
      ],
      'vm-configuration': {
        'console-enabled': true,
        'secure-boot': changes.secureBoot ?? true,
        'tpm-enabled': changes.tpmEnabled ?? true,
        'tpm-persisted': false,
        vmUniqueId: vmId.toUpperCase(),
      },
      'user-data': toHex(padded).toUpperCase(),
    }),
  );
}

function signedReport({ pki, tcb = pki.tcb, changes = {} }: HclReportOptions, claims: Uint8Array): Uint8Array {
  const { generation } = pki;
  const bytes = new Uint8Array(SNP_REPORT_SIZE);
  const view = new DataView(bytes.buffer);
  const at = SNP_OFFSETS;
  const version = changes.reportVersion ?? 3;
  const raw = (parts: Tcb | undefined): Uint8Array => encodeTcb(parts ?? pki.tcb, generation);

  view.setUint32(at.version, version, true);
  view.setUint32(at.guestSvn, changes.guestSvn ?? AZURE_GUEST_SVN, true);
  view.setUint32(at.policy, guestPolicy(changes), true);
  bytes.set(fromHex(FAMILY_ID), at.familyId);
  bytes.set(fromHex(IMAGE_ID), at.imageId);
  view.setUint32(at.vmpl, changes.vmpl ?? 0, true);
  view.setUint32(at.signatureAlgorithm, ECDSA_P384_SHA384, true);
  bytes.set(raw(changes.currentTcb), at.currentTcb);
  view.setUint32(at.platformInfo, changes.platformInfo ?? (1 << ALIAS_CHECK_BIT) | (1 << SMT_BIT), true);
  view.setUint32(at.flags, changes.flags ?? 0, true);
  bytes.set(changes.reportData ?? sha256(claims), at.reportData);
  bytes.set(fromHex(changes.measurement ?? MEASUREMENT), at.measurement);
  bytes.set(fromHex(changes.idKeyDigest ?? STRICT_ENVIRONMENT.idKeyDigests[0] ?? ''), at.idKeyDigest);
  bytes.set(sha256(utf8(`report id of ${pki.chipId}`)), at.reportId);
  bytes.set(fromHex(changes.reportIdMa ?? 'ff'.repeat(32)), at.reportIdMa);
  bytes.set(raw(tcb), at.reportedTcb);
  if (version >= 3) bytes.set(changes.cpuid ?? CPUIDS[generation], at.cpuid);
  bytes.set(fromHex(changes.chipId ?? pki.chipId), at.chipId);
  bytes.set(raw(changes.committedTcb), at.committedTcb);
  bytes.set(FIRMWARE_VERSION, at.currentVersion);
  bytes.set(FIRMWARE_VERSION, at.committedVersion);
  bytes.set(raw(changes.launchTcb), at.launchTcb);

  const signature = sign('sha384', bytes.subarray(0, at.signature), {
    key: createPrivateKey(pki.vcekKey),
    dsaEncoding: 'ieee-p1363',
  });
  bytes.set(Uint8Array.from(signature.subarray(0, 48)).reverse(), at.signature);
  bytes.set(Uint8Array.from(signature.subarray(48)).reverse(), at.signatureS);
  return bytes;
}

function guestPolicy(changes: Partial<HardwareChanges>): number {
  const bit = (set: boolean | undefined, index: number): number => (set === true ? 1 << index : 0);
  const policy = changes.policy ?? AZURE_POLICY;
  return policy | bit(changes.debug, POLICY_BITS.debug) | bit(changes.migration, POLICY_BITS.migrationAgent);
}

/** As in reports of 2025: family and image id name the paravisor's build, not a secret. */
const FAMILY_ID = '02212000000000000000000000000000';
const IMAGE_ID = '02000000000000000000000000000000';
/** Not a digest of anything: no list of Microsoft's paravisors is public. */
const MEASUREMENT = 'e0'.repeat(48);
/** 1.55.29, stored as build, minor, major. */
const FIRMWARE_VERSION = Uint8Array.of(29, 55, 1);
