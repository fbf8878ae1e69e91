/**
 * Names and shapes that infrastructure and runtime share, written once.
 * Imported by constructs, stacks, runtime, scripts and emulator; imports nothing.
 */

/** Blob containers. `datasets`: sealed objects and manifests; `runs`: the queue and what runs leave; `trainer`: bundles by digest, revocation lists. */
export const CONTAINERS = ['datasets', 'runs', 'trainer'] as const;
export type Container = (typeof CONTAINERS)[number];

/** Name of the first release key of a data owner; the digest of its release policy is appended (`training-key-1a2b3c4d`). */
export const TRAINING_KEY = 'training-key';

/** File name of a trainer bundle in the `trainer` container, under its SHA-256. */
export const TRAINER_BUNDLE = 'trainer.tar';

/** File of the trainer bundle that holds custom modules, where there are any: what the worker loads and an agreement names. */
export const CUSTOM_CODE_FILE = 'custom.mjs';

/** File name of the Node binary that runs it, in the same container under its own SHA-256. */
export const NODE_BINARY = 'node';

/** SHA-256 (hex) of the Node binary that bundles of this version are made for: 24.21.0 for linux-x64. */
export const NODE_SHA256 = '7fde7b8afa198da66257f42ee2001d874c7355631e6d1579a5fb5ef1f246df4c';

/** Where Linux shows the TCG event log of the boot (drivers/char/tpm/eventlog). Only root reads it unless the image says otherwise. */
export const EVENT_LOG_PATH = '/sys/kernel/security/tpm0/binary_bios_measurements';

/**
 * Node flags the trainer is started with: no debugger by signal, key material of private keys in locked memory that no
 * core dump contains, no code from strings.
 */
export const TRAINER_FLAGS = [
  '--secure-heap=1048576',
  '--disable-sigusr1',
  '--disable-proto=delete',
  '--disallow-code-generation-from-strings',
  '--report-exclude-env',
] as const;

/** Blob of AMD's revocation list of a generation, in the `trainer` container: signed by AMD's root, so any hand may carry it. */
export function revocationListBlob(generation: Generation): string {
  return `revocation/${generation}.crl`;
}

/** Column types are those of Azure Monitor custom tables. */
export interface TableColumn {
  readonly name: string;
  readonly type: 'string' | 'datetime' | 'int' | 'long' | 'real' | 'boolean' | 'dynamic';
}

/** Custom log tables: name without `_CL`; the stream of a table is `Custom-NAME`. */
export const TABLES = {
  TrainingMetrics: [
    { name: 'TimeGenerated', type: 'datetime' },
    { name: 'RunId', type: 'string' },
    { name: 'Step', type: 'long' },
    { name: 'Metric', type: 'string' },
    { name: 'Value', type: 'real' },
  ],
  TrainingSecurity: [
    { name: 'TimeGenerated', type: 'datetime' },
    { name: 'RunId', type: 'string' },
    { name: 'Machine', type: 'string' },
    { name: 'Agreement', type: 'string' },
    { name: 'Event', type: 'string' },
    { name: 'Outcome', type: 'string' },
    { name: 'Detail', type: 'string' },
    { name: 'KeyId', type: 'string' },
    { name: 'Manifest', type: 'string' },
    { name: 'Head', type: 'string' },
  ],
} as const satisfies Readonly<Record<string, readonly TableColumn[]>>;
export type TableName = keyof typeof TABLES;

/** Security events the trainer sends, in the order of an undisturbed run. */
export type SecurityEventName =
  | 'run.started'
  | 'environment.verified'
  | 'attestation.accepted'
  | 'key.released'
  | 'data.opened'
  | 'object.opened'
  | 'checkpoint.opened'
  | 'checkpoint.skipped'
  | 'checkpoint.sealed'
  | 'model.sealed'
  | 'run.finished'
  | 'run.refused';

/** EPYC generations that Azure offers as SEV-SNP confidential VMs. */
export const GENERATIONS = ['Milan', 'Genoa', 'Turin'] as const;
export type Generation = (typeof GENERATIONS)[number];

/** Firmware security versions of one TCB. Compare part by part: a high one never makes up for a low one. `fmc` exists on Turin, 0 elsewhere. */
export interface Tcb {
  readonly bootloader: number;
  readonly tee: number;
  readonly snp: number;
  readonly microcode: number;
  readonly fmc: number;
}

/** What to do about AMD's revocation list, which machines without a way out of their network get from storage. */
export const REVOCATION_LIST_RULES = ['if-shown', 'required'] as const;

