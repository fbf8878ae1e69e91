import type { Generation } from './catalogue.ts';

/**
 * What evidence and replies are measured against. Production has exactly one, {@link AZURE_TRUST}; the emulator's entry
 * point hands the trainer its own. Nothing else can: no flag, file or variable names a root.
 */
export interface TrustAnchors {
  /** Stated in receipts: EMULATED hardware proves nothing about secrecy. */
  readonly hardware: 'SEV-SNP' | 'EMULATED';
  /** SHA-256 (hex) of the SubjectPublicKeyInfo of each generation's AMD root key. */
  readonly amdRootKeys: Readonly<Record<Generation, string>>;
  /** SHA-256 fingerprints (hex, lower case) of the root certificates that may anchor a vault's release reply. */
  readonly vaultRoots: readonly string[];
}
