import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AK_TEMPLATE } from '../../../emulator/vtpm/keys.ts';
import { serveVtpm, type VtpmServer } from '../../../emulator/vtpm/serve.ts';
import { SoftwareTpm } from '../../../emulator/vtpm/software-tpm.ts';
import { concat } from '../../../runtime/crypto/bytes.ts';
import { buildRsaPublic } from '../../../runtime/tpm/structures.ts';
import { Tpm } from '../../../runtime/tpm/tpm.ts';
import { connectTpmSocket } from '../../../runtime/tpm/transport.ts';
import { COMMAND, frame, u16 } from '../../../runtime/tpm/wire.ts';

const folder = mkdtempSync(join(tmpdir(), 'ctrain-vtpm-'));
const path = join(folder, 'vtpm.sock');
let server: VtpmServer;

beforeAll(async () => {
  // What a killed emulator leaves behind must not keep the next one from starting.
  writeFileSync(path, '');
  const akKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const nv = new Map([[0x01400001, () => Promise.reject(new Error('broken report'))]]);
  server = await serveVtpm(new SoftwareTpm({ akKey, nv }), path);
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

const template = buildRsaPublic(AK_TEMPLATE);
const getRandom = frame(0x8001, COMMAND.getRandom, u16(8));

test('serves clients side by side, each with its own handles', async () => {
  const [a, b] = [new Tpm(await connectTpmSocket(path)), new Tpm(await connectTpmSocket(path))];
  const [first, second] = await Promise.all([a.createPrimary('null', template), b.createPrimary('null', template)]);
  expect(second.name).toEqual(first.name);
  await b.close();
  expect((await a.readPublic(first.handle)).name).toEqual(first.name);
  await a.close();
});

test('flushes what a killed client left', async () => {
  const client = `
    import { connect } from 'node:net';
    import { Tpm } from ${JSON.stringify(join(import.meta.dirname, '../../../runtime/tpm/tpm.ts'))};
    import { connectTpmSocket } from ${JSON.stringify(join(import.meta.dirname, '../../../runtime/tpm/transport.ts'))};
    const tpm = new Tpm(await connectTpmSocket(${JSON.stringify(path)}));
    for (let i = 0; i < 3; i++) await tpm.createPrimary('null', Uint8Array.from(${JSON.stringify([...template])}));
    process.kill(process.pid, 'SIGKILL');`;
  for (let i = 0; i < 2; i++) {
    const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', client], { stdio: 'ignore' });
    expect(await once(child, 'exit')).toEqual([null, 'SIGKILL']);
  }
  const tpm = new Tpm(await connectTpmSocket(path));
  for (let i = 0; i < 3; i++) await tpm.createPrimary('null', template);
  await tpm.close();
});

test('takes commands in pieces, and several in one piece', async () => {
  const socket = connect(path);
  const answers: Buffer[] = [];
  const done = new Promise<void>((resolve) => {
    socket.on('data', (chunk) => {
      answers.push(chunk);
      if (Buffer.concat(answers).length >= 3 * 20) resolve();
    });
  });
  socket.write(getRandom.subarray(0, 3));
  socket.write(concat(getRandom.subarray(3), getRandom, getRandom.subarray(0, 11)));
  socket.write(getRandom.subarray(11));
  await done;
  expect(Buffer.concat(answers)).toHaveLength(3 * 20);
  socket.destroy();
});

test('refuses what cannot be a command, and goes on', async () => {
  const transport = await connectTpmSocket(path);
  const refusal = await transport.transceive(new Uint8Array(16).fill(0xff));
  expect(Buffer.from(refusal).toString('hex')).toBe('80010000000a0000001e');
  expect(await new Tpm(transport).getRandom(8)).toHaveLength(8);
  await transport.close();
});

test('ends the connection when it fails itself, and serves the next one', async () => {
  const tpm = new Tpm(await connectTpmSocket(path));
  const unavailable = expect.objectContaining({ code: 'UNAVAILABLE', message: 'vTPM closed the connection' });
  await expect(tpm.nvRead(0x01400001)).rejects.toThrow(unavailable);
  const next = new Tpm(await connectTpmSocket(path));
  expect(await next.getRandom(8)).toHaveLength(8);
  await next.close();
});