/** What a machine must be. No field is optional: one left out would leave a fact unchecked. */
export interface EnvironmentPolicy {
  /** Accepted CPU generations. */
  readonly generations: readonly Generation[];
  /** Lowest accepted reported, committed and launch TCB of each generation. */
  readonly minimumTcb: Readonly<Record<Generation, Tcb>>;
  /** Lowest accepted version of the SNP report structure. */
  readonly minimumReportVersion: number;
  /** SHA-384 digests (hex) of the id keys that may have signed the paravisor. */
  readonly idKeyDigests: readonly string[];
  /** Lowest accepted security version of the paravisor. */
  readonly minimumGuestSvn: number;
  /**
   * Whether evidence is refused for want of AMD's revocation list. One that is shown always counts, so one that has run out
   * stops training until somebody replaces it or takes it away; `required` also stops whoever withholds it.
   */
  readonly revocationList: (typeof REVOCATION_LIST_RULES)[number];
  /** BadRAM: whether firmware must have checked memory for aliases (platform_info bit 5). */
  readonly requireAliasCheck: boolean;
  /** PCRs that the quote must cover, SHA-256 bank. */
  readonly quotedPcrs: readonly number[];
  /** Lower-case ids of the virtual machines that may run; `any` leaves it to the caller's role. */
  readonly vmIds: readonly string[] | 'any';
}

const NO_TCB: Tcb = { bootloader: 0, tee: 0, snp: 0, microcode: 0, fmc: 0 };

/**
 * The lowest values seen on current Azure hosts; SNP parts answer EntrySign (AMD-SB-3019).
 * Turin is listed but not accepted: no evidence of it on Azure was seen yet.
 */
export const STRICT_ENVIRONMENT: EnvironmentPolicy = {
  generations: ['Milan', 'Genoa'],
  minimumTcb: {
    Milan: { ...NO_TCB, bootloader: 4, snp: 24, microcode: 219 },
    Genoa: { ...NO_TCB, bootloader: 10, snp: 23, microcode: 84 },
    Turin: NO_TCB,
  },
  minimumReportVersion: 3,
  idKeyDigests: ['942fd93ebde6ea7a96efadeafc60f1c6b3d10e703b1dafd7555b92f7f3d32d0e006767648cba5b102af3d65756af4177'],
  minimumGuestSvn: 10,
  revocationList: 'if-shown',
  requireAliasCheck: true,
  quotedPcrs: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
  vmIds: 'any',
};

/** What the stacks output and the emulator writes: everything a command needs to find its way. Holds no secret. */
export interface Deployment {
  readonly version: 1;
  readonly kind: 'azure' | 'emulator';
  readonly tenantId: string;
  readonly subscriptionId: string;
  readonly resourceGroup: string;
  readonly owner: {
    /** For example `kv-owner.vault.azure.net`. */
    readonly vaultHost: string;
    /** Resource id of the vault: the scope of the release role. */
    readonly vaultId: string;
    /** Release keys, newest last; names carry the digest of their policy. */
    readonly keyNames: readonly string[];
    /** Issuer of attestation tokens, exactly as it appears in `iss`. */
    readonly attestationAuthority: string;
  };
  readonly storage: {
    readonly account: string;
    /** `https://ACCOUNT.blob.core.windows.net`, without a slash at the end. */
    readonly blobEndpoint: string;
  };
  readonly trainer: {
    /** Resource ids of the confidential VMs. */
    readonly vmIds: readonly string[];
    readonly identityClientId: string;
    readonly identityPrincipalId: string;
    /** SHA-256 (hex) of the bundle that the machines start. */
    readonly bundleSha256: string;
  };
  readonly logs: {
    /** Logs ingestion endpoint, without a slash at the end. */
    readonly endpoint: string;
    /** Immutable id of the data collection rule. */
    readonly ruleId: string;
  };
  readonly environment: EnvironmentPolicy;
  /** Only where `kind` is `emulator`. */
  readonly emulator?: {
    /** PEM file with the emulator's TLS root. */
    readonly caFile: string;
    /** Host name (as it appears in URLs) to TCP port on 127.0.0.1. */
    readonly routes: Readonly<Record<string, number>>;
    /** JSON file that `ctrain verify --emulator-roots` takes. */
    readonly rootsFile: string;
    /** The machine's serial console. */
    readonly serialFile: string;
    readonly processId: number;
    /** Files of rows, one a line, as Azure's tables would have them: what trainers said, what vault and storage were asked. */
    readonly logs: { readonly trainer: string; readonly vault: string; readonly storage: string };
    /** Object id of whoever operates the emulator, owner and platform in one. */
    readonly operatorPrincipalId: string;
  };
}
