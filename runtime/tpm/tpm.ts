import { concat } from '../crypto/bytes.ts';
import { SecureTrainingError } from '../errors.ts';
import { runCommand, type TpmCommand, type TpmResponse } from './command.ts';
import { buildPcrSelection, objectName, parsePcrSelections } from './structures.ts';
import type { TpmTransport } from './transport.ts';
import { ALGORITHM, COMMAND, HIERARCHY, PASSWORD_SESSION, Reader, sized, u8, u16, u32 } from './wire.ts';

/** CGA reads NV in chunks of 512 ("2048 does not work"); every TPM allows that much. */
const NV_CHUNK = 512;
/** TPM_SE_POLICY, Part 2 section 6.11. */
const POLICY_SESSION_TYPE = 0x01;
export type DecryptScheme = 'oaep-sha1' | 'oaep-sha256' | 'oaep-sha384' | 'rsaes';

/** TPMT_RSA_DECRYPT, Part 2 section 11.2.4.4. */
const DECRYPT_SCHEMES: Readonly<Record<DecryptScheme, Uint8Array>> = {
  'oaep-sha1': concat(u16(ALGORITHM.oaep), u16(ALGORITHM.sha1)),
  'oaep-sha256': concat(u16(ALGORITHM.oaep), u16(ALGORITHM.sha256)),
  'oaep-sha384': concat(u16(ALGORITHM.oaep), u16(ALGORITHM.sha384)),
  rsaes: u16(ALGORITHM.rsaes),
};

/** Signed TPMS_ATTEST bytes and the raw RSASSA signature over them. */
export interface Attestation {
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
}

export interface TpmObject {
  readonly handle: number;
  /** TPM2B_PUBLIC. */
  readonly publicArea: Uint8Array;
  readonly name: Uint8Array;
}

/** The TPM 2.0 commands that a confidential VM needs (Part 3: Commands), over any transport. */
export class Tpm {
  readonly #transport: TpmTransport;

  constructor(transport: TpmTransport) {
    this.#transport = transport;
  }

