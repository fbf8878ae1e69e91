import type { ErrorCode } from '../../runtime/errors.ts';

export interface Cause {
  /** What it means that a run ended with this code. */
  readonly what: string;
  /** What to do about it. */
  readonly todo: string;
}

/** By the code that a run ended with. */
export const CAUSES: Readonly<Record<ErrorCode, Cause>> = {
  CONFIG_INVALID: {
    what: 'the trainer refused what it was asked to do',
    todo: 'mend what it names in training.json or model.ts (ctrain train --dry-run checks both), and propose and approve anew',
  },
  UNAVAILABLE: {
    what: 'a service, or the machine itself, was away too long',
    todo: 'start the same command again: the run goes on from its newest checkpoint',
  },
  EVIDENCE_MALFORMED: {
    what: 'something that was read is not what it claims to be',
    todo: 'find out who wrote it last (ctrain access-log); put the original back, or propose anew without it',
  },
  ATTESTATION_REJECTED: {
    what: 'the machine is not one that this deployment trusts',
    todo: 'compare the failed checks with the environment policy (ctrain explain-policy, ctrain verify-evidence); take the machine out if it should have passed',
  },
  RELEASE_DENIED: {
    what: 'a vault did not give its key, or its answer did not hold',
    todo: "ask the key's owner: is the role granted, the key enabled, and its policy that of this deployment (ctrain explain-policy, docs/runbook.md#release-refused)",
  },
  CIPHERTEXT_REJECTED: {
    what: 'sealed data does not open: it was altered, or sealed to another key',
    todo: 'restore the object from before, or upload the dataset again (ctrain upload); docs/runbook.md#data-refused',
  },
  CONSENT_MISSING: {
    what: 'somebody whose data or code it is has not agreed to this',
    todo: 'propose the run as it is now and have every owner approve it (ctrain propose, ctrain approve)',
  },
};

/** Where the trainer was, in words. */
export const STEPS: Readonly<Record<string, string>> = {
  queued: 'in the queue',
  agreement: 'while it read the agreement',
  measuring: 'while it measured itself into PCR 15',
  environment: 'between the checks of its machine and the release of the keys',
  verifyEnvironment: 'while it checked its machine',
  setupAttestation: 'while it was attested',
  initializeEncryption: 'while it asked for the keys',
  'opening data': 'while it opened the data',
  training: 'while it trained',
  exporting: 'while it sealed the model',
};
