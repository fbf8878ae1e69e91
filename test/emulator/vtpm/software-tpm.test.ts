import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, publicEncrypt } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { AK_TEMPLATE } from '../../../emulator/vtpm/keys.ts';
import { EMULATED_BOOT_PCRS } from '../../../emulator/vtpm/pcrs.ts';
import { SoftwareTpm, type SoftwareTpmOptions } from '../../../emulator/vtpm/software-tpm.ts';
import { concat, sha256, toHex, utf8 } from '../../../runtime/crypto/bytes.ts';
import { AZURE_VTPM, createEphemeralKey, readAkPublic, readHclReport } from '../../../runtime/tpm/azure-vtpm.ts';
import { buildPcrSelection, buildRsaPublic, parseAttest, publicAreaJwk } from '../../../runtime/tpm/structures.ts';
import { Tpm } from '../../../runtime/tpm/tpm.ts';
import {
  ALGORITHM,
  COMMAND,
  frame,
  HIERARCHY,
  PASSWORD_SESSION,
  sized,
  u8,
  u16,
  u32,
} from '../../../runtime/tpm/wire.ts';

let akKey: KeyObject;
let ekKey: KeyObject;
beforeAll(() => {
  akKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  ekKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
});

const softwareTpm = (options: SoftwareTpmOptions = {}) => new SoftwareTpm({ akKey, ekKey, ...options });
const refused = (responseCode: number) => expect.objectContaining({ responseCode });
const decryptTemplate = { ...AK_TEMPLATE, attributes: 0x00020432, scheme: { algorithm: ALGORITHM.null } };
/** `code` and the length that the header states. */
function header(response: Uint8Array): { code: number; size: number } {
  const view = new DataView(response.buffer, response.byteOffset);
  return { code: view.getUint32(6), size: view.getUint32(2) };
}

test('holds the keys it is given, as they were persisted', async () => {
  const persisted = createPrivateKey({ key: akKey.export({ format: 'jwk' }), format: 'jwk' });
  const tpm = softwareTpm({ akKey: persisted });
  const { n, e } = akKey.export({ format: 'jwk' });
  expect((await tpm.publicKeys()).ak).toEqual({ kty: 'RSA', n, e });
  expect((await readAkPublic(new Tpm(tpm.connect()))).jwk).toEqual({ kty: 'RSA', n, e });
  const ek = await new Tpm(tpm.connect()).readPublic(AZURE_VTPM.ekHandle);
  expect(publicAreaJwk(ek.publicArea)).toEqual((await tpm.publicKeys()).ek);
});

test('boots with measured pcrs by default, with given ones otherwise', async () => {
  const read = async (tpm: SoftwareTpm) => new Tpm(tpm.connect()).pcrRead([0, 7, 15]);
  const measured = await read(softwareTpm());
  expect(measured.get(7)).toEqual(EMULATED_BOOT_PCRS.get(7));
  expect(toHex(measured.get(0) ?? new Uint8Array())).not.toBe(toHex(measured.get(7) ?? new Uint8Array()));
  const given = await read(softwareTpm({ pcrs: new Map([[15, new Uint8Array(32).fill(9)]]) }));
  expect([...given.values()].map((value) => value[0])).toEqual([0, 0, 9]);
  expect(() => softwareTpm({ pcrs: new Map([[3, new Uint8Array(20)]]) })).toThrow('pcr 3 must have 32 bytes, got 20');
});

test('a reset is a new boot: pcrs, null hierarchy and handles are gone, the attestation key stays', async () => {
  const device = softwareTpm();
  const tpm = new Tpm(device.connect());
  const before = parseAttest((await tpm.quote(AZURE_VTPM.akHandle, new Uint8Array(), [15])).message);
  await tpm.pcrExtend(15, sha256(utf8('run')));
  const key = await tpm.createPrimary('null', buildRsaPublic(decryptTemplate));
  const session = await tpm.startPolicySession();

  await device.reset();
  await expect(tpm.readPublic(key.handle)).rejects.toThrow(refused(0x910));
  await expect(tpm.policyPcr(session, [0])).rejects.toThrow(refused(0x910));
  expect([...(await tpm.pcrRead([7, 15])).values()]).toEqual([EMULATED_BOOT_PCRS.get(7), new Uint8Array(32)]);
  expect((await tpm.createPrimary('null', buildRsaPublic(decryptTemplate))).name).not.toEqual(key.name);
  const after = parseAttest((await tpm.quote(AZURE_VTPM.akHandle, new Uint8Array(), [15])).message);
  expect(after.qualifiedSigner).toEqual(before.qualifiedSigner);
  expect(after.resetCount).toBe(before.resetCount + 1);
  expect(after.firmwareVersion).toBe(0x2020031200120003n);

  await device.reset(new Map([[15, new Uint8Array(32).fill(1)]]));
  expect((await tpm.pcrRead([15])).get(15)?.[0]).toBe(1);
});

