import { concat } from '../crypto/bytes.ts';
import { SecureTrainingError } from '../errors.ts';
import { TpmError } from './tpm-error.ts';
import type { TpmTransport } from './transport.ts';
import { frame, PASSWORD_SESSION, RESPONSE, Reader, sized, TAG, u8, u32 } from './wire.ts';

/** A TPM that still says "retry" after this many times is busy with something else. */
const MAX_RETRIES = 20;
/** TPMA_SESSION continueSession: the TPM keeps the session, whoever opened it flushes it. */
const CONTINUE_SESSION = 0x01;

export interface TpmCommand {
  readonly code: number;
  /** What error messages call it. */
  readonly what: string;
  /** @default [] */
  readonly handles?: readonly number[];
  /**
   * One authorisation for each handle that needs one: a policy session, or `PASSWORD_SESSION` for the empty password.
   * @default - the command carries no authorisation area
   */
  readonly auths?: readonly number[];
  /** @default - no parameters */
  readonly parameters?: Uint8Array;
  /**
   * Whether the response carries a handle before its parameters.
   * @default false
   */
  readonly returnsHandle?: boolean;
}

export interface TpmResponse {
  /** 0 unless the command returns one. */
  readonly handle: number;
  readonly parameters: Reader;
}

/**
 * Sends one command and unpacks the response; sends it again when the TPM says so.
 * @throws {@link TpmError} for any other response code than success
 */
export async function runCommand(transport: TpmTransport, command: TpmCommand): Promise<TpmResponse> {
  const { code, what, handles = [], auths, parameters = new Uint8Array(), returnsHandle = false } = command;
  const tag = auths ? TAG.sessions : TAG.noSessions;
  const area = auths ? authorisationArea(auths) : new Uint8Array();
  const request = frame(tag, code, ...handles.map(u32), area, parameters);
  for (let attempt = 0; ; attempt++) {
    const response = await transport.transceive(request);
    try {
      const reader = new Reader(response, `response to ${what}`);
      const [responseTag, size, responseCode] = [reader.u16(), reader.u32(), reader.u32()];
      if (size !== response.length) throw malformed(`response to ${what} says ${size} bytes, has ${response.length}`);
      if (responseCode === RESPONSE.retry && attempt < MAX_RETRIES) continue;
      if (responseCode !== RESPONSE.success) throw new TpmError(what, responseCode);
      if (responseTag !== tag) throw malformed(`response to ${what} has tag ${responseTag}, wanted ${tag}`);
      const handle = returnsHandle ? reader.u32() : 0;
      const body = auths ? reader.bytes(reader.u32()) : reader.rest();
      return { handle, parameters: new Reader(body, `response to ${what}`) };
    } finally {
      // It may hold a decrypted key; the reader has its own copy.
      response.fill(0);
    }
  }
}

/** TPMS_AUTH_COMMAND for each: handle, no nonce, continueSession for a policy session, no HMAC or password (Part 2 section 10.13.2). */
function authorisationArea(auths: readonly number[]): Uint8Array {
  const one = (session: number): Uint8Array =>
    concat(u32(session), sized(), u8(session === PASSWORD_SESSION ? 0 : CONTINUE_SESSION), sized());
  const area = concat(...auths.map(one));
  return concat(u32(area.length), area);
}

function malformed(message: string): SecureTrainingError {
  return new SecureTrainingError('EVIDENCE_MALFORMED', message);
}
