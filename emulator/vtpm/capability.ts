import { concat } from '../../runtime/crypto/bytes.ts';
import { PCR_COUNT } from '../../runtime/tpm/structures.ts';
import { u8, u32 } from '../../runtime/tpm/wire.ts';
import type { Call, Outcome } from './call.ts';
import { MAX_NV_BUFFER } from './nv.ts';
import { endOf, parameterRefusal, RC } from './refusal.ts';

/** TPM_CAP_TPM_PROPERTIES, Part 2 section 6.12: the only capability that a client of this TPM asks for. */
const TPM_PROPERTIES = 6;

/** TPM_PT, Part 2 section 6.13, ascending. */
const PROPERTIES: readonly (readonly [property: number, value: number])[] = [
  [0x100, 0x322e3000], // TPM_PT_FAMILY_INDICATOR: "2.0" and a zero
  [0x112, PCR_COUNT], // TPM_PT_PCR_COUNT
  [0x12c, MAX_NV_BUFFER], // TPM_PT_NV_BUFFER_MAX
];

/** TPM2_GetCapability, Part 3 section 30.2: properties from the one asked for, as many as asked for. */
export function getCapability({ parameters }: Call): Outcome {
  const capability = parameters.u32();
  const from = parameters.u32();
  const count = parameters.u32();
  endOf(parameters);
  if (capability !== TPM_PROPERTIES) throw parameterRefusal(1, RC.value);
  const left = PROPERTIES.filter(([property]) => property >= from);
  const given = left.slice(0, count);
  const values = given.map(([property, value]) => concat(u32(property), u32(value)));
  const moreData = u8(left.length > given.length ? 1 : 0);
  return { parameters: concat(moreData, u32(capability), u32(given.length), ...values) };
}
