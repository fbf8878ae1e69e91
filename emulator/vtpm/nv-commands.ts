import { concat, sha256 } from '../../runtime/crypto/bytes.ts';
import { ALGORITHM, HIERARCHY, Reader, sized, u16, u32 } from '../../runtime/tpm/wire.ts';
import type { Call, Outcome } from './call.ts';
import { MAX_NV_BUFFER, NV_ATTRIBUTE } from './nv.ts';
import { endOf, handleRefusal, parameterRefusal, RC, Refusal } from './refusal.ts';

/** What the guest may say of an index it defines: who reads and writes it, and that no dictionary attack counts. */
const GUEST_ATTRIBUTES = 0x02060006;

/** TPM2_NV_Read, Part 3 section 31.13. */
export async function nvRead({ tpm, handles: [authHandle, index = 0], parameters }: Call): Promise<Outcome> {
  const size = parameters.u16();
  const offset = parameters.u16();
  endOf(parameters);
  if (authHandle !== HIERARCHY.owner) throw new Refusal(RC.nvAuthorisation);
  return { parameters: sized(await tpm.nv.read(index, size, offset)) };
}

/** TPM2_NV_ReadPublic, Part 3 section 31.6: TPMS_NV_PUBLIC (Part 2 section 13.5) and the name of the index. */
export async function nvReadPublic({ tpm, handles: [index = 0], parameters }: Call): Promise<Outcome> {
  endOf(parameters);
  const attributes = tpm.nv.attributes(index);
  const area = concat(u32(index), u16(ALGORITHM.sha256), u32(attributes), sized(), u16(await tpm.nv.size(index)));
  return { parameters: concat(sized(area), sized(u16(ALGORITHM.sha256), sha256(area))) };
}

/** TPM2_NV_DefineSpace, Part 3 section 31.3, for plain indexes without a password or policy. */
export function nvDefineSpace({ tpm, handles: [hierarchy], parameters }: Call): Outcome {
  const password = parameters.sized();
  const area = new Reader(parameters.sized(), 'NV public area');
  endOf(parameters);
  const [index, hash, attributes, policy, size] = [area.u32(), area.u16(), area.u32(), area.sized(), area.u16()];
  if (area.remaining > 0) throw parameterRefusal(2, RC.size);
  if (hierarchy !== HIERARCHY.owner) throw handleRefusal(1, RC.value);
  if (index >>> 24 !== 0x01) throw parameterRefusal(2, RC.value);
  if (hash !== ALGORITHM.sha256) throw parameterRefusal(2, RC.hash);
  if (password.length > 0 || policy.length > 0) throw parameterRefusal(1, RC.size);
  const { ownerRead, ownerWrite } = NV_ATTRIBUTE;
  const foreign = (attributes & ~GUEST_ATTRIBUTES) !== 0;
  if (foreign || (attributes & ownerRead) === 0 || (attributes & ownerWrite) === 0)
    throw parameterRefusal(2, RC.attributes);
  tpm.nv.define(index, attributes, size);
  return {};
}

/** TPM2_NV_UndefineSpace, Part 3 section 31.4. */
export function nvUndefineSpace({ tpm, handles: [hierarchy, index = 0], parameters }: Call): Outcome {
  endOf(parameters);
  if (hierarchy !== HIERARCHY.owner) throw handleRefusal(1, RC.value);
  tpm.nv.undefine(index);
  return {};
}

/** TPM2_NV_Write, Part 3 section 31.7. */
export function nvWrite({ tpm, handles: [authHandle, index = 0], parameters }: Call): Outcome {
  const bytes = parameters.sized();
  const offset = parameters.u16();
  endOf(parameters);
  if (authHandle !== HIERARCHY.owner) throw new Refusal(RC.nvAuthorisation);
  if (bytes.length > MAX_NV_BUFFER) throw parameterRefusal(1, RC.size);
  tpm.nv.write(index, bytes, offset);
  return {};
}
