import { sha256 } from '../../runtime/crypto/bytes.ts';
import type { RsaPublicJwk } from '../../runtime/crypto/jwk.ts';
import { SecureTrainingError } from '../../runtime/errors.ts';
import { AZURE_VTPM } from '../../runtime/tpm/azure-handles.ts';
import { PCR_COUNT, publicAreaJwk } from '../../runtime/tpm/structures.ts';
import type { TpmTransport } from '../../runtime/tpm/transport.ts';
import { frame, HEADER_LENGTH, HIERARCHY, MAX_BUFFER, Reader, TAG, u32 } from '../../runtime/tpm/wire.ts';
import { authorise, finishAuthorisations, readAuthorisations } from './authorisation.ts';
import type { TpmState } from './call.ts';
import { COMMANDS, type HandleKind } from './commands.ts';
import { KeyStore, type ProvisionedKeys, type TpmKey } from './keys.ts';
import { type NvContent, NvStore } from './nv.ts';
import { type BootPcrs, EMULATED_BOOT_PCRS, PcrBank } from './pcrs.ts';
import { handleRefusal, RC, Refusal } from './refusal.ts';
import { FIRST_POLICY_SESSION, FIRST_TRANSIENT, Space } from './space.ts';

/** Handle types: the top byte of a handle, Part 2 section 7.2. */
const HANDLE_TYPE = {
  nvIndex: 0x01,
  policySession: FIRST_POLICY_SESSION >>> 24,
  transient: FIRST_TRANSIENT >>> 24,
  persistent: 0x81,
};
const HIERARCHIES: readonly number[] = Object.values(HIERARCHY);

export interface SoftwareTpmOptions extends ProvisionedKeys {
  /**
   * NV indexes, see `AZURE_VTPM`; a function makes the bytes anew for each read at offset 0.
   * @default - none
   */
  readonly nv?: ReadonlyMap<number, NvContent>;
  /**
   * PCRs after the first boot.
   * @default EMULATED_BOOT_PCRS
   */
  readonly pcrs?: BootPcrs;
}

/**
 * The vTPM of an Azure confidential VM in software: real keys, policies, quotes and refusals. It protects nothing, as
 * its keys are in this process; it is what lets the trainer run unchanged where there is no confidential VM.
 */
export class SoftwareTpm {
  readonly #state: TpmState;
  readonly #spaces = new Set<Space>();
  #space = new Space();
  #bootPcrs: BootPcrs;
  #last: Promise<unknown> = Promise.resolve();

