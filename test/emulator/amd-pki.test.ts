import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { integer } from '../../emulator/amd-certificate.ts';
import { type AmdPki, createAmdPki, reissueVcek, rootKeySha256, vcekChain } from '../../emulator/amd-pki.ts';
import { AMD_ROOT_KEYS } from '../../runtime/attestation/amd-roots.ts';
import { parseVcekChain } from '../../runtime/attestation/certificates.ts';
import { GENERATIONS, STRICT_ENVIRONMENT } from '../../runtime/catalogue.ts';
import { toHex } from '../../runtime/crypto/bytes.ts';

let pkis: readonly AmdPki[];

beforeAll(async () => {
  pkis = await Promise.all(GENERATIONS.map((generation) => createAmdPki(generation, { modulusLength: 2048 })));
}, 60_000);

describe.each(GENERATIONS.map((generation, at) => [generation, at] as const))('%s', (generation, at) => {
  const made = (): AmdPki => {
    const pki = pkis[at];
    if (pki === undefined) throw new Error('made in beforeAll');
    return pki;
  };

  test('is a chain in AMD’s form, by names that are not AMD’s', () => {
    const { vcek, ask, ark } = parseVcekChain(vcekChain(made()));
    expect(ark.verify(ark.publicKey) && ask.verify(ark.publicKey) && vcek.verify(ask.publicKey)).toBe(true);
    expect([vcek.checkIssued(ask), ask.checkIssued(ark), ark.ca, ask.ca, vcek.ca]).toEqual([
      true,
      true,
      true,
      true,
      false,
    ]);
    expect([vcek, ask, ark].map(({ subject }) => subject)).toEqual([
      'O=EMULATED HARDWARE\nCN=SEV-VCEK',
      `O=EMULATED HARDWARE\nCN=SEV-${generation}`,
      `O=EMULATED HARDWARE\nCN=ARK-${generation}`,
    ]);
    expect(Date.parse(vcek.validTo) - Date.parse(vcek.validFrom)).toBe(7 * 365 * 86_400_000);
  });

  test('states chip and firmware', () => {
    const chain = parseVcekChain(vcekChain(made()));
    expect(chain).toMatchObject({ generation, tcb: made().tcb });
    expect(toHex(chain.hardwareId)).toBe(made().chipId);
    expect(chain.hardwareId).toHaveLength(generation === 'Turin' ? 8 : 64);
    expect(chain.product.startsWith(generation)).toBe(true);
  });

  test('its root is none that is pinned', () => {
    expect(Object.values(AMD_ROOT_KEYS)).not.toContain(rootKeySha256(made()));
    expect(rootKeySha256(made())).toMatch(/^[0-9a-f]{64}$/);
  });

  test('survives being kept as JSON, and gets a new VCEK with new firmware', () => {
    const kept: AmdPki = JSON.parse(JSON.stringify(made()));
    const tcb = { ...kept.tcb, microcode: 255 };
    const updated = reissueVcek(kept, { tcb });
    expect(updated.tcb).toEqual(tcb);
    expect(parseVcekChain(vcekChain(updated)).tcb).toEqual(tcb);
    const vcek = new X509Certificate(updated.vcek);
    expect(vcek.verify(createPublicKey(kept.askKey))).toBe(true);
    expect(vcek.checkPrivateKey(createPrivateKey(kept.vcekKey))).toBe(true);
  });
});

test('keys are as long as AMD’s unless asked otherwise', async () => {
  const pki = await createAmdPki('Milan');
  expect(createPublicKey(pki.arkKey).asymmetricKeyDetails?.modulusLength).toBe(4096);
  expect(pki.tcb).toEqual(STRICT_ENVIRONMENT.minimumTcb.Milan);
}, 120_000);

test.each([
  [0, '020100'],
  [127, '02017f'],
  [128, '02020080'],
  [219, '020200db'],
  [256, '02020100'],
  [2 ** 31 - 1, '02047fffffff'],
])('DER integer of %i', (value, hex) => {
  expect(toHex(integer(value))).toBe(hex);
});
