/**
 * What the emulated machine starts for benchmark `environment`: the trainer's steps 6 to 9 (design section 5) over and
 * over, from the sources. Arguments are those of every entry script: BUNDLE_DIR MACHINE.json PLACE.json.
 */
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type EmulatorNetworkOptions, emulatorNetwork } from '../emulator/network.ts';
import { type EvidenceBundle, parseEvidence } from '../runtime/attestation/evidence.ts';
import { acceptEvidence } from '../runtime/attestation/verdict.ts';
import { azureServices } from '../runtime/azure/trainer-services.ts';
import { fromBase64, sha256 } from '../runtime/crypto/bytes.ts';
import { ecPublicJwk } from '../runtime/crypto/jwk.ts';
import { type EnvironmentOptions, SecureEnvironment } from '../runtime/environment.ts';
import { parseMachineConfig } from '../runtime/machine-config.ts';
import { takeRun } from '../runtime/queue.ts';
import { runMeasurement } from '../runtime/run-measurement.ts';
import { verifyAgreement } from '../runtime/statements/agreement.ts';
import { openTpm } from '../runtime/tpm/open.ts';
import { measureRun } from '../runtime/tpm/run-measurement.ts';
import { Tpm } from '../runtime/tpm/tpm.ts';
import type { TrustAnchors } from '../runtime/trust.ts';
import { type EnvironmentTimes, MARK } from './environment-times.ts';

const ROUNDS = 11;

const [, configPath = '', placePath = ''] = process.argv.slice(2);
const place = JSON.parse(readFileSync(placePath, 'utf8')) as EmulatorNetworkOptions & { readonly trust: TrustAnchors };
const machine = parseMachineConfig(readFileSync(configPath, 'utf8'));
const services = azureServices(emulatorNetwork(place), machine);
const run = await takeRun(services.runs, machine.vmResourceId);
if (run === undefined) throw new Error('no run was queued');
const { runId } = run.request;
const { agreement, digest } = verifyAgreement(run.agreement, { trainerSha256: machine.bundleSha256, now: new Date() });
const measurement = runMeasurement(machine.bundleSha256, digest, runId);
const tpm = new Tpm(await openTpm(machine.vtpm));
await measureRun(tpm, measurement);
const options: EnvironmentOptions = {
  tpm,
  services,
  trust: place.trust,
  agreement,
  agreementDigest: digest,
  runId,
  receiptKey: ecPublicJwk(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey),
  runMeasurement: measurement,
  now: () => new Date(),
};
const times: Record<keyof EnvironmentTimes, number[]> = { established: [], verified: [] };
for (let round = 0; round < ROUNDS; round++) {
  const start = performance.now();
  const { evidence } = await SecureEnvironment.establish(options);
  times.established.push(performance.now() - start);
  judge(evidence);
}
await tpm.close();
await run.release();
console.log(MARK + JSON.stringify(times));

function judge(evidence: EvidenceBundle): void {
  const { nonce = '' } = evidence;
  const start = performance.now();
  acceptEvidence(parseEvidence(evidence), {
    trust: place.trust,
    at: new Date(),
    policy: agreement.environment,
    expected: { nonce: fromBase64(nonce), pcr15: sha256(new Uint8Array(32), measurement) },
  });
  times.verified.push(performance.now() - start);
}
