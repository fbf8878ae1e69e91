import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { AK_TEMPLATE } from '../../../emulator/vtpm/keys.ts';
import { concat } from '../../../runtime/crypto/bytes.ts';
import { AZURE_VTPM } from '../../../runtime/tpm/azure-vtpm.ts';
import { buildRsaPublic } from '../../../runtime/tpm/structures.ts';
import { Tpm } from '../../../runtime/tpm/tpm.ts';
import { connectTpmSocket, type TpmTransport } from '../../../runtime/tpm/transport.ts';
import { HIERARCHY, PASSWORD_SESSION, sized, u16, u32 } from '../../../runtime/tpm/wire.ts';

/** Commands that only provisioning needs; the runtime never sends them. */
const PROVISION = { evictControl: 0x120, nvDefineSpace: 0x12a, nvWrite: 0x137 } as const;
/** ownerWrite, ownerRead, noDA. */
const NV_ATTRIBUTES = 0x02020002;

export function swtpmOnPath(): boolean {
  try {
    execFileSync('swtpm', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** A real TPM 2.0 implementation with what Azure provisions: the attestation key and the NV indexes. */
export async function startSwtpm(nv: ReadonlyMap<number, Uint8Array>): Promise<TpmTransport> {
  const folder = mkdtempSync(join(tmpdir(), 'ctrain-swtpm-'));
  const socketPath = join(folder, 'socket');
  const server = [
    '--server',
    `type=unixio,path=${socketPath}`,
    '--terminate',
    '--flags',
    'not-need-init,startup-clear',
  ];
  const child = spawn('swtpm', ['socket', '--tpm2', '--tpmstate', `dir=${folder}`, ...server], { stdio: 'ignore' });
  const transport = await connectWhenListening(socketPath, child);
  await provision(new Tpm(transport), nv);
  return {
    transceive: (command) => transport.transceive(command),
    // With --terminate it ends when its only client leaves, even one that was killed.
    close: async () => {
      const ended = exited(child);
      await transport.close();
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Nothing tells when it listens (the socket is there a little before), so this asks until it does. */
async function connectWhenListening(socketPath: string, child: ChildProcess): Promise<TpmTransport> {
  for (;;) {
    try {
      return await connectTpmSocket(socketPath);
    } catch (error) {
      if (child.exitCode !== null) throw error;
      await setTimeout(5);
    }
  }
}

async function exited(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

async function provision(tpm: Tpm, nv: ReadonlyMap<number, Uint8Array>): Promise<void> {
  const ak = await tpm.createPrimary('endorsement', buildRsaPublic(AK_TEMPLATE));
  await tpm.run({
    code: PROVISION.evictControl,
    what: 'EvictControl',
    handles: [HIERARCHY.owner, ak.handle],
    auths: [PASSWORD_SESSION],
    parameters: u32(AZURE_VTPM.akHandle),
  });
  await tpm.flush(ak.handle);
  for (const [index, bytes] of nv) {
    const area = concat(u32(index), u16(0x000b), u32(NV_ATTRIBUTES), sized(), u16(bytes.length));
    await tpm.run({
      code: PROVISION.nvDefineSpace,
      what: 'NV_DefineSpace',
      handles: [HIERARCHY.owner],
      auths: [PASSWORD_SESSION],
      parameters: concat(sized(), sized(area)),
    });
    for (let offset = 0; offset < bytes.length; offset += 512) {
      await tpm.run({
        code: PROVISION.nvWrite,
        what: 'NV_Write',
        handles: [HIERARCHY.owner, index],
        auths: [PASSWORD_SESSION],
        parameters: concat(sized(bytes.subarray(offset, offset + 512)), u16(offset)),
      });
    }
  }
}
