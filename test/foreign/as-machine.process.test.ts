import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Emulator, startEmulator } from '../../emulator/start.ts';
import { toHex } from '../../runtime/crypto/bytes.ts';
import { Tpm } from '../../runtime/tpm/tpm.ts';

const launcher = fileURLToPath(new URL('./as_machine.py', import.meta.url));
/** The sample of Microsoft's C++ guest attestation client, built as docs/foreign-clients.md says. */
const client = process.env.GUEST_ATTESTATION_CLIENT ?? '';

function hasNamespaces(): boolean {
  try {
    execFileSync('unshare', ['--map-root-user', '--mount', '--net', 'ip', 'link', 'set', 'lo', 'up'], {
      stdio: 'ignore',
    });
    execFileSync('python3', ['-c', 'import socket; socket.send_fds'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Looks at what any program would find there: no proxy, no library, no variable of ours. */
const LOOK = `
import json, os, ssl, urllib.request
device = os.open("/dev/tpmrm0", os.O_RDWR)
os.write(device, bytes.fromhex("8001000000140000017e00000001000b03010000"))
pcr = os.read(device, 4096)
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
ask = lambda path: direct.open(urllib.request.Request("http://169.254.169.254/metadata/" + path, headers={"Metadata": "true"}))
print(json.dumps({
    "pcr0": pcr[-32:].hex(),
    "vmId": ask("instance/compute/vmId?api-version=2019-03-11&format=text").read().decode(),
    "certification": sorted(json.load(ask("THIM/amd/certification"))),
    "roots": len(ssl.create_default_context(cafile="/etc/ssl/certs/ca-certificates.crt").get_ca_certs()),
    "log": len(open("/sys/kernel/security/tpm0/binary_bios_measurements", "rb").read()),
}))
`;

describe.skipIf(!hasNamespaces())('a program that expects an Azure confidential VM', () => {
  const directory = mkdtempSync(join(tmpdir(), 'ctrain-as-machine-test-'));
  const stateDir = join(directory, 'state');
  let emulator: Emulator;
  const run = async (...program: string[]) =>
    (await promisify(execFile)('python3', [launcher, stateDir, ...program], { cwd: directory, timeout: 60_000 }))
      .stdout;

  beforeAll(async () => {
    const bundle = join(directory, 'bundle.tar');
    writeFileSync(bundle, 'no bundle: the machine is not started');
    emulator = await startEmulator({ stateDir, bundle, rootKeyBits: 2048 });
  }, 120_000);
  afterAll(async () => {
    await emulator?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  test('finds the TPM, the metadata service, the event log and the roots where Azure has them', async () => {
    expect(JSON.parse(await run('python3', '-c', LOOK))).toEqual({
      pcr0: toHex((await new Tpm(emulator.firmware.connect()).pcrRead([0])).get(0) ?? new Uint8Array()),
      vmId: emulator.state.vmId,
      certification: ['cacheControl', 'certificateChain', 'tcbm', 'vcekCert'],
      roots: 1,
      log: emulator.firmware.eventLog().length,
    });
  });

  test('ends with the code of the program', async () => {
    await expect(run('sh', '-c', 'exit 7')).rejects.toMatchObject({ code: 7 });
  });

  test.skipIf(client === '')('Microsoft’s C++ guest attestation client gets a token', async () => {
    const { attestationAuthority } = emulator.deployment.owner;
    const token = await run(client, '-a', attestationAuthority, '-n', 'a nonce', '-o', 'token');
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    expect(claims).toMatchObject({
      iss: attestationAuthority,
      'x-ms-azurevm-vmid': emulator.state.vmId.toUpperCase(),
      'x-ms-runtime': { 'client-payload': { nonce: Buffer.from('a nonce').toString('base64') } },
    });
  });
});
