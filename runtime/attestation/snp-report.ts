import type { Generation, Tcb } from '../catalogue.ts';
import { concat, toHex } from '../crypto/bytes.ts';
import { malformed, unsupported } from './malformed.ts';

/** Size of an attestation report (SEV-SNP firmware ABI 56860, ATTESTATION_REPORT). */
export const SNP_REPORT_SIZE = 0x4a0;

/** Offsets of ATTESTATION_REPORT; every integer is little endian. Emulated hardware writes what is read here. */
export const SNP_OFFSETS = {
  version: 0x000,
  guestSvn: 0x004,
  policy: 0x008,
  familyId: 0x010,
  imageId: 0x020,
  vmpl: 0x030,
  signatureAlgorithm: 0x034,
  currentTcb: 0x038,
  platformInfo: 0x040,
  flags: 0x048,
  reportData: 0x050,
  measurement: 0x090,
  hostData: 0x0c0,
  idKeyDigest: 0x0e0,
  authorKeyDigest: 0x110,
  reportId: 0x140,
  reportIdMa: 0x160,
  reportedTcb: 0x180,
  cpuid: 0x188,
  chipId: 0x1a0,
  committedTcb: 0x1e0,
  currentVersion: 0x1e8,
  committedVersion: 0x1ec,
  launchTcb: 0x1f0,
  signature: 0x2a0,
  signatureS: 0x2e8,
} as const;

/** The only signature algorithm there is: ECDSA P-384 with SHA-384. */
export const ECDSA_P384_SHA384 = 1;

/** Bits of the guest policy (ABI table GUEST_POLICY). */
export const POLICY_BITS = { smt: 16, mustBeOne: 17, migrationAgent: 18, debug: 19, singleSocket: 20 } as const;

/** Bit of platform_info that says firmware looked for aliased memory (BadRAM, AMD-SB-3015). */
export const ALIAS_CHECK_BIT = 5;

const POLICY_KNOWN_BITS = 26;
const ECDSA_PART = 48;

/** The TCB of a report as it stands there: what its bytes mean depends on the CPU generation, see {@link decodeTcb}. */
export type RawTcb = Uint8Array;

/** What the bytes of an SNP report say. Fields are hex where they are names, bytes where they are compared or hashed. */
export interface SnpReport {
  readonly version: number;
  readonly guestSvn: number;
  readonly policy: {
    readonly smt: boolean;
    readonly migrationAgent: boolean;
    readonly debug: boolean;
    readonly singleSocket: boolean;
    readonly raw: number;
  };
  readonly familyId: string;
  readonly imageId: string;
  readonly vmpl: number;
  readonly currentTcb: RawTcb;
  /** Bits 0 to 31; those above are reserved. */
  readonly platformInfo: number;
  readonly aliasCheckComplete: boolean;
  readonly chipKeyMasked: boolean;
  /** 0 VCEK, 1 VLEK, 7 none. */
  readonly signingKey: number;
  readonly reportData: Uint8Array;
  readonly measurement: string;
  readonly hostData: string;
  readonly idKeyDigest: string;
  readonly authorKeyDigest: string;
  readonly reportId: string;
  /** All ff: no migration agent. */
  readonly reportIdMa: string;
  readonly reportedTcb: RawTcb;
  /** Since version 3. */
  readonly cpuid?: { readonly family: number; readonly model: number; readonly stepping: number };
  /** 64 bytes; on Turin the last 56 are zero. */
  readonly chipId: Uint8Array;
  readonly committedTcb: RawTcb;
  /** Firmware `major.minor.build`. */
  readonly currentVersion: string;
  readonly committedVersion: string;
  readonly launchTcb: RawTcb;
  /** What the signature covers. */
  readonly signedBytes: Uint8Array;
  /** r and s, big endian, 48 bytes each: IEEE P1363 as node:crypto takes it. */
  readonly signature: Uint8Array;
}

