import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { beforeAll, expect, test } from 'vitest';
import { SoftwareTpm } from '../../../emulator/vtpm/software-tpm.ts';
import { concat, sha256, toHex, utf8 } from '../../../runtime/crypto/bytes.ts';
import {
  AZURE_VTPM,
  createEphemeralKey,
  quotePcrs,
  readAkCertificate,
  readAkPublic,
} from '../../../runtime/tpm/azure-vtpm.ts';
import { measureRun, RUN_PCR, runMeasurement } from '../../../runtime/tpm/run-measurement.ts';
import { parseAttest } from '../../../runtime/tpm/structures.ts';
import { Tpm } from '../../../runtime/tpm/tpm.ts';
import type { TpmTransport } from '../../../runtime/tpm/transport.ts';
import { COMMAND } from '../../../runtime/tpm/wire.ts';

let akKey: KeyObject;
beforeAll(() => {
  akKey = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
});

/** A client of the vTPM; `before` sees each command's code before it is carried out. */
function client(device: SoftwareTpm, before: (code: number) => Promise<void> = async () => {}): Tpm {
  const transport: TpmTransport = device.connect();
  const transceive = async (command: Uint8Array) => {
    await before(new DataView(command.buffer, command.byteOffset).getUint32(6));
    return transport.transceive(command);
  };
  return new Tpm({ transceive, close: () => transport.close() });
}

const softwareTpm = (nv = new Map<number, Uint8Array>()) => new SoftwareTpm({ akKey, ekKey: akKey, nv });

test('takes the certificate out of its padded area', async () => {
  const certificate = concat(Uint8Array.of(0x30, 0x82, 0x01, 0x01), new Uint8Array(0x101).fill(5));
  const area = concat(certificate, new Uint8Array(4096 - certificate.length));
  const tpm = client(softwareTpm(new Map([[AZURE_VTPM.akCertificateIndex, area]])));
  expect(await readAkCertificate(tpm)).toEqual(certificate);
});

test.each([
  ['is empty', new Uint8Array(64), 'AK certificate starts with 0000, wanted 3082 (a DER sequence)'],
  ['is cut', Uint8Array.of(0x30, 0x82, 1, 0), 'AK certificate is truncated: 260 bytes wanted at offset 0, 4 left'],
])('refuses a certificate that %s', async (_what, area, message) => {
  const tpm = client(softwareTpm(new Map([[AZURE_VTPM.akCertificateIndex, area]])));
  await expect(readAkCertificate(tpm)).rejects.toThrow(
    expect.objectContaining({ code: 'EVIDENCE_MALFORMED', message }),
  );
});

test('says which index a machine that is no confidential VM has not', async () => {
  const message = 'vTPM refused NV_ReadPublic of 0x01c101d0: response code 0x18b (there is no such handle)';
  await expect(readAkCertificate(client(softwareTpm()))).rejects.toThrow(
    expect.objectContaining({ code: 'ATTESTATION_REJECTED', message }),
  );
});

test('refuses an attestation key that would sign anything', async () => {
  const transport = softwareTpm().connect();
  const transceive = async (command: Uint8Array) => {
    const response = await transport.transceive(command);
    // Clears `restricted`: the attributes follow header, size, type and name algorithm.
    const attributes = new DataView(response.buffer, 10 + 2 + 2 + 2);
    attributes.setUint32(0, attributes.getUint32(0) & ~0x10000);
    return response;
  };
  await expect(readAkPublic(new Tpm({ transceive, close: transport.close }))).rejects.toThrow(
    expect.objectContaining({
      code: 'ATTESTATION_REJECTED',
      message:
        'attestation key has attributes 0x00040472, wanted a restricted signing key fixed to the TPM (0x00050472)',
    }),
  );
});

