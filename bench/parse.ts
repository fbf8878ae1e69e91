import { spawnSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { createAmdPki, vcekChain } from '../emulator/amd-pki.ts';
import { buildHclReport } from '../emulator/hardware.ts';
import { type EvidenceBundle, serialiseEvidence } from '../runtime/attestation/evidence.ts';
import { concat, toHex } from '../runtime/crypto/bytes.ts';
import { rsaPublicJwk } from '../runtime/crypto/jwk.ts';
import { ATTEST_MAGIC, buildPcrSelection } from '../runtime/tpm/structures.ts';
import { sized, TAG, u16, u32 } from '../runtime/tpm/wire.ts';
import type { Measure } from './measure.ts';

/** A young generation that 200 parses do not fill: nothing is collected between the two readings. */
const FLAGS = ['--expose-gc', '--min-semi-space-size=128', '--max-semi-space-size=128'];
const ENTRY = fileURLToPath(new URL('./parse-entry.ts', import.meta.url));
const ALL_PCRS = Array.from({ length: 24 }, (_, pcr) => pcr);

/** Bytes that reading a bundle of evidence allocates; the baseline is the size of its text. What OpenSSL holds does not count. */
export async function benchParse(): Promise<Measure[]> {
  const bundle = JSON.stringify(await someEvidence());
  const { status, stdout, stderr } = spawnSync(process.execPath, [...FLAGS, ENTRY], {
    input: bundle,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`nothing was measured:\n${stderr}`);
  const value = Number(stdout);
  const method = 'growth of heap and external memory over 200 parses in a process that collects no garbage meanwhile';
  return [
    { name: 'parse-evidence', value, unit: 'bytes', baseline: bundle.length, ratio: value / bundle.length, method },
  ];
}

/** As large as a machine's, keys of AMD's size included; nobody verifies it. */
async function someEvidence(): Promise<EvidenceBundle> {
  const pki = await createAmdPki('Milan');
  const key = rsaPublicJwk(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey);
  const vmId = '0a1b2c3d-0001-4002-8003-a0b0c0d0e0f0';
  const message = concat(
    u32(ATTEST_MAGIC),
    u16(TAG.attestQuote),
    sized(randomBytes(34)),
    sized(randomBytes(32)),
    randomBytes(8 + 4 + 4 + 1 + 8),
    buildPcrSelection(ALL_PCRS),
    sized(randomBytes(32)),
  );
  return serialiseEvidence({
    hclReport: buildHclReport({ akKey: key, ekKey: key, vmId, pki }),
    vcekChain: vcekChain(pki),
    quote: {
      message,
      signature: randomBytes(256),
      pcrs: Object.fromEntries(ALL_PCRS.map((pcr) => [pcr, toHex(randomBytes(32))])),
    },
  });
}