/**
 * Reads an SNP report, versions 2 to 5. Decides nothing: see verify.ts and appraise.ts.
 * @throws {@link SecureTrainingError} `EVIDENCE_MALFORMED`, also where a reserved field is not zero
 */
export function parseSnpReport(input: Uint8Array): SnpReport {
  if (input.length !== SNP_REPORT_SIZE) {
    throw malformed(`snp report has ${input.length} bytes, wanted ${SNP_REPORT_SIZE}`);
  }
  const bytes = Uint8Array.from(input);
  const view = new DataView(bytes.buffer);
  const u32 = (offset: number): number => view.getUint32(offset, true);
  const field = (offset: number, length: number): Uint8Array => bytes.subarray(offset, offset + length);
  const at = SNP_OFFSETS;

  const version = u32(at.version);
  if (version < 2 || version > 5) throw unsupported(`snp report version is ${version}, wanted 2 to 5`);
  const algorithm = u32(at.signatureAlgorithm);
  if (algorithm !== ECDSA_P384_SHA384) throw unsupported(`snp signature algorithm is ${algorithm}, wanted 1`);
  requireZero(bytes, version);

  const policy = u32(at.policy);
  if (!bit(policy, POLICY_BITS.mustBeOne)) throw malformed('snp guest policy has bit 17 clear, which is always one');
  if (policy >>> POLICY_KNOWN_BITS !== 0 || u32(at.policy + 4) !== 0) {
    throw malformed(`snp guest policy has reserved bits set: ${toHex(field(at.policy, 8))}`);
  }
  const flags = u32(at.flags);
  if (flags >>> 5 !== 0) throw malformed(`snp flags have reserved bits set: ${flags.toString(16)}`);
  const platformInfo = u32(at.platformInfo);

  return {
    version,
    guestSvn: u32(at.guestSvn),
    policy: {
      smt: bit(policy, POLICY_BITS.smt),
      migrationAgent: bit(policy, POLICY_BITS.migrationAgent),
      debug: bit(policy, POLICY_BITS.debug),
      singleSocket: bit(policy, POLICY_BITS.singleSocket),
      raw: policy,
    },
    familyId: toHex(field(at.familyId, 16)),
    imageId: toHex(field(at.imageId, 16)),
    vmpl: u32(at.vmpl),
    currentTcb: field(at.currentTcb, 8),
    platformInfo,
    aliasCheckComplete: bit(platformInfo, ALIAS_CHECK_BIT),
    chipKeyMasked: bit(flags, 1),
    signingKey: (flags >>> 2) & 7,
    reportData: field(at.reportData, 64),
    measurement: toHex(field(at.measurement, 48)),
    hostData: toHex(field(at.hostData, 32)),
    idKeyDigest: toHex(field(at.idKeyDigest, 48)),
    authorKeyDigest: toHex(field(at.authorKeyDigest, 48)),
    reportId: toHex(field(at.reportId, 32)),
    reportIdMa: toHex(field(at.reportIdMa, 32)),
    reportedTcb: field(at.reportedTcb, 8),
    ...(version < 3 ? {} : { cpuid: readCpuid(view) }),
    chipId: field(at.chipId, 64),
    committedTcb: field(at.committedTcb, 8),
    currentVersion: firmwareVersion(field(at.currentVersion, 3)),
    committedVersion: firmwareVersion(field(at.committedVersion, 3)),
    launchTcb: field(at.launchTcb, 8),
    signedBytes: bytes.subarray(0, at.signature),
    signature: concat(field(at.signature, ECDSA_PART).toReversed(), field(at.signatureS, ECDSA_PART).toReversed()),
  };
}

/** Where the parts of TCB_VERSION stand: byte offsets, by generation (ABI table TCB_VERSION and its Turin form). */
const TCB_LAYOUT: Readonly<Record<Generation, Partial<Readonly<Record<keyof Tcb, number>>>>> = {
  Milan: { bootloader: 0, tee: 1, snp: 6, microcode: 7 },
  Genoa: { bootloader: 0, tee: 1, snp: 6, microcode: 7 },
  Turin: { fmc: 0, bootloader: 1, tee: 2, snp: 3, microcode: 7 },
};

