import { AZURE_VTPM, createEphemeralKey, EphemeralKey } from '../../runtime/tpm/azure-vtpm.ts';
import { buildRsaPublic, parseRsaPublic, pcrPolicy } from '../../runtime/tpm/structures.ts';
import type { Tpm } from '../../runtime/tpm/tpm.ts';

/**
 * The ephemeral key as Microsoft's own client makes it: all-zero `unique`, so the same key until the TPM is reset. The
 * trainer never makes one: anybody in the guest could make it again. Here it is the control that a refusal is measured by.
 */
export async function createRemakeableKey(tpm: Tpm, pcrs: readonly number[]): Promise<EphemeralKey> {
  const random = await createEphemeralKey(tpm, pcrs);
  const area = parseRsaPublic(random.publicArea);
  await random.close();
  const authPolicy = pcrPolicy(await tpm.pcrRead(pcrs));
  const key = await tpm.createPrimary('null', buildRsaPublic({ ...area, authPolicy, unique: new Uint8Array(256) }));
  try {
    return new EphemeralKey(tpm, key, await tpm.certify(key.handle, AZURE_VTPM.akHandle, new Uint8Array()), pcrs);
  } catch (error) {
    await tpm.flush(key.handle);
    throw error;
  }
}
