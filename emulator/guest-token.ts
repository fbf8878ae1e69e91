import { constants, createCipheriv, createHash, createPrivateKey, publicEncrypt, randomBytes, sign } from 'node:crypto';
import { jsonObject } from '../runtime/attestation/jws.ts';
import { TRANSFER_KID } from '../runtime/attestation/token.ts';
import { toBase64, toBase64Url, toHex, utf8 } from '../runtime/crypto/bytes.ts';
import { importJwk, type RsaPublicJwk } from '../runtime/crypto/jwk.ts';
import { SecureTrainingError } from '../runtime/errors.ts';
import { attestationPolicyHash } from '../runtime/keys/release-policy.ts';
import type { GuestRequest } from './azure-guest-request.ts';
import type { VerifiedGuest } from './guest-verification.ts';
import { x5cOf } from './service-pki.ts';
import type { SigningIdentity } from './signing-identity.ts';

/** Fixed by the service, in seconds. */
const TOKEN_LIFETIME = 28_800;

/** Claims of an AzureGuest token, as recorded from the service (CGA sampleAttestationToken.json) with this guest's values. */
export function guestClaims(
  request: GuestRequest,
  { facts, report, ephemeralKey }: VerifiedGuest,
  options: { readonly authority: string; readonly policy: string; readonly now: Date },
): Record<string, unknown> {
  const issuedAt = Math.floor(options.now.getTime() / 1000);
  const { keys, 'vm-configuration': configuration, ...more } = jsonObject(request.runtimeClaims, 'RunTimeData');
  return {
    exp: issuedAt + TOKEN_LIFETIME,
    iat: issuedAt,
    iss: options.authority,
    jti: randomBytes(32).toString('hex'),
    nbf: issuedAt,
    secureboot: facts.secureBoot,
    'x-ms-attestation-type': 'azurevm',
    'x-ms-azurevm-attestation-protocol-ver': '2.0',
    'x-ms-azurevm-attested-pcrs': facts.quotedPcrs,
    ...BOOT_CLAIMS,
    'x-ms-azurevm-is-windows': request.system.type === 'Windows',
    'x-ms-azurevm-osbuild': request.system.build,
    'x-ms-azurevm-osdistro': request.system.distro,
    'x-ms-azurevm-ostype': request.system.type,
    'x-ms-azurevm-osversion-major': request.system.major,
    'x-ms-azurevm-osversion-minor': request.system.minor,
    'x-ms-azurevm-vmid': facts.vmUniqueId.toUpperCase(),
    'x-ms-isolation-tee': {
      'x-ms-attestation-type': 'sevsnpvm',
      'x-ms-compliance-status': 'azure-compliant-cvm',
      'x-ms-runtime': { keys, 'vm-configuration': configuration, ...more },
      'x-ms-sevsnpvm-authorkeydigest': report.authorKeyDigest,
      'x-ms-sevsnpvm-bootloader-svn': facts.reportedTcb.bootloader,
      'x-ms-sevsnpvm-familyId': report.familyId,
      'x-ms-sevsnpvm-guestsvn': report.guestSvn,
      'x-ms-sevsnpvm-hostdata': report.hostData,
      'x-ms-sevsnpvm-idkeydigest': report.idKeyDigest,
      'x-ms-sevsnpvm-imageId': report.imageId,
      'x-ms-sevsnpvm-is-debuggable': facts.debug,
      'x-ms-sevsnpvm-launchmeasurement': report.measurement,
      'x-ms-sevsnpvm-microcode-svn': facts.reportedTcb.microcode,
      'x-ms-sevsnpvm-migration-allowed': facts.migrationAllowed,
      'x-ms-sevsnpvm-reportdata': toHex(report.reportData),
      'x-ms-sevsnpvm-reportid': report.reportId,
      'x-ms-sevsnpvm-smt-allowed': facts.smtAllowed,
      'x-ms-sevsnpvm-snpfw-svn': facts.reportedTcb.snp,
      'x-ms-sevsnpvm-tee-svn': facts.reportedTcb.tee,
      'x-ms-sevsnpvm-vmpl': facts.vmpl,
    },
    'x-ms-policy-hash': attestationPolicyHash(options.policy),
    'x-ms-runtime': {
      'client-payload': request.clientPayload,
      keys: [{ e: ephemeralKey.e, key_ops: ['encrypt'], kid: TRANSFER_KID, kty: 'RSA', n: ephemeralKey.n }],
    },
    'x-ms-ver': '1.0',
  };
}