/** The parts of a TCB; bytes that its generation reserves are left out. */
export function decodeTcb(raw: RawTcb, generation: Generation): Tcb {
  const layout = TCB_LAYOUT[generation];
  const part = (name: keyof Tcb): number => raw[layout[name] ?? raw.length] ?? 0;
  return {
    bootloader: part('bootloader'),
    tee: part('tee'),
    snp: part('snp'),
    microcode: part('microcode'),
    fmc: part('fmc'),
  };
}

/** The eight bytes of a TCB, zero where its generation reserves them. */
export function encodeTcb(tcb: Tcb, generation: Generation): RawTcb {
  const layout = TCB_LAYOUT[generation];
  const raw = new Uint8Array(8);
  if (layout.fmc !== undefined) raw[layout.fmc] = tcb.fmc;
  if (layout.bootloader !== undefined) raw[layout.bootloader] = tcb.bootloader;
  if (layout.tee !== undefined) raw[layout.tee] = tcb.tee;
  if (layout.snp !== undefined) raw[layout.snp] = tcb.snp;
  if (layout.microcode !== undefined) raw[layout.microcode] = tcb.microcode;
  return raw;
}

/** CPU family and models of each generation (PPR; Genoa includes Bergamo and Siena). Venice, also family 0x1a, is none of them. */
const MODELS: readonly {
  readonly generation: Generation;
  readonly family: number;
  readonly from: number;
  readonly to: number;
}[] = [
  { generation: 'Milan', family: 0x19, from: 0x00, to: 0x0f },
  { generation: 'Genoa', family: 0x19, from: 0x10, to: 0x1f },
  { generation: 'Genoa', family: 0x19, from: 0xa0, to: 0xaf },
  { generation: 'Turin', family: 0x1a, from: 0x00, to: 0x11 },
];

/** Whether a report can come from a CPU of `generation`. Version 2 names no CPU: there only Turin's short chip id tells. */
export function isOfGeneration(report: SnpReport, generation: Generation): boolean {
  const { cpuid } = report;
  if (cpuid === undefined) return (generation === 'Turin') === report.chipId.subarray(8).every((byte) => byte === 0);
  return MODELS.some(
    (m) => m.generation === generation && m.family === cpuid.family && m.from <= cpuid.model && cpuid.model <= m.to,
  );
}

/** Fields the ABI fixes to zero: a set bit means another format than the one read here. */
function requireZero(bytes: Uint8Array, version: number): void {
  const reserved: readonly (readonly [number, number])[] = [
    [0x04c, 0x050],
    [version < 3 ? 0x188 : 0x18b, 0x1a0],
    [0x1eb, 0x1ec],
    [0x1ef, 0x1f0],
    [version < 5 ? 0x1f8 : 0x208, 0x2a0],
    [SNP_OFFSETS.signature + ECDSA_PART, SNP_OFFSETS.signatureS],
    [SNP_OFFSETS.signatureS + ECDSA_PART, SNP_REPORT_SIZE],
  ];
  for (const [from, to] of reserved) {
    const found = bytes.subarray(from, to).findIndex((byte) => byte !== 0);
    if (found >= 0) throw malformed(`snp report byte 0x${(from + found).toString(16)} is not zero, but reserved`);
  }
}

function readCpuid(view: DataView): { family: number; model: number; stepping: number } {
  const at = SNP_OFFSETS.cpuid;
  return { family: view.getUint8(at), model: view.getUint8(at + 1), stepping: view.getUint8(at + 2) };
}

/** Stored as build, minor, major. */
function firmwareVersion(bytes: Uint8Array): string {
  return [...bytes].reverse().join('.');
}

function bit(value: number, index: number): boolean {
  return ((value >>> index) & 1) === 1;
}
