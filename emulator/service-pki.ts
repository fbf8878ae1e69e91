import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import { createCertificate, createIdentity, type SigningIdentity } from './signing-identity.ts';

const YEAR_IN_MS = 365 * 86_400_000;

/** What Azure Attestation signs tokens with: a self-signed certificate whose name is the issuer's URL. */
export function createTokenSigner(authority: string, now: Date): SigningIdentity {
  return createIdentity({ commonName: authority, ca: false, ...validity(now) }, rsaKeys());
}

/**
 * What a vault signs release replies with: a certificate for its host, below an intermediate and a root.
 * @param host - for example `kv-owner.vault.azure.net`
 */
export function createVaultSigner(host: string, now: Date): SigningIdentity {
  const root = createIdentity({ commonName: 'Emulated Global Root', ca: true, ...validity(now) }, rsaKeys());
  const intermediate = createIdentity(
    { commonName: 'Emulated TLS Issuing CA 01', ca: true, ...validity(now) },
    rsaKeys(),
    root,
  );
  return createIdentity({ commonName: host, dnsNames: [host], ca: false, ...validity(now) }, rsaKeys(), intermediate);
}

/** The authority below which the attestation keys of emulated vTPMs get their certificates. */
export function createVtpmAuthority(now: Date): SigningIdentity {
  return createIdentity({ commonName: 'Emulated Virtual TPM CA', ca: true, ...validity(now) }, rsaKeys());
}

/** Certificate (DER) of a vTPM's attestation key: what stands at NV index 0x01C101D0. */
export function issueAkCertificate(authority: SigningIdentity, ak: KeyObject, vmId: string, now: Date): Uint8Array {
  return createCertificate({
    commonName: `${vmId}.TrustedVM.Azure`,
    publicKey: ak,
    issuer: { commonName: authority.commonName, privateKey: createPrivateKey(authority.privateKey) },
    ca: false,
    ...validity(now),
  });
}

/**
 * A new certificate for the key of an old one, expired or not: only for one that the authority itself has issued.
 * @param pem of which only what stands between its first and last line counts, however it is broken into lines
 */
export function renewAkCertificate(
  authority: SigningIdentity,
  pem: string,
  vmId: string,
  now: Date,
): string | undefined {
  try {
    const old = new X509Certificate(Buffer.from(pem.replaceAll(/-----[A-Z ]+-----|\s/g, ''), 'base64'));
    const issuer = new X509Certificate(authority.chain[0] ?? '');
    if (!old.checkIssued(issuer) || !old.verify(issuer.publicKey)) return undefined;
    return new X509Certificate(issueAkCertificate(authority, old.publicKey, vmId, now)).toString();
  } catch {
    // No certificate at all.
    return undefined;
  }
}

/** SHA-256 (hex) of the root certificate of an identity: what `TrustAnchors.vaultRoots` pins. */
export function rootFingerprint(identity: SigningIdentity): string {
  return createHash('sha256')
    .update(new X509Certificate(identity.chain.at(-1) ?? '').raw)
    .digest('hex');
}

/** Certificates of an identity as JWS and JWKS carry them: standard base64 of DER. */
export function x5cOf(identity: SigningIdentity): string[] {
  return identity.chain.map((pem) => new X509Certificate(pem).raw.toString('base64'));
}

function rsaKeys(): { privateKey: KeyObject; publicKey: KeyObject } {
  return generateKeyPairSync('rsa', { modulusLength: 2048 });
}

function validity(now: Date): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(now.getTime() - 3_600_000), notAfter: new Date(now.getTime() + 10 * YEAR_IN_MS) };
}
