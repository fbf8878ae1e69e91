/** Handles and NV indexes of an Azure confidential VM (Tss2Util.h of CGA, vtpm/mod.rs of azure-cvm-tooling, tpm_protocol of openvmm). */
export const AZURE_VTPM = {
  /** Signs quotes; trusted only because the SNP report's claims name it (HCLAkPub). */
  akHandle: 0x81000003,
  ekHandle: 0x81010001,
  /** Reading it at offset 0 makes the paravisor refresh it, at most every 2 s. */
  hclReportIndex: 0x01400001,
  userDataIndex: 0x01400002,
  akCertificateIndex: 0x01c101d0,
} as const;