test('keys of the owner hierarchy outlive a reset', async () => {
  const device = softwareTpm();
  const tpm = new Tpm(device.connect());
  const template = buildRsaPublic(decryptTemplate);
  const { name } = await tpm.createPrimary('owner', template);
  await device.reset();
  expect((await tpm.createPrimary('owner', template)).name).toEqual(name);
});

test('a client sees neither the handles of another nor what a closed one left', async () => {
  const device = softwareTpm();
  const [mine, other] = [new Tpm(device.connect()), new Tpm(device.connect())];
  const template = buildRsaPublic(decryptTemplate);
  const { handle } = await mine.createPrimary('null', template);
  const session = await mine.startPolicySession();
  await expect(other.readPublic(handle)).rejects.toThrow(refused(0x910));
  await expect(other.flush(session)).rejects.toThrow(refused(0x1cb));
  expect((await other.createPrimary('null', template)).handle).toBe(handle);
  await other.flush(handle);
  expect((await mine.readPublic(handle)).handle).toBe(handle);
  await mine.close();
  await expect(mine.readPublic(handle)).rejects.toThrow(refused(0x910));
});

test('makes a report anew for each read at offset 0, never between two chunks', async () => {
  let made = 0;
  const report = async () => new Uint8Array(2600).fill(++made);
  const tpm = new Tpm(softwareTpm({ nv: new Map([[AZURE_VTPM.hclReportIndex, report]]) }).connect());
  const first = await readHclReport(tpm);
  expect(new Set(first).size).toBe(1);
  const second = await readHclReport(tpm);
  expect(new Set(second).size).toBe(1);
  expect(second[0]).toBe((first[0] ?? 0) + 1);
});

test('a failing report is told to its reader alone', async () => {
  const report = () => Promise.reject(new Error('no report today'));
  const tpm = new Tpm(softwareTpm({ nv: new Map([[AZURE_VTPM.hclReportIndex, report]]) }).connect());
  await expect(readHclReport(tpm)).rejects.toThrow('no report today');
  expect(await tpm.getRandom(4)).toHaveLength(4);
});

const noPassword = concat(u32(9), u32(PASSWORD_SESSION), sized(), u8(0), sized());
const encrypting = concat(u32(9), u32(PASSWORD_SESSION), sized(), u8(0x20), sized());
const ak = u32(AZURE_VTPM.akHandle);
test.each([
  ['no bytes', new Uint8Array(), 0x142],
  ['half a header', Uint8Array.of(0x80, 1, 0), 0x142],
  ['more than a TPM takes', new Uint8Array(4097), 0x142],
  ['a size that is not so', Uint8Array.of(0x80, 1, 0, 0, 0, 11, 0, 0, 1, 0x7b), 0x142],
  ['a wrong tag', frame(0x8003, COMMAND.getRandom, u16(8)), 0x01e],
  ['the platform hierarchy', frame(0x8002, COMMAND.createPrimary, u32(HIERARCHY.platform), noPassword), 0x9a2],
  ['a session that encrypts', frame(0x8002, COMMAND.quote, ak, encrypting), 0x982],
  ['a session that authorises nothing', frame(0x8002, COMMAND.getRandom, noPassword, u16(8)), 0x982],
  [
    'NV read by another than the owner',
    frame(0x8002, COMMAND.nvRead, u32(0x01400001), u32(0x01400001), noPassword, u16(1), u16(0)),
    0x149,
  ],
  ['a salted session', frame(0x8001, COMMAND.startAuthSession, ak, u32(HIERARCHY.null)), 0x184],
  [
    'a key that is no RSA key',
    frame(
      0x8002,
      COMMAND.createPrimary,
      u32(HIERARCHY.null),
      noPassword,
      sized(sized(), sized()),
      sized(u16(0x23)),
      sized(),
      u32(0),
    ),
    0x2ca,
  ],
])('refuses %s', async (_what, command, wanted) => {
  const response = await softwareTpm({ nv: new Map([[0x01400001, new Uint8Array(8)]]) }).process(command);
  expect(header(response)).toEqual({ code: wanted, size: 10 });
});

