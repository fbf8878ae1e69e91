import { stat } from 'node:fs/promises';
import { connectTpmSocket, openTpmDevice, type TpmTransport } from './transport.ts';

/** Opens a TPM by its path: the kernel's device, or the socket of a software one. What it says is checked either way. */
export async function openTpm(path: string): Promise<TpmTransport> {
  const found = await stat(path).catch(() => undefined);
  return found?.isSocket() ? connectTpmSocket(path) : openTpmDevice(path);
}
