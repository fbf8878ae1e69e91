/**
 * Azure starts no Linux machine without an SSH key. This one is a point found by hashing a sentence, so that nobody can
 * have its private half (test/constructs/confidential-trainer.test.ts finds it again).
 */
export const NOBODYS_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB5uP76BsMnMRoMd0bJbs5+YwinBgu00Dq2BKet6+2iO';
export const ADMIN = 'nobody-enters';

/**
 * Hibernation would write memory to the disk. Both are off by default too, but the provider sends an empty object for what
 * is left out, and where that comes back every plan would show it as a change.
 */
export const NO_EXTRA_CAPABILITIES = { hibernationEnabled: false, ultraSsdEnabled: false } as const;

/** Cloud-init, units and hardening are written for this image alone; its `cvm` SKU is what starts as a confidential machine. */
export const IMAGE = {
  publisher: 'Canonical',
  offer: 'ubuntu-24_04-lts',
  sku: 'cvm',
  version: '24.04.202511010',
  pattern: /^24\.04\.\d{9}$/,
} as const;