test('extending TPM_RH_NULL extends nothing', async () => {
  const tpm = new Tpm(softwareTpm().connect());
  const before = await tpm.pcrRead([0, 15, 23]);
  await tpm.pcrExtend(HIERARCHY.null, new Uint8Array(32));
  expect(await tpm.pcrRead([0, 15, 23])).toEqual(before);
});

test('no bytes make it fail: every answer is a response of the length it states', async () => {
  const device = softwareTpm({ nv: new Map([[AZURE_VTPM.hclReportIndex, new Uint8Array(600)]]) });
  // All three slots taken: a mutated CreatePrimary is checked to the end but costs no key.
  const tpm = new Tpm({ transceive: (command) => device.process(command), close: async () => {} });
  const keys = [];
  for (let i = 0; i < 3; i++) keys.push(await tpm.createPrimary('null', buildRsaPublic(decryptTemplate)));
  const session = await tpm.startPolicySession();
  const key = createPublicKey({ key: { ...publicAreaJwk(keys[0]?.publicArea ?? new Uint8Array()) }, format: 'jwk' });
  const cipher = publicEncrypt({ key, oaepHash: 'sha256' }, utf8('secret'));
  const policy = concat(u32(9), u32(session), sized(), u8(1), sized());
  const commands = [
    frame(0x8001, COMMAND.getRandom, u16(16)),
    frame(0x8001, COMMAND.pcrRead, buildPcrSelection([0, 23])),
    frame(0x8002, COMMAND.pcrExtend, u32(15), noPassword, u32(1), u16(0x0b), new Uint8Array(32)),
    frame(0x8001, COMMAND.readPublic, ak),
    frame(0x8002, COMMAND.quote, ak, noPassword, sized(new Uint8Array(32)), u16(0x10), buildPcrSelection([0])),
    frame(
      0x8002,
      COMMAND.certify,
      u32(0x80000000),
      ak,
      u32(18),
      noPassword.subarray(4),
      noPassword.subarray(4),
      sized(),
      u16(0x10),
    ),
    frame(0x8001, COMMAND.policyPcr, u32(session), sized(), buildPcrSelection([0])),
    frame(0x8002, COMMAND.rsaDecrypt, u32(0x80000000), policy, sized(cipher), u16(0x17), u16(0x0b), sized()),
    frame(
      0x8001,
      COMMAND.startAuthSession,
      u32(HIERARCHY.null),
      u32(HIERARCHY.null),
      sized(new Uint8Array(16)),
      sized(),
      u8(1),
      u16(0x10),
      u16(0x0b),
    ),
    frame(0x8001, COMMAND.nvReadPublic, u32(AZURE_VTPM.hclReportIndex)),
    frame(0x8002, COMMAND.nvRead, u32(HIERARCHY.owner), u32(AZURE_VTPM.hclReportIndex), noPassword, u16(512), u16(0)),
    frame(
      0x8002,
      COMMAND.createPrimary,
      u32(HIERARCHY.null),
      noPassword,
      sized(sized(), sized()),
      buildRsaPublic(decryptTemplate),
      sized(),
      u32(0),
    ),
  ];
  const mutation = fc.record({
    command: fc.constantFrom(...commands),
    at: fc.nat(),
    flip: fc.integer({ min: 0, max: 255 }),
    cut: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.nat(40)),
    fixSize: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(mutation, async ({ command, at, flip, cut, fixSize }) => {
      const bytes = command.slice(0, Math.max(0, command.length - cut));
      const position = at % Math.max(1, bytes.length);
      bytes[position] = (bytes[position] ?? 0) ^ flip;
      if (fixSize && bytes.length >= 10) new DataView(bytes.buffer).setUint32(2, bytes.length);
      const response = await device.process(bytes);
      expect(header(response).size).toBe(response.length);
      if (header(response).code !== 0) expect(response).toHaveLength(10);
    }),
    { numRuns: process.env.SLOW ? 20_000 : 500 },
  );
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
      const response = await device.process(bytes);
      expect(header(response).size).toBe(response.length);
    }),
  );
});

test('serves several clients at once', async () => {
  const device = softwareTpm();
  const work = async () => {
    const tpm = new Tpm(device.connect());
    const key = await createEphemeralKey(tpm);
    const publicKey = createPublicKey({ key: { ...publicAreaJwk(key.publicArea) }, format: 'jwk' });
    const plain = await key.decrypt(
      publicEncrypt({ key: publicKey, oaepHash: 'sha256' }, utf8('secret')),
      'oaep-sha256',
    );
    await key.close();
    await tpm.close();
    return plain;
  };
  expect(await Promise.all([work(), work(), work()])).toEqual(Array(3).fill(utf8('secret')));
});
