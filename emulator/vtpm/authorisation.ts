import { createHmac, randomBytes } from 'node:crypto';
import { concat, equalBytes } from '../../runtime/crypto/bytes.ts';
import { ATTRIBUTE, HIERARCHY, PASSWORD_SESSION, Reader, sized, u8 } from '../../runtime/tpm/wire.ts';
import type { TpmKey } from './keys.ts';
import type { PcrBank } from './pcrs.ts';
import { RC, Refusal, sessionRefusal } from './refusal.ts';
import { emptySession, FIRST_POLICY_SESSION, type PolicySession, type Space } from './space.ts';

const CONTINUE_SESSION = 0x01;
/** Smallest TPMS_AUTH_COMMAND: handle, empty nonce, attributes, empty HMAC. */
const MIN_AUTH_LENGTH = 9;
const MAX_AUTHS = 3;

/** USER is the use of a key, ADMIN what concerns the key itself (Part 1 section 19.2). */
export type Role = 'user' | 'admin';

/** TPMS_AUTH_COMMAND, Part 2 section 10.13.2. */
export interface Authorisation {
  readonly session: number;
  readonly nonceCaller: Uint8Array;
  readonly attributes: number;
  /** Password of a password session; HMAC of a policy session, which may be left out as its key is empty. */
  readonly secret: Uint8Array;
}

/** What stands behind a handle that wants an authorisation. */
export type Entity = { readonly handle: number; readonly key?: TpmKey };

/** Reads the authorisation area in front of a command's parameters. */
export function readAuthorisations(body: Reader, wanted: number): Authorisation[] {
  const size = body.remaining < 4 ? 0 : body.u32();
  if (size < MIN_AUTH_LENGTH) throw new Refusal(RC.authSize);
  if (size > body.remaining) throw new Refusal(RC.size);
  const area = new Reader(body.bytes(size), 'authorisation area');
  const auths: Authorisation[] = [];
  while (area.remaining > 0) {
    if (auths.length === MAX_AUTHS) throw new Refusal(RC.authSize);
    const session = area.u32();
    auths.push({ session, nonceCaller: area.sized(), attributes: area.u8(), secret: area.sized() });
  }
  if (auths.length < wanted) throw new Refusal(RC.authMissing);
  // Further sessions could only encrypt parameters or audit, which this TPM does not do.
  if (auths.length > wanted) throw sessionRefusal(wanted + 1, RC.attributes);
  return auths;
}

/** Checks authorisation number `n` for its entity; returns the policy session that was used, if one was. */
export function authorise(
  n: number,
  auth: Authorisation,
  entity: Entity,
  role: Role,
  space: Space,
  pcrs: PcrBank,
  commandHash: Uint8Array,
): PolicySession | undefined {
  if ((auth.attributes & ~CONTINUE_SESSION) !== 0) throw sessionRefusal(n, RC.attributes);
  if (auth.session === PASSWORD_SESSION) {
    checkPassword(n, auth, entity, role);
    return undefined;
  }
  if (auth.session >>> 24 !== FIRST_POLICY_SESSION >>> 24) throw sessionRefusal(n, RC.value);
  const session = space.session(auth.session);
  if (!session) throw new Refusal(RC.sessionNotLoaded + n - 1);
  if (session.trial) throw sessionRefusal(n, RC.attributes);
  const policy = entity.key?.area.authPolicy ?? new Uint8Array();
  if (policy.length === 0) throw new Refusal(RC.authUnavailable);
  if (session.pcrCounter !== undefined && session.pcrCounter !== pcrs.updateCounter) throw new Refusal(RC.pcrChanged);
  if (!equalBytes(policy, session.policyDigest)) throw sessionRefusal(n, RC.policyFail);
  if (auth.secret.length > 0) {
    const wanted = sessionHmac(commandHash, auth.nonceCaller, session.nonceTpm, auth.attributes);
    if (!equalBytes(auth.secret, wanted)) throw sessionRefusal(n, RC.badAuth);
  }
  return session;
}

/**
 * Part 1 section 19.6.5. Sessions here are neither salted nor bound, and no policy asks for a password: the key is empty. Then
 * a client may leave the HMAC out (Part 1 section 19.6.8); the TCG's software stack computes it all the same.
 */
function sessionHmac(hash: Uint8Array, newer: Uint8Array, older: Uint8Array, attributes: number): Uint8Array {
  const hmac = createHmac('sha256', '').update(hash).update(newer).update(older).update(u8(attributes));
  return Uint8Array.from(hmac.digest());
}

/** A password opens a key for use only with userWithAuth, and for administration unless adminWithPolicy (Part 1 section 19.7). */
function checkPassword(n: number, { secret }: Authorisation, { handle, key }: Entity, role: Role): void {
  if (key) {
    const { attributes } = key.area;
    const available =
      role === 'user' ? (attributes & ATTRIBUTE.userWithAuth) !== 0 : (attributes & ATTRIBUTE.adminWithPolicy) === 0;
    if (!available) throw new Refusal(RC.authUnavailable);
  }
  // The paravisor keeps the platform hierarchy to itself: the guest never knows its password.
  const known = handle !== HIERARCHY.platform;
  if (!known || !equalBytes(withoutTrailingZeros(secret), key?.authValue ?? new Uint8Array())) {
    throw sessionRefusal(n, RC.badAuth);
  }
}

/** Authorisation values compare without their trailing zeros (Part 1 section 19.6.4.3). */
export function withoutTrailingZeros(value: Uint8Array): Uint8Array {
  return value.slice(0, value.findLastIndex((byte) => byte !== 0) + 1);
}

/** Ends or resets the sessions a successful command used; gives the response's authorisation area. */
export function finishAuthorisations(
  auths: readonly Authorisation[],
  space: Space,
  responseHash: Uint8Array,
): Uint8Array {
  return concat(
    ...auths.map(({ session, nonceCaller, attributes, secret }) => {
      // A password authorisation always says continueSession in the response (Part 1 section 19.4).
      if (session === PASSWORD_SESSION) return concat(sized(), u8(CONTINUE_SESSION), sized());
      const open = space.session(session);
      const nonceTpm = Uint8Array.from(randomBytes(open?.nonceTpm.length ?? 16));
      if ((attributes & CONTINUE_SESSION) === 0) space.flush(session);
      else if (open) Object.assign(open, emptySession(), { nonceTpm });
      // Who sent none gets none.
      const hmac = secret.length === 0 ? secret : sessionHmac(responseHash, nonceTpm, nonceCaller, attributes);
      return concat(sized(nonceTpm), u8(attributes), sized(hmac));
    }),
  );
}
