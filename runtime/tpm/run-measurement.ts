import { equalBytes, sha256, toHex } from '../crypto/bytes.ts';
import { SecureTrainingError } from '../errors.ts';
import type { Tpm } from './tpm.ts';

/** Zero after boot on Azure's Linux images, and, unlike 16 and 23, nobody in the guest can reset it. */
export const RUN_PCR = 15;
const DIGEST_LENGTH = 32;

/** Value of {@link RUN_PCR} in a boot that measured exactly this run. */
export function runMeasurement(digest: Uint8Array): Uint8Array {
  if (digest.length !== DIGEST_LENGTH) throw new RangeError(`run digest must have 32 bytes, got ${digest.length}`);
  return sha256(new Uint8Array(DIGEST_LENGTH), digest);
}

/**
 * Records in the vTPM which program works on which agreement: one run a boot. A restart of the same run finds its own value.
 * @throws {@link SecureTrainingError} `ATTESTATION_REJECTED` when this boot has measured something else
 */
export async function measureRun(tpm: Tpm, digest: Uint8Array): Promise<'extended' | 'already'> {
  const wanted = runMeasurement(digest);
  const before = await readRunPcr(tpm);
  if (equalBytes(before, wanted)) return 'already';
  if (before.every((byte) => byte === 0)) {
    await tpm.pcrExtend(RUN_PCR, digest);
    if (equalBytes(await readRunPcr(tpm), wanted)) return 'extended';
  }
  throw new SecureTrainingError(
    'ATTESTATION_REJECTED',
    `pcr ${RUN_PCR} already holds something else: found ${toHex(await readRunPcr(tpm))}, wanted zero or ${toHex(wanted)}`,
  );
}

async function readRunPcr(tpm: Tpm): Promise<Uint8Array> {
  return (await tpm.pcrRead([RUN_PCR])).get(RUN_PCR) ?? new Uint8Array();
}
