/** What only a live subscription settles, in the words of docs/first-deployment.md; a test holds the ids equal to that table's. */
export const QUESTIONS = {
  A1: 'are PCR sets beyond 0-7 taken on Linux',
  A2: 'is a quote with qualifying data taken',
  A3: 'is an ephemeral key with a random unique taken',
  A4: 'which inputs does an AzureGuest policy see',
  A5: 'size and version of the HCL report, form of the AK and its certificate',
  A6: 'do tcbm and vm id of the metadata service agree with the report',
  A7: 'what does the attestation service refuse, with which words',
  A8: 'issuer of an own provider with or without a slash',
  A9: 'does the provider serve the policy text we hash',
  A10: "does AMD's real revocation list parse",
  K1: 'is a key with key_ops of wrapKey alone released',
  K2: 'does a vault echo the nonce in what it signs',
  K3: 'error codes and words of refused releases',
  K4: 'does rotating an exportable key keep exportable and policy',
  K5: 'the audit row of a release',
  K6: 'is an immutable policy supported on managed HSM',
  K7: 'is a symmetric key released in Premium',
  K8: 'are an expired and a disabled key released',
  K9: 'does a vault enforce exp of the attestation token',
  K10: 'are securewrapkey and secureunwrapkey there',
  K11: 'does the blob log name client-side encryption',
  M1: "does the worker's launcher work in the trainer's unit",
  M2: 'do all hygiene checks hold',
  M3: 'is PCR 15 zero after boot',
  M4: 'does an apply of the three stacks succeed',
  M5: 'is there an event log in the guest',
} as const;

export type QuestionId = keyof typeof QUESTIONS;

/** Questions that no program in the virtual machine can answer, and what to keep for them. */
export const BY_HAND: Readonly<Partial<Record<QuestionId, string>>> = {
  A10: "crl and cert_chain of each generation from AMD's key service",
  K5: "rows of one run from the vault's audit log",
  K6: "a managed HSM's answer to setting an immutable policy",
  K11: "row of one upload from the storage account's log",
  M1: 'the confinement member of a receipt',
  M2: 'the hygiene member of a receipt, or the refusal on the serial console',
  M4: 'logs of plan and apply, without ids',
};

export function isQuestionId(text: string): text is QuestionId {
  return Object.hasOwn(QUESTIONS, text);
}
