import { createPrivateKey } from 'node:crypto';
import type { Tcb } from '../runtime/catalogue.ts';
import { fromBase64 } from '../runtime/crypto/bytes.ts';
import { type RsaPublicJwk, rsaPublicJwk } from '../runtime/crypto/jwk.ts';
import { AZURE_VTPM } from '../runtime/tpm/azure-handles.ts';
import type { TpmTransport } from '../runtime/tpm/transport.ts';
import type { AmdPki } from './amd-pki.ts';
import { emulatedEventLog, pcrsAfter } from './event-log.ts';
import { buildHclReport, type HardwareChanges } from './hardware.ts';
import type { EmulatorState } from './state.ts';
import type { NvContent } from './vtpm/nv.ts';
import type { BootPcrs } from './vtpm/pcrs.ts';
import { SoftwareTpm } from './vtpm/software-tpm.ts';

/** How a machine differs from a genuine one, for tests of refusals. Takes effect with the next boot. */
export interface MachineChanges {
  /** @default - a current Azure host */
  readonly hardware?: Partial<HardwareChanges>;
  /**
   * Reported TCB.
   * @default that of the VCEK
   */
  readonly tcb?: Tcb;
  /**
   * Another chip: an old VCEK, or one below a foreign root.
   * @default - the emulator's
   */
  readonly amd?: AmdPki;
  /**
   * Attestation key that the report names.
   * @default - the vTPM's
   */
  readonly akKey?: RsaPublicJwk;
  /**
   * PCR values after boot. The event log stays as it is.
   * @default - what the event log replays to
   */
  readonly pcrs?: BootPcrs;
  /**
   * Replaces the event log that the machine shows; its PCRs stay as they are.
   * @default - as it is
   */
  readonly eventLog?: (genuine: Uint8Array) => Uint8Array;
  /**
   * Replaces the report, for example by one of another machine.
   * @default - as it is
   */
  readonly hclReport?: (genuine: Uint8Array) => Uint8Array;
  /**
   * Replaces what the attestation service says of this machine, for example by what it said of an earlier boot.
   * @default - as it is
   */
  readonly claims?: (genuine: Claims) => Claims;
  /**
   * Stands between the trainer and its vTPM.
   * @default - nothing
   */
  readonly command?: (genuine: Uint8Array) => Uint8Array;
}

export type Claims = Readonly<Record<string, unknown>>;

/** What the platform puts into a virtual machine: the vTPM with its report, and the chip's certificates. */
export class Firmware {
  readonly tpm: SoftwareTpm;
  readonly #state: EmulatorState;
  readonly #ak: RsaPublicJwk;
  readonly #ek: RsaPublicJwk;
  #next: MachineChanges;
  #changes: MachineChanges = {};

  constructor(state: EmulatorState, changes: MachineChanges) {
    const [akKey, ekKey] = [createPrivateKey(state.akKey), createPrivateKey(state.ekKey)];
    this.#state = state;
    this.#next = changes;
    this.#ak = rsaPublicJwk(akKey);
    this.#ek = rsaPublicJwk(ekKey);
    const nv = new Map<number, NvContent>([
      [AZURE_VTPM.hclReportIndex, () => this.#report()],
      [AZURE_VTPM.userDataIndex, new Uint8Array(64)],
      [AZURE_VTPM.akCertificateIndex, fromBase64(state.akCertificate)],
    ]);
    this.tpm = new SoftwareTpm({ akKey, ekKey, nv });
  }

  /** From the next boot on; replaces earlier changes. */
  change(changes: MachineChanges): void {
    this.#next = changes;
  }

  async boot(): Promise<void> {
    this.#changes = this.#next;
    await this.tpm.reset(this.#changes.pcrs ?? pcrsAfter(this.#bootLog()));
  }

  /** What the kernel shows as `binary_bios_measurements` after this boot. */
  eventLog(): Uint8Array {
    const genuine = this.#bootLog();
    return this.#changes.eventLog?.(genuine) ?? genuine;
  }

  /** What the attestation service is to say. */
  claims(genuine: Claims): Claims {
    return this.#changes.claims?.(genuine) ?? genuine;
  }

  /** A client of the vTPM, as an opening of its device is. */
  connect(): TpmTransport {
    const client = this.tpm.connect();
    return { ...client, transceive: (command) => client.transceive(this.#changes.command?.(command) ?? command) };
  }

  /** What the THIM endpoint answers. `tcbm` is the VCEK's TCB as one number, microcode first. */
  certification(): { readonly vcekCert: string; readonly certificateChain: string; readonly tcbm: string } {
    const { vcek, ask, ark, tcb } = this.#amd();
    const parts = [tcb.microcode, tcb.snp, 0, 0, 0, 0, tcb.tee, tcb.bootloader];
    return {
      vcekCert: vcek,
      certificateChain: ask + ark,
      tcbm: parts.map((part) => part.toString(16).padStart(2, '0')).join(''),
    };
  }

  #bootLog(): Uint8Array {
    return emulatedEventLog({ secureBoot: this.#changes.hardware?.secureBoot ?? true });
  }

  #report(): Uint8Array {
    const { hardware, tcb, akKey = this.#ak, hclReport } = this.#changes;
    const genuine = buildHclReport({
      akKey,
      ekKey: this.#ek,
      vmId: this.#state.vmId,
      pki: this.#amd(),
      ...(tcb === undefined ? {} : { tcb }),
      ...(hardware === undefined ? {} : { changes: hardware }),
    });
    return hclReport?.(genuine) ?? genuine;
  }

  #amd(): AmdPki {
    return this.#changes.amd ?? this.#state.amd;
  }
}
