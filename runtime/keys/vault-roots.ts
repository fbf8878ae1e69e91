/**
 * SHA-256 fingerprints of the root certificates under which Azure's own TLS certificates are issued; a vault signs its
 * release replies with its TLS certificate. Named in https://learn.microsoft.com/azure/security/fundamentals/azure-ca-details;
 * the certificates are among Node's `tls.rootCertificates`, and a test says so.
 */
export const AZURE_VAULT_ROOTS = {
  'DigiCert Global Root G2': 'cb3ccbb76031e5e0138f8dd39a23f9de47ffc35e43c1144cea27d46a5ab1cb5f',
  'DigiCert Global Root G3': '31ad6648f8104138c738f39ea4320133393e3a18cc02296ef97c2ac9ef6731d0',
  'DigiCert TLS RSA4096 Root G5': '371a00dc0533b3721a7eeb40e8419e70799d2b0a0f2c1d80693165f7cec4ad75',
  'DigiCert TLS ECC P384 Root G5': '018e13f0772532cf809bd1b17281867283fc48c6e13be9c69812854a490c1b05',
  'Microsoft RSA Root Certificate Authority 2017': 'c741f70f4b2a8d88bf2e71c14122ef53ef10eba0cfa5e64cfa20f418853073e0',
  'Microsoft ECC Root Certificate Authority 2017': '358df39d764af9e1b766e9c972df352ee15cfac227af6ad1d70e8e4a6edcba02',
} as const;

/** What `TrustAnchors.vaultRoots` is in production. */
export const PINNED_VAULT_ROOTS: readonly string[] = Object.values(AZURE_VAULT_ROOTS);
