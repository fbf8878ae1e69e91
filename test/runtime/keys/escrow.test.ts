import { constants, generateKeyPairSync, privateDecrypt } from 'node:crypto';
import { expect, test } from 'vitest';
import { rsaPublicJwk, thumbprint } from '../../../runtime/crypto/jwk.ts';
import { wrapCek } from '../../../runtime/crypto/key-wrap.ts';
import { generateCek } from '../../../runtime/crypto/sealed-object.ts';
import { type KeyUnwrapper, localEscrow, openEscrowSlot, vaultEscrow } from '../../../runtime/keys/escrow.ts';
import { slotOf, thumbprintKeyId } from '../../../runtime/keys/slots.ts';
import { rejection } from '../rejection.ts';

const PLACE = { vaultHost: 'kv-owner.vault.azure.net', keyName: 'escrow' };
const VERSIONS = ['a'.repeat(32), 'b'.repeat(32)] as const;
const id = (version: string, name = 'escrow', host = PLACE.vaultHost) => `https://${host}/keys/${name}/${version}`;
const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const cek = generateCek();
const wrapped = wrapCek(cek, publicKey);
const asked: string[] = [];
/** Unwraps as a vault does: what comes out, whatever it is. */
const vault: KeyUnwrapper = {
  async unwrapKey(name, version, bytes) {
    asked.push(`${name}/${version}`);
    const padding = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
    try {
      return privateDecrypt({ key: privateKey, ...padding }, bytes);
    } catch {
      return undefined;
    }
  },
};

test('a key file opens slots of its own thumbprint', async () => {
  const slots = [
    slotOf(id(VERSIONS[0]), wrapped),
    slotOf(thumbprintKeyId(thumbprint(rsaPublicJwk(privateKey))), wrapped),
  ];
  expect((await openEscrowSlot('a.enc', slots, [localEscrow(privateKey)])).equals(cek)).toBe(true);
});

test('a vault key opens slots of any of its versions, each with that version', async () => {
  for (const version of VERSIONS) {
    const opened = await openEscrowSlot('a.enc', [slotOf(id(version), wrapped)], [vaultEscrow(PLACE, vault)]);
    expect(opened.equals(cek)).toBe(true);
  }
  expect(asked).toEqual(VERSIONS.map((version) => `escrow/${version}`));
});

test('the first escrow key that has a slot opens the object', async () => {
  const slots = [slotOf(thumbprintKeyId(thumbprint(rsaPublicJwk(privateKey))), wrapped)];
  const opened = await openEscrowSlot('a.enc', slots, [vaultEscrow(PLACE, vault), localEscrow(privateKey)]);
  expect(opened.equals(cek)).toBe(true);
});

test.each([
  ['another key', id(VERSIONS[0], 'escrow-2')],
  ['another vault', id(VERSIONS[0], 'escrow', 'kv-platform.vault.azure.net')],
  ['a key in no vault', thumbprintKeyId('A'.repeat(43))],
])('no vault is asked about a slot of %s', async (_, keyId) => {
  asked.length = 0;
  await expect(openEscrowSlot('a.enc', [slotOf(keyId, wrapped)], [vaultEscrow(PLACE, vault)])).rejects.toThrow(
    rejection('CIPHERTEXT_REJECTED', "a.enc: it has no key slot of this owner's key"),
  );
  expect(asked).toEqual([]);
});

test.each([
  ['is altered', wrapped.map((byte, i) => (i === 100 ? byte ^ 1 : byte))],
  ['holds a key of another protocol', wrapCek(cek, publicKey, '2.1')],
])('a slot that %s is refused', async (_, bytes) => {
  await expect(openEscrowSlot('a.enc', [slotOf(id(VERSIONS[0]), bytes)], [vaultEscrow(PLACE, vault)])).rejects.toThrow(
    rejection('CIPHERTEXT_REJECTED', 'a.enc: its wrapped key is altered, or wrapped to another key'),
  );
});
