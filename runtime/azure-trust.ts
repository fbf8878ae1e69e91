import { AMD_ROOT_KEYS } from './attestation/amd-roots.ts';
import { PINNED_VAULT_ROOTS } from './keys/vault-roots.ts';
import type { TrustAnchors } from './trust.ts';

/** The only roots that production knows. */
export const AZURE_TRUST: TrustAnchors = {
  hardware: 'SEV-SNP',
  amdRootKeys: AMD_ROOT_KEYS,
  vaultRoots: PINNED_VAULT_ROOTS,
};
