import type { Generation } from '../catalogue.ts';

/**
 * SHA-256 of the SubjectPublicKeyInfo (DER) of AMD's root keys, as `TrustAnchors.amdRootKeys` wants them.
 * The key is pinned and not the certificate, which AMD may reissue.
 * Source: ARK of `https://kdsintf.amd.com/vcek/v1/{Milan,Genoa,Turin}/cert_chain`.
 */
export const AMD_ROOT_KEYS: Readonly<Record<Generation, string>> = {
  Milan: '9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9',
  Genoa: '429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831',
  Turin: '4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08',
};