  constructor({ nv = new Map(), pcrs = EMULATED_BOOT_PCRS, ...keys }: SoftwareTpmOptions = {}) {
    const start = performance.now();
    this.#bootPcrs = pcrs;
    this.#state = {
      keys: new KeyStore(keys),
      nv: new NvStore(nv, [AZURE_VTPM.akCertificateIndex]),
      pcrs: new PcrBank(pcrs),
      resetCount: 1,
      clock: () => BigInt(Math.floor(performance.now() - start)),
    };
    this.#state.keys.prepareSpare();
  }

  /** Answers any bytes with a well-formed response: what is wrong with a command is told by its response code. Rejects only if an NV function does. */
  process(command: Uint8Array): Promise<Uint8Array> {
    return this.#queue(() => this.#answer(command, this.#space));
  }

  /** A client of its own, as each opening of /dev/tpmrm0 is: its keys and sessions are its own, and gone when it closes. */
  connect(): TpmTransport {
    const space = new Space();
    this.#spaces.add(space);
    return {
      transceive: (command) => this.#queue(() => this.#answer(command, space)),
      close: async () => {
        this.#spaces.delete(space);
        await this.#queue(async () => space.clear());
      },
    };
  }

  /** The next boot: PCRs as after boot, nothing loaded, new keys in the null hierarchy. */
  reset(pcrs: BootPcrs = this.#bootPcrs): Promise<void> {
    return this.#queue(async () => {
      this.#bootPcrs = pcrs;
      this.#state.pcrs = new PcrBank(pcrs);
      this.#state.resetCount++;
      this.#state.keys.reset();
      for (const space of [this.#space, ...this.#spaces]) space.clear();
      this.#state.keys.prepareSpare();
    });
  }

  /** What the HCL report names HCLAkPub and HCLEkPub. */
  async publicKeys(): Promise<{ ak: RsaPublicJwk; ek: RsaPublicJwk }> {
    const read = async (handle: number): Promise<RsaPublicJwk> => {
      const key = await this.#state.keys.persistent(handle);
      if (!key) throw new TypeError(`no key at 0x${handle.toString(16)}`);
      return publicAreaJwk(key.publicArea);
    };
    return { ak: await read(AZURE_VTPM.akHandle), ek: await read(AZURE_VTPM.ekHandle) };
  }

  #queue<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#last.then(work);
    this.#last = next.catch(() => {});
    return next;
  }

  async #answer(command: Uint8Array, space: Space): Promise<Uint8Array> {
    try {
      return await this.#execute(command, space);
    } catch (error) {
      if (error instanceof Refusal) return frame(TAG.noSessions, error.responseCode);
      // The reader's word for a structure that ends too soon.
      if (error instanceof SecureTrainingError && error.code === 'EVIDENCE_MALFORMED') {
        return frame(TAG.noSessions, RC.insufficient);
      }
      throw error;
    }
  }

  /** The order of Part 1 section 18.9: header, handles, authorisations, parameters. */
  async #execute(command: Uint8Array, space: Space): Promise<Uint8Array> {
    if (command.length < HEADER_LENGTH || command.length > MAX_BUFFER) throw new Refusal(RC.commandSize);
    const body = new Reader(command, 'command');
    const tag = body.u16();
    if (tag !== TAG.noSessions && tag !== TAG.sessions) throw new Refusal(RC.badTag);
    if (body.u32() !== command.length) throw new Refusal(RC.commandSize);
    const code = body.u32();
    const definition = COMMANDS.get(code);
    if (!definition) throw new Refusal(RC.commandCode);

    const handles = definition.handles.map(() => body.u32());
    const keys = await Promise.all(
      definition.handles.map((kind, i) => this.#resolve(kind, handles[i] ?? 0, i + 1, space)),
    );
    const { roles } = definition;
    if (tag === TAG.noSessions && roles.length > 0) throw new Refusal(RC.authMissing);
    const auths = tag === TAG.sessions ? readAuthorisations(body, roles.length) : [];
    const parameters = body.rest();
    // Part 1 section 18.7: an object goes in by its name, everything else by its handle. NV indexes, whose name is another,
    // have no policy here, so that no HMAC is ever computed over one.
    const names = handles.map((handle, i) => keys[i]?.name ?? u32(handle));
    const commandHash = sha256(u32(code), ...names, parameters);
    for (const [i, auth] of auths.entries()) {
      const key = keys[i];
      const entity = { handle: handles[i] ?? 0, ...(key && { key }) };
      authorise(i + 1, auth, entity, roles[i] ?? 'user', space, this.#state.pcrs, commandHash);
    }
    const call = { tpm: this.#state, space, handles, keys, parameters: new Reader(parameters, 'parameters') };
    const outcome = await definition.run(call);

    const handle = outcome.handle === undefined ? new Uint8Array() : u32(outcome.handle);
    const out = outcome.parameters ?? new Uint8Array();
    if (tag === TAG.noSessions) return frame(tag, 0, handle, out);
    const responseHash = sha256(u32(0), u32(code), out);
    return frame(tag, 0, handle, u32(out.length), out, finishAuthorisations(auths, space, responseHash));
  }

  /** Checks that handle number `n` is of the kind the command wants and that there is something behind it. */
  async #resolve(kind: HandleKind, handle: number, n: number, space: Space): Promise<TpmKey | undefined> {
    const type = handle >>> 24;
    const fits: Readonly<Record<HandleKind, boolean>> = {
      hierarchy: HIERARCHIES.includes(handle),
      key: type === HANDLE_TYPE.transient || type === HANDLE_TYPE.persistent,
      pcr: handle < PCR_COUNT || handle === HIERARCHY.null,
      nvAuth: handle === HIERARCHY.owner || handle === HIERARCHY.platform || type === HANDLE_TYPE.nvIndex,
      nvIndex: type === HANDLE_TYPE.nvIndex,
      policySession: type === HANDLE_TYPE.policySession,
      nothing: handle === HIERARCHY.null,
    };
    if (!fits[kind]) throw handleRefusal(n, RC.value);
    if (type === HANDLE_TYPE.nvIndex && !this.#state.nv.has(handle)) throw handleRefusal(n, RC.handle);
    if (kind === 'policySession' && !space.session(handle)) throw new Refusal(RC.handleNotLoaded + n - 1);
    if (kind !== 'key') return undefined;
    const key = type === HANDLE_TYPE.transient ? space.key(handle) : await this.#state.keys.persistent(handle);
    if (key) return key;
    throw type === HANDLE_TYPE.transient ? new Refusal(RC.handleNotLoaded + n - 1) : handleRefusal(n, RC.handle);
  }
}