test('quotes again when a pcr moves between the quote and its values, three times at the most', async () => {
  const device = softwareTpm();
  const other = client(device);
  let moves = 1;
  const tpm = client(device, async (code) => {
    if (code === COMMAND.pcrRead && moves-- > 0) await other.pcrExtend(8, new Uint8Array(32));
  });
  const quote = await quotePcrs(tpm, utf8('nonce'), [8]);
  expect(quote.pcrs).toEqual({ 8: toHex((await other.pcrRead([8])).get(8) ?? new Uint8Array()) });
  expect(parseAttest(quote.message).extraData).toEqual(utf8('nonce'));
  moves = 10;
  await expect(quotePcrs(tpm, utf8('nonce'), [8])).rejects.toThrow('quote does not match pcr 8 in 3 tries');
});

test('an ephemeral key is another one each time', async () => {
  const tpm = client(softwareTpm());
  const [a, b] = [await createEphemeralKey(tpm), await createEphemeralKey(tpm)];
  expect(a.modulus).not.toEqual(b.modulus);
  await a.close();
  await a.close();
  await b.close();
});

test('leaves nothing loaded, whichever step of it fails', async () => {
  const device = softwareTpm();
  const key = await createEphemeralKey(client(device));
  expect(key.modulus).toHaveLength(256);
  for (const failing of [COMMAND.certify, COMMAND.policyPcr, COMMAND.rsaDecrypt]) {
    let failures = Number.POSITIVE_INFINITY;
    const tpm = client(device, async (code) => {
      if (code === failing && failures-- > 0) throw new Error('lost');
    });
    for (let i = 0; i < 4; i++) {
      const attempt = async () => {
        const made = await createEphemeralKey(tpm);
        await made.decrypt(new Uint8Array(256), 'rsaes').finally(() => made.close());
      };
      await expect(attempt()).rejects.toThrow('lost');
    }
    failures = 0;
    // Four failures would have filled the three slots of keys or of sessions.
    for (let i = 0; i < 3; i++) await createEphemeralKey(tpm);
    for (let i = 0; i < 3; i++) await tpm.startPolicySession();
    await tpm.close();
  }
});

test('decrypts although a pcr of no concern to the key moves meanwhile', async () => {
  const device = softwareTpm();
  const other = client(device);
  let moves = 2;
  const tpm = client(device, async (code) => {
    if (code === COMMAND.rsaDecrypt && moves-- > 0) await other.pcrExtend(8, new Uint8Array(32));
  });
  const key = await createEphemeralKey(tpm);
  const refused = (code: string) => expect.objectContaining({ code });
  // Two moves are waited for; the third attempt gets as far as the ciphertext.
  await expect(key.decrypt(new Uint8Array(256), 'rsaes')).rejects.toThrow(refused('CIPHERTEXT_REJECTED'));
  await other.pcrExtend(7, new Uint8Array(32));
  await expect(key.decrypt(new Uint8Array(256), 'rsaes')).rejects.toThrow(refused('ATTESTATION_REJECTED'));
});

test('measures a run once a boot and knows it again after a restart', async () => {
  const device = softwareTpm();
  const digest = sha256(utf8('bundle and agreement'));
  expect(await measureRun(client(device), digest)).toBe('extended');
  expect(await measureRun(client(device), digest)).toBe('already');
  const found = toHex(runMeasurement(digest));
  const other = sha256(utf8('another agreement'));
  await expect(measureRun(client(device), other)).rejects.toThrow(
    expect.objectContaining({
      code: 'ATTESTATION_REJECTED',
      message: `pcr 15 already holds something else: found ${found}, wanted zero or ${toHex(runMeasurement(other))}`,
    }),
  );
  expect((await client(device).pcrRead([RUN_PCR])).get(RUN_PCR)).toEqual(runMeasurement(digest));
  await device.reset();
  expect(await measureRun(client(device), other)).toBe('extended');
  await expect(measureRun(client(device), new Uint8Array(20))).rejects.toThrow(
    new RangeError('run digest must have 32 bytes, got 20'),
  );
});

test('refuses a run when somebody else measures at the same time', async () => {
  const device = softwareTpm();
  const other = client(device);
  const tpm = client(device, async (code) => {
    if (code === COMMAND.pcrExtend) await other.pcrExtend(RUN_PCR, new Uint8Array(32));
  });
  await expect(measureRun(tpm, sha256(utf8('run')))).rejects.toThrow('pcr 15 already holds something else');
});
