import { generateKeyPairSync } from 'node:crypto';
import { createIdentity, type SigningIdentity } from './signing-identity.ts';

/** TLS of the emulated services: one root of its own, one certificate for all their names. */
export interface TlsMaterial {
  /** PEM of the root, for clients. */
  readonly ca: string;
  /** PEM. */
  readonly cert: string;
  readonly key: string;
}

const VALIDITY_IN_MS = 10 * 365 * 86_400_000;

/** Makes a root, signs one certificate for `hosts` and forgets the root's private key: nothing else can ever be signed. */
export function createTlsMaterial(hosts: readonly string[], now: Date): TlsMaterial {
  const notBefore = new Date(now.getTime() - 3_600_000);
  const validity = { notBefore, notAfter: new Date(notBefore.getTime() + VALIDITY_IN_MS) };
  const root = createIdentity({ commonName: 'Emulated Azure TLS Root', ca: true, ...validity }, rsaKeys());
  const leaf: SigningIdentity = createIdentity(
    { commonName: hosts[0] ?? 'emulator', dnsNames: hosts, ca: false, ...validity },
    rsaKeys(),
    root,
  );
  return { ca: root.chain.join(''), cert: leaf.chain.join(''), key: leaf.privateKey };
}

function rsaKeys() {
  return generateKeyPairSync('rsa', { modulusLength: 2048 });
}
