import { randomBytes } from 'node:crypto';
import { concat, equalBytes } from '../../runtime/crypto/bytes.ts';
import { extendPolicyPcr } from '../../runtime/tpm/structures.ts';
import { ALGORITHM, COMMAND, HIERARCHY, sized, u32 } from '../../runtime/tpm/wire.ts';
import { certify, quote } from './attest.ts';
import type { Role } from './authorisation.ts';
import type { Call, Outcome } from './call.ts';
import { getCapability } from './capability.ts';
import { createPrimary } from './create-primary.ts';
import { rsaDecrypt } from './decrypt.ts';
import { nvDefineSpace, nvRead, nvReadPublic, nvUndefineSpace, nvWrite } from './nv-commands.ts';
import { readSelections, writeSelections } from './pcrs.ts';
import { endOf, parameterRefusal, RC, Refusal } from './refusal.ts';

/** Kinds of handle a command takes; `nothing` is TPM_RH_NULL, for options this TPM does not have. */
export type HandleKind = 'hierarchy' | 'key' | 'pcr' | 'nvAuth' | 'nvIndex' | 'policySession' | 'nothing';

export interface CommandDefinition {
  readonly handles: readonly HandleKind[];
  /** Roles of the authorisations, for as many of the first handles. */
  readonly roles: readonly Role[];
  readonly run: (call: Call) => Outcome | Promise<Outcome>;
}

/** Most digests of one PCR_Read (TPML_DIGEST). */
const MAX_READ = 8;
/** TPM_SE_POLICY and TPM_SE_TRIAL: the only sessions there are; nothing here needs an HMAC. */
const SESSION_TYPES: readonly number[] = [0x01, 0x03];
const TRIAL_SESSION_TYPE = 0x03;
/**
 * What Microsoft's client does beyond the runtime (Tss2Util.cpp): it asks how many PCRs there are and for a policy's digest, and
 * puts a renewed certificate of the attestation key into NV.
 */
const FOREIGN = {
  nvUndefineSpace: 0x122,
  nvDefineSpace: 0x12a,
  nvWrite: 0x137,
  getCapability: 0x17a,
  policyGetDigest: 0x189,
} as const;

/** Everything this TPM can do. Part 3 of the specification describes each command. */
export const COMMANDS: ReadonlyMap<number, CommandDefinition> = new Map<number, CommandDefinition>([
  [COMMAND.createPrimary, { handles: ['hierarchy'], roles: ['user'], run: createPrimary }],
  [COMMAND.certify, { handles: ['key', 'key'], roles: ['admin', 'user'], run: certify }],
  [COMMAND.quote, { handles: ['key'], roles: ['user'], run: quote }],
  [COMMAND.rsaDecrypt, { handles: ['key'], roles: ['user'], run: rsaDecrypt }],
  [COMMAND.readPublic, { handles: ['key'], roles: [], run: readPublic }],
  [COMMAND.flushContext, { handles: [], roles: [], run: flushContext }],
  [COMMAND.startAuthSession, { handles: ['nothing', 'nothing'], roles: [], run: startAuthSession }],
  [COMMAND.policyPcr, { handles: ['policySession'], roles: [], run: policyPcr }],
  [FOREIGN.policyGetDigest, { handles: ['policySession'], roles: [], run: policyGetDigest }],
  [FOREIGN.getCapability, { handles: [], roles: [], run: getCapability }],
  [COMMAND.pcrRead, { handles: [], roles: [], run: pcrRead }],
  [COMMAND.pcrExtend, { handles: ['pcr'], roles: ['user'], run: pcrExtend }],
  [COMMAND.nvRead, { handles: ['nvAuth', 'nvIndex'], roles: ['user'], run: nvRead }],
  [FOREIGN.nvDefineSpace, { handles: ['hierarchy'], roles: ['user'], run: nvDefineSpace }],
  [FOREIGN.nvUndefineSpace, { handles: ['hierarchy', 'nvIndex'], roles: ['user'], run: nvUndefineSpace }],
  [FOREIGN.nvWrite, { handles: ['nvAuth', 'nvIndex'], roles: ['user'], run: nvWrite }],
  [COMMAND.nvReadPublic, { handles: ['nvIndex'], roles: [], run: nvReadPublic }],
  [COMMAND.getRandom, { handles: [], roles: [], run: getRandom }],
]);