  /** Sends one command; for what has no method of its own here. */
  run(command: TpmCommand): Promise<TpmResponse> {
    return runCommand(this.#transport, command);
  }

  async getRandom(length: number): Promise<Uint8Array> {
    let out = new Uint8Array();
    while (out.length < length) {
      // A TPM gives no more than its largest digest at a time.
      const wanted = Math.min(32, length - out.length);
      const { parameters } = await this.run({ code: COMMAND.getRandom, what: 'GetRandom', parameters: u16(wanted) });
      const bytes = parameters.sized();
      if (bytes.length === 0 || bytes.length > wanted)
        throw malformed(`GetRandom gave ${bytes.length} bytes, wanted ${wanted}`);
      out = new Uint8Array(concat(out, bytes));
    }
    return out;
  }

  /** SHA-256 bank, ascending. All values are of one moment: reading starts again when a PCR moves meanwhile. */
  async pcrRead(pcrs: readonly number[]): Promise<Map<number, Uint8Array>> {
    const values = new Map<number, Uint8Array>();
    let counter: number | undefined;
    let missing = [...new Set(pcrs)];
    while (missing.length > 0) {
      const { parameters } = await this.run({
        code: COMMAND.pcrRead,
        what: 'PCR_Read',
        parameters: buildPcrSelection(missing),
      });
      const updateCounter = parameters.u32();
      const read = parsePcrSelections(parameters).find(({ algorithm }) => algorithm === ALGORITHM.sha256)?.pcrs ?? [];
      if (parameters.u32() !== read.length || !read.some((pcr) => missing.includes(pcr))) {
        throw malformed(`PCR_Read gives none of pcr ${missing.join(', ')} in the SHA-256 bank`);
      }
      if (counter !== undefined && counter !== updateCounter) values.clear();
      counter = updateCounter;
      for (const pcr of read) values.set(pcr, parameters.sized());
      missing = [...new Set(pcrs)].filter((pcr) => !values.has(pcr));
    }
    return new Map([...values].sort(([a], [b]) => a - b));
  }

  async pcrExtend(pcr: number, digest: Uint8Array): Promise<void> {
    await this.run({
      code: COMMAND.pcrExtend,
      what: 'PCR_Extend',
      handles: [pcr],
      auths: [PASSWORD_SESSION],
      parameters: concat(u32(1), u16(ALGORITHM.sha256), digest),
    });
  }

  /** Loads a key derived from the hierarchy's seed and the template (a TPM2B_PUBLIC): the same template gives the same key. */
  async createPrimary(hierarchy: keyof typeof HIERARCHY, template: Uint8Array): Promise<TpmObject> {
    const { handle, parameters } = await this.run({
      code: COMMAND.createPrimary,
      what: 'CreatePrimary',
      handles: [HIERARCHY[hierarchy]],
      auths: [PASSWORD_SESSION],
      // Empty password and no data of ours in the sensitive part; no outside info; no creation PCRs.
      parameters: concat(sized(sized(), sized()), template, sized(), u32(0)),
      returnsHandle: true,
    });
    const publicArea = sized(parameters.sized());
    return { handle, publicArea, name: objectName(publicArea) };
  }

  async readPublic(handle: number): Promise<TpmObject> {
    const { parameters } = await this.run({ code: COMMAND.readPublic, what: 'ReadPublic', handles: [handle] });
    const publicArea = sized(parameters.sized());
    return { handle, publicArea, name: objectName(publicArea) };
  }

  /** Has the key `signer` state that the TPM holds the key `handle`. */
  async certify(handle: number, signer: number, nonce: Uint8Array): Promise<Attestation> {
    const { parameters } = await this.run({
      code: COMMAND.certify,
      what: 'Certify',
      handles: [handle, signer],
      auths: [PASSWORD_SESSION, PASSWORD_SESSION],
      parameters: concat(sized(nonce), u16(ALGORITHM.null)),
    });
    return readAttestation(parameters);
  }

  async quote(signer: number, nonce: Uint8Array, pcrs: readonly number[]): Promise<Attestation> {
    const { parameters } = await this.run({
      code: COMMAND.quote,
      what: 'Quote',
      handles: [signer],
      auths: [PASSWORD_SESSION],
      parameters: concat(sized(nonce), u16(ALGORITHM.null), buildPcrSelection(pcrs)),
    });
    return readAttestation(parameters);
  }

  /** The caller flushes what it gets. */
  async startPolicySession(): Promise<number> {
    const nonce = await this.getRandom(16);
    const { handle } = await this.run({
      code: COMMAND.startAuthSession,
      what: 'StartAuthSession',
      handles: [HIERARCHY.null, HIERARCHY.null],
      parameters: concat(sized(nonce), sized(), u8(POLICY_SESSION_TYPE), u16(ALGORITHM.null), u16(ALGORITHM.sha256)),
      returnsHandle: true,
    });
    return handle;
  }

  /** Has the session state the present values of these PCRs. */
  async policyPcr(session: number, pcrs: readonly number[]): Promise<void> {
    const parameters = concat(sized(), buildPcrSelection(pcrs));
    await this.run({ code: COMMAND.policyPcr, what: 'PolicyPCR', handles: [session], parameters });
  }

  async rsaDecrypt(handle: number, session: number, cipher: Uint8Array, scheme: DecryptScheme): Promise<Uint8Array> {
    const { parameters } = await this.run({
      code: COMMAND.rsaDecrypt,
      what: 'RSA_Decrypt',
      handles: [handle],
      auths: [session],
      parameters: concat(sized(cipher), DECRYPT_SCHEMES[scheme], sized()),
    });
    try {
      return parameters.sized();
    } finally {
      parameters.wipe();
    }
  }

  /** Unloads a key or a session. */
  async flush(handle: number): Promise<void> {
    await this.run({ code: COMMAND.flushContext, what: 'FlushContext', parameters: u32(handle) });
  }

  async nvReadPublic(index: number): Promise<{ attributes: number; dataSize: number }> {
    const { parameters } = await this.run({
      code: COMMAND.nvReadPublic,
      what: nvName('NV_ReadPublic', index),
      handles: [index],
    });
    const reader = new Reader(parameters.sized(), 'TPMS_NV_PUBLIC');
    reader.bytes(6); // the index again and its name algorithm
    const attributes = reader.u32();
    reader.sized(); // its policy
    return { attributes, dataSize: reader.u16() };
  }

  /** The whole area, read by the owner with the empty password; only the first chunk is at offset 0. */
  async nvRead(index: number): Promise<Uint8Array> {
    const { dataSize } = await this.nvReadPublic(index);
    const out = new Uint8Array(dataSize);
    for (let offset = 0; offset < dataSize; offset += NV_CHUNK) {
      const wanted = Math.min(NV_CHUNK, dataSize - offset);
      const { parameters } = await this.run({
        code: COMMAND.nvRead,
        what: nvName('NV_Read', index),
        handles: [HIERARCHY.owner, index],
        auths: [PASSWORD_SESSION],
        parameters: concat(u16(wanted), u16(offset)),
      });
      const bytes = parameters.sized();
      if (bytes.length !== wanted) throw malformed(`NV_Read gave ${bytes.length} bytes, wanted ${wanted}`);
      out.set(bytes, offset);
    }
    return out;
  }

  close(): Promise<void> {
    return this.#transport.close();
  }
}

/** TPM2B_ATTEST, then a TPMT_SIGNATURE that must be RSASSA with SHA-256: nothing else is verified anywhere. */
function readAttestation(parameters: Reader): Attestation {
  const message = parameters.sized();
  const [algorithm, hash] = [parameters.u16(), parameters.u16()];
  if (algorithm !== ALGORITHM.rsassa || hash !== ALGORITHM.sha256) {
    throw malformed(`vTPM signs with algorithm ${algorithm} and hash ${hash}, wanted RSASSA (20) and SHA-256 (11)`);
  }
  return { message, signature: parameters.sized() };
}

function nvName(command: string, index: number): string {
  return `${command} of 0x${index.toString(16).padStart(8, '0')}`;
}

function malformed(message: string): SecureTrainingError {
  return new SecureTrainingError('EVIDENCE_MALFORMED', message);
}
