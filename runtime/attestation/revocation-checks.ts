import { constants, verify, type X509Certificate } from 'node:crypto';
import { toHex } from '../crypto/bytes.ts';
import { DER_TAG, derChildren, derElements } from './der.ts';
import type { CertificateName, RevocationList } from './revocation-list.ts';

/** As long as the hash (RFC 4055), in AMD's certificates and lists. */
const SALT_LENGTH = 48;
const VERSION_TAG = 0xa0;

/** Whether a list is by the name and the key of this root. That the root is a pinned one is another check. */
export function isListOf(list: RevocationList, root: X509Certificate): boolean {
  const { publicKey: key } = root;
  return (
    key.asymmetricKeyType === 'rsa' &&
    certificateNames(root).subject === list.issuer &&
    verify(
      'sha384',
      list.signedBytes,
      { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: SALT_LENGTH },
      list.signature,
    )
  );
}

/** Whether its successor was not due yet. A list made later than `at` says more, never less. */
export function isCurrent(list: RevocationList, at: Date): boolean {
  return at.getTime() <= list.nextUpdate.getTime();
}

/** Whether a list names the certificate, by issuer and serial number. */
export function isRevoked(list: RevocationList, certificate: X509Certificate): boolean {
  const { issuer, serial } = certificateNames(certificate);
  return list.revoked.some((entry) => entry.serial === serial && entry.issuer === issuer);
}

/** Names as they stand in a certificate: Node shows them as text, in which two different ones can look alike. */
export function certificateNames(certificate: X509Certificate): CertificateName & { readonly subject: string } {
  const what = 'certificate';
  const [tbs] = derChildren(derElements(Uint8Array.from(certificate.raw), what)[0], DER_TAG.sequence, what);
  const fields = derChildren(tbs, DER_TAG.sequence, what).filter(({ tag }, at) => at > 0 || tag !== VERSION_TAG);
  // serialNumber, signature, issuer, validity, subject (RFC 5280 section 4.1).
  const [serial, , issuer, , subject] = fields.map(({ value }) => toHex(value));
  return { issuer: issuer ?? '', serial: serial ?? '', subject: subject ?? '' };
}