function getRandom({ parameters }: Call): Outcome {
  // No more than the largest digest at a time.
  const length = Math.min(parameters.u16(), 32);
  endOf(parameters);
  return { parameters: sized(Uint8Array.from(randomBytes(length))) };
}

function readPublic({ keys: [key], parameters }: Call): Outcome {
  endOf(parameters);
  if (!key) throw new Refusal(RC.handle);
  return { parameters: concat(key.publicArea, sized(key.name), sized(key.qualifiedName)) };
}

function flushContext({ space, parameters }: Call): Outcome {
  const handle = parameters.u32();
  endOf(parameters);
  if (!space.flush(handle)) throw parameterRefusal(1, RC.handle);
  return {};
}

function startAuthSession({ space, parameters }: Call): Outcome {
  const nonce = parameters.sized();
  const salt = parameters.sized();
  const type = parameters.u8();
  const symmetric = parameters.u16();
  // A session that encrypts parameters would go on with key size and mode.
  if (symmetric !== ALGORITHM.null) throw parameterRefusal(4, RC.symmetric);
  const hash = parameters.u16();
  endOf(parameters);
  if (nonce.length < 16 || nonce.length > 32) throw parameterRefusal(1, RC.size);
  if (salt.length > 0) throw parameterRefusal(2, RC.value);
  if (!SESSION_TYPES.includes(type)) throw parameterRefusal(3, RC.value);
  if (hash !== ALGORITHM.sha256) throw parameterRefusal(5, RC.hash);
  const nonceTpm = Uint8Array.from(randomBytes(nonce.length));
  const handle = space.openSession(type === TRIAL_SESSION_TYPE, nonceTpm);
  return { handle, parameters: sized(nonceTpm) };
}

/** Part 3 section 23.7: the session's digest comes to state the PCRs' present values. */
function policyPcr({ tpm, space, handles: [handle = 0], parameters }: Call): Outcome {
  const expected = parameters.sized();
  const selections = readSelections(parameters, 2);
  endOf(parameters);
  const session = space.session(handle);
  if (!session) throw new Refusal(RC.handleNotLoaded);
  const { updateCounter } = tpm.pcrs;
  const digest = tpm.pcrs.digest(selections);
  if (session.trial) {
    // It opens nothing, so it may speak of values that the PCRs do not have.
    const stated = expected.length > 0 ? expected : digest;
    session.policyDigest = extendPolicyPcr(session.policyDigest, writeSelections(selections), stated);
    return {};
  }
  if (session.pcrCounter !== undefined && session.pcrCounter !== updateCounter) throw new Refusal(RC.pcrChanged);
  if (expected.length > 0 && !equalBytes(expected, digest)) throw parameterRefusal(1, RC.value);
  session.policyDigest = extendPolicyPcr(session.policyDigest, writeSelections(selections), digest);
  session.pcrCounter = updateCounter;
  return {};
}

/** Part 3 section 23.6. */
function policyGetDigest({ space, handles: [handle = 0], parameters }: Call): Outcome {
  endOf(parameters);
  const session = space.session(handle);
  if (!session) throw new Refusal(RC.handleNotLoaded);
  return { parameters: sized(session.policyDigest) };
}

/** Part 3 section 22.4: the first eight of the selected PCRs; the response says which ones they are. */
function pcrRead({ tpm, parameters }: Call): Outcome {
  const selections = readSelections(parameters, 1);
  endOf(parameters);
  let left = MAX_READ;
  const read = selections.map(({ algorithm, pcrs }) => {
    const taken = pcrs.slice(0, left);
    left -= taken.length;
    return { algorithm, pcrs: taken };
  });
  const values = read.flatMap(({ pcrs }) => pcrs).map((pcr) => sized(tpm.pcrs.read(pcr)));
  return { parameters: concat(u32(tpm.pcrs.updateCounter), writeSelections(read), u32(values.length), ...values) };
}

function pcrExtend({ tpm, handles: [pcr = 0], parameters }: Call): Outcome {
  const count = parameters.u32();
  if (count > 3) throw parameterRefusal(1, RC.size);
  const digests = Array.from({ length: count }, () => {
    if (parameters.u16() !== ALGORITHM.sha256) throw parameterRefusal(1, RC.hash);
    return parameters.bytes(32);
  });
  endOf(parameters);
  // TPM_RH_NULL is allowed, and means nothing is extended.
  if (pcr !== HIERARCHY.null) for (const digest of digests) tpm.pcrs.extend(pcr, digest);
  return {};
}
