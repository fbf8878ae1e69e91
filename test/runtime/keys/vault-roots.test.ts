import { X509Certificate } from 'node:crypto';
import { rootCertificates } from 'node:tls';
import { expect, test } from 'vitest';
import { AZURE_VAULT_ROOTS, PINNED_VAULT_ROOTS } from '../../../runtime/keys/vault-roots.ts';

const known = new Map(
  rootCertificates.map((pem) => {
    const certificate = new X509Certificate(pem);
    return [certificate.fingerprint256.replaceAll(':', '').toLowerCase(), certificate.subject] as const;
  }),
);

test.each(Object.entries(AZURE_VAULT_ROOTS))(
  '%s is the root that Node knows by that fingerprint',
  (name, fingerprint) => {
    const commonName = known
      .get(fingerprint)
      ?.split('\n')
      .find((line) => line.startsWith('CN='));
    expect(commonName).toBe(`CN=${name}`);
  },
);

test('each is pinned once', () => {
  expect(new Set(PINNED_VAULT_ROOTS).size).toBe(6);
});