/** What the service reads from the event log of a Linux machine with secure boot. The emulator's machine has no log to read. */
const BOOT_CLAIMS = {
  'x-ms-azurevm-bootdebug-enabled': false,
  'x-ms-azurevm-dbvalidated': true,
  'x-ms-azurevm-dbxvalidated': true,
  'x-ms-azurevm-debuggersdisabled': true,
  'x-ms-azurevm-default-securebootkeysvalidated': true,
  'x-ms-azurevm-elam-enabled': false,
  'x-ms-azurevm-flightsigning-enabled': false,
  'x-ms-azurevm-hvci-policy': 0,
  'x-ms-azurevm-hypervisordebug-enabled': false,
  'x-ms-azurevm-kerneldebug-enabled': false,
  'x-ms-azurevm-signingdisabled': true,
  'x-ms-azurevm-testsigning-enabled': false,
} as const;

const DENY = /\[type=="([^"]+)", value==(true|false)\] => deny\(\);/g;

/**
 * The rule by which an attestation policy refuses these claims. Knows the rules seen in the field, `[type=="…", value==…] => deny();`
 * and a final `=> permit();` (version 1.0, no issuance rules).
 * @throws {@link SecureTrainingError} `CONFIG_INVALID` on any other rule: one left unread would be one left unchecked
 */
export function refusingRule(policy: string, claims: Readonly<Record<string, unknown>>): string | undefined {
  const rules = /^version=1\.0;\s*authorizationrules\s*\{([^}]*)\};\s*issuancerules\s*\{\s*\};\s*$/.exec(policy)?.[1];
  if (rules === undefined || rules.replaceAll(DENY, '').trim() !== '=> permit();') {
    throw new SecureTrainingError('CONFIG_INVALID', 'attestation policy has rules that the emulator does not know');
  }
  const refusing = [...rules.matchAll(DENY)].find(([, type = '', value]) => String(claims[type]) === value);
  return refusing?.[0];
}

/** `kid` of a signing certificate: the service's are standard base64, not URL-safe, so ours show it too. */
export function signerKid(signer: SigningIdentity): string {
  return createHash('sha256')
    .update(Buffer.from(x5cOf(signer)[0] ?? '', 'base64'))
    .digest('base64');
}

/** Signs claims as the service does: RS256, with its own certificate address as `jku`. */
export function signToken(claims: object, signer: SigningIdentity, authority: string): string {
  const header = { alg: 'RS256', jku: `${authority}/certs`, kid: signerKid(signer), typ: 'JWT' };
  const signed = `${toBase64Url(utf8(JSON.stringify(header)))}.${toBase64Url(utf8(JSON.stringify(claims)))}`;
  return `${signed}.${toBase64Url(sign('sha256', utf8(signed), createPrivateKey(signer.privateKey)))}`;
}

/** Seals a token to the guest's ephemeral key; members in the service's order, everything standard base64 with padding. */
export function sealToken(token: string, ephemeralKey: RsaPublicJwk): { readonly token: string } {
  const [key, iv] = [randomBytes(32), randomBytes(12)];
  const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(utf8('Transport Key'));
  const ciphertext = Buffer.concat([cipher.update(token, 'utf8'), cipher.final()]);
  const sealed = {
    Jwt: toBase64(ciphertext),
    EncryptedInnerKey: toBase64(
      publicEncrypt({ key: importJwk(ephemeralKey), padding: constants.RSA_PKCS1_PADDING }, key),
    ),
    EncryptionParams: {
      BlockMode: 'ChainingModeGCM',
      BlockPadding: 'PKCS7',
      Cipher: 'AES',
      KeySizeInBits: 256,
      Iv: toBase64(iv),
    },
    AuthenticationData: toBase64(cipher.getAuthTag()),
  };
  return { token: toBase64(utf8(JSON.stringify(sealed))) };
}
