import { concat, fromHex, sha256, utf8 } from './crypto/bytes.ts';

/** Value that PCR 15 is extended with: this bundle, this agreement, this run. So a boot serves one run, and a receipt names it. */
export function runMeasurement(bundleSha256: string, agreementDigest: string, runId: string): Uint8Array {
  return sha256(concat(utf8('run/v1'), fromHex(bundleSha256), fromHex(agreementDigest), sha256(utf8(runId))));
}
