import type { ErrorCode } from '../../runtime/errors.ts';
import { type Cause, endedWith, type LogName } from './cause.ts';

/** A cause that shows in the words a run ended with. */
function ended(
  name: string,
  code: ErrorCode,
  text: RegExp | undefined,
  says: string,
  next: readonly string[],
  logs: readonly LogName[] = ['trainer'],
): Cause {
  return { name, code, recognise: endedWith({ code, ...(text === undefined ? {} : { text }) }), says, next, logs };
}

const AGAIN = 'ctrain train --data FILE: the same command goes on from the newest checkpoint';
const NETWORK = ['ctrain doctor', 'compare host file, private endpoints and network rules with the deployment', AGAIN];

/** Refusals of a machine, by what of it was not as the agreement's policy wants; texts of runtime/attestation. */
const MACHINE: readonly Cause[] = [
  ended(
    'process',
    'ATTESTATION_REJECTED',
    /^trainer process rejected/,
    'The trainer refused the process that it was started in.',
    ['deploy the machine again', 'docs/threat-model.md'],
  ),
  ended(
    'worker-confinement',
    'ATTESTATION_REJECTED',
    /^worker is not confined/,
    'The system could not shut the worker in: the image lacks what confines it.',
    ['use the image that the deployment names', 'docs/custom-models.md'],
  ),
  ended('no-vtpm', 'ATTESTATION_REJECTED', /^no vTPM at/, 'The machine has no vTPM: it is no confidential VM.', [
    'deploy a confidential VM size: docs/first-deployment.md',
  ]),
  ended(
    'pcr-used',
    'ATTESTATION_REJECTED',
    /pcr 15 already holds/i,
    'The machine has measured another run, or something else, in this boot: each run wants a boot of its own.',
    ['deallocate the machine, then the same ctrain train again'],
  ),
  ended(
    'revocation-list',
    'ATTESTATION_REJECTED',
    /revo/i,
    "AMD's revocation list is missing, has run out, or names this machine's processor.",
    [
      'ctrain publish-revocation-list',
      'if the processor is on it: move the machine to another host, by deallocating it',
    ],
  ),
  ended(
    'debug',
    'ATTESTATION_REJECTED',
    /debug is off/,
    'The machine is in debug mode: its host could read all its memory.',
    ['never use this machine: deploy another', 'docs/runbook.md'],
    ['trainer', 'attestation', 'activity'],
  ),
  ended(
    'secure-boot',
    'ATTESTATION_REJECTED',
    /secure boot is on|event log/,
    'The machine did not boot as its policy wants: secure boot is off, or its event log is not what was measured.',
    [
      'turn secure boot and vTPM on: docs/first-deployment.md',
      'ctrain verify-evidence on the evidence, for what it booted',
    ],
    ['trainer', 'activity'],
  ),
  ended(
    'firmware-old',
    'ATTESTATION_REJECTED',
    /tcb is new enough|report version|guest svn/i,
    "The host's firmware is older than the agreement accepts.",
    ['deallocate and start the machine: another host may be newer', 'else agree on a lower minimum: ctrain propose'],
  ),
  ended(
    'not-genuine',
    'ATTESTATION_REJECTED',
    /^evidence is not genuine|^quote rejected|quote does not match|quote is signed|root is the pinned/,
    "The machine's evidence does not hold: it is of another machine, of another time, or made up.",
    ['deploy the machine again', 'if it stays so: docs/runbook.md'],
    ['trainer', 'attestation', 'activity'],
  ),
  ended(
    'environment-policy',
    'ATTESTATION_REJECTED',
    /^(environment|attestation) rejected/,
    'The machine is genuine, but not what the agreement accepts.',
    ['ctrain explain-policy', 'agree on this kind of machine, or deploy the kind agreed on: ctrain propose'],
  ),
  ended(
    'token-rejected',
    'ATTESTATION_REJECTED',
    /^attestation token rejected|was not sealed to this machine/,
    "The attestation service's token does not hold: replayed, of another machine, or of another service.",
    ['check the attestation authority in the agreement', 'docs/runbook.md'],
    ['trainer', 'attestation'],
  ),
  ended(
    'attestation-policy',
    'ATTESTATION_REJECTED',
    /PolicyEvaluationError|attestation policy refuses/i,
    "The attestation provider's policy refuses this machine.",
    ['compare the policy with the deployed one: docs/runbook.md', 'ctrain explain-policy'],
    ['attestation', 'activity', 'trainer'],
  ),
  ended(
    'attestation-refused',
    'ATTESTATION_REJECTED',
    /^attestation by /,
    'The attestation service refused the evidence.',
    ['its reason stands in the check above', 'deallocate and start the machine, then the same command again'],
    ['attestation', 'trainer'],
  ),
  ended(
    'machine-rejected',
    'ATTESTATION_REJECTED',
    undefined,
    'The machine is not trusted.',
    ['the failed checks say why', 'docs/threat-model.md'],
    ['trainer', 'attestation'],
  ),
];

/** Refusals of keys, by what the vault answered (learn.microsoft.com/azure/key-vault/general/rest-error-codes) or the reply lacked. */
const RELEASE: readonly Cause[] = [
  ended(
    'release-policy',
    'RELEASE_DENIED',
    /does not meet key release policy/i,
    "The key's release policy does not accept this machine or this trainer.",
    ['ctrain explain-policy', 'a new trainer needs a new key: ctrain rotate-keys (docs/rotating-keys.md)'],
    ['vault', 'trainer'],
  ),
  ended(
    'release-role',
    'RELEASE_DENIED',
    /not authorized to perform action|ForbiddenByRbac/i,
    "The machine's identity has no release role on the key: it was never granted, or was taken away.",
    ['the data owner grants it by signing: ctrain approve', 'ctrain doctor'],
    ['vault', 'activity', 'trainer'],
  ),
  ended(
    'release-firewall',
    'RELEASE_DENIED',
    /client address is not authorized|public network access is disabled|ForbiddenBy(Firewall|Connection)/i,
    "The vault's firewall refused the machine: its name resolved to the public address instead of the private endpoint's, or the rule changed.",
    NETWORK,
    ['vault', 'activity', 'trainer'],
  ),
  ended(
    'release-key-disabled',
    'RELEASE_DENIED',
    /disabled key|KeyDisabled/i,
    'The key version that the agreement names is disabled.',
    ['ask the data owner: enabled again, or a new agreement with ctrain propose', 'docs/rotating-keys.md'],
    ['vault', 'activity', 'trainer'],
  ),
  ended(
    'release-key-expired',
    'RELEASE_DENIED',
    /expired|not yet valid/i,
    'The key version that the agreement names has expired, or is not valid yet.',
    ['ctrain rotate-keys', 'docs/rotating-keys.md'],
    ['vault', 'trainer'],
  ),
  ended(
    'release-token',
    'RELEASE_DENIED',
    /attestation statement cannot be verified/i,
    'The vault could not verify the attestation token: it does not reach the attestation service, or that one is not in the policy.',
    ['ctrain explain-policy', 'the same command again: it passes by itself when the service was away'],
    ['vault', 'attestation', 'trainer'],
  ),
  ended(
    'release-key-gone',
    'RELEASE_DENIED',
    /no version .* of this key|status 404/i,
    'The vault has no such version of the key: deleted, or of another vault.',
    ['ask the data owner: recovered, or a new agreement with ctrain propose'],
    ['vault', 'activity', 'trainer'],
  ),
  ended(
    'release-not-exportable',
    'RELEASE_DENIED',
    /not exportable/i,
    'The key cannot be released by anybody: it was made without a release policy.',
    ['ctrain rotate-keys (docs/rotating-keys.md)'],
    ['vault', 'trainer'],
  ),
  ended(
    'release-reply',
    'RELEASE_DENIED',
    /^reply of|released key/,
    "The vault's answer does not hold: another policy, another key, or not signed by a vault.",
    ['do not go on before the data owner knows', 'docs/runbook.md'],
    ['vault', 'activity', 'trainer'],
  ),
  ended(
    'release-refused',
    'RELEASE_DENIED',
    undefined,
    'The vault refused the key.',
    ['the reason stands in the check above', 'docs/runbook.md#release-refused'],
    ['vault', 'activity', 'trainer'],
  ),
];

const CONSENT: readonly Cause[] = [
  ended('agreement-expired', 'CONSENT_MISSING', /expired/, 'The agreement has expired.', [
    'ctrain propose, then ctrain approve by everybody',
  ]),
  ended('agreement-used-up', 'CONSENT_MISSING', /used up/, 'The agreement has had all its runs.', [
    'ctrain propose with a higher number of runs, then ctrain approve by everybody',
  ]),
  ended('agreement-unsigned', 'CONSENT_MISSING', /no valid signature/, 'Not everybody has signed the agreement.', [
    'ctrain approve by those named',
  ]),
  ended(
    'agreement-other-trainer',
    'CONSENT_MISSING',
    /trainer [0-9a-f]{64} is not one it names/,
    'The machine runs another trainer than the agreement names.',
    [
      'ctrain propose for the deployed trainer, then ctrain approve',
      'or deploy the trainer agreed on: ctrain publish-trainer',
    ],
  ),
  ended(
    'agreement-other-code',
    'CONSENT_MISSING',
    /custom code/,
    "The trainer's custom code is not the one agreed on.",
    ['ctrain propose for the deployed trainer, then ctrain approve', 'docs/custom-models.md'],
  ),
  ended(
    'agreement-replaced',
    'CONSENT_MISSING',
    /not the one it was asked for/,
    'The agreement in the store is not the one that the run was asked for with: somebody replaced it.',
    ['ctrain access-log shows who wrote it', 'then the same ctrain train again'],
    ['storage', 'trainer'],
  ),
  ended(
    'manifest-replaced',
    'CONSENT_MISSING',
    /manifest\.dsse\.json/,
    'The dataset in the store is another version than the one agreed on: put back, or replaced.',
    ['ctrain inspect shows what is there', 'ctrain upload of the version agreed on, or ctrain propose for the new one'],
    ['storage', 'trainer'],
  ),
  ended('consent-missing', 'CONSENT_MISSING', undefined, 'Somebody whose data or code it is has not agreed.', [
    'ctrain propose, then ctrain approve by everybody',
  ]),
];

const DATA: readonly Cause[] = [
  ended(
    'checkpoint-refused',
    'CIPHERTEXT_REJECTED',
    /checkpoint/,
    'A checkpoint is not one that this run sealed: altered, or of another run.',
    ['ctrain access-log shows who wrote it', 'queue the run anew: ctrain train'],
    ['storage', 'trainer'],
  ),
  ended(
    'slot-missing',
    'CIPHERTEXT_REJECTED',
    /key slot|wrapped key/,
    'A shard has no key that the agreement names: keys were rotated since, or its keys.json was altered.',
    ['ctrain inspect', 'ctrain propose for the keys of now (docs/rotating-keys.md)'],
    ['storage', 'trainer'],
  ),
  ended(
    'weights-refused',
    'CIPHERTEXT_REJECTED',
    /weights agreed on/,
    'The initial weights are not the ones agreed on.',
    ['the same ctrain train with the file that the agreement names'],
    ['storage', 'trainer'],
  ),
  ended(
    'shard-refused',
    'CIPHERTEXT_REJECTED',
    undefined,
    'Sealed data was altered in the store, replaced by an older state, or is under another key.',
    ['ctrain access-log shows who wrote it', 'ctrain upload puts the right one back'],
    ['storage', 'trainer'],
  ),
  ended(
    'manifest-malformed',
    'EVIDENCE_MALFORMED',
    /manifest/,
    "The dataset's manifest is none that its owner signed.",
    ['ctrain access-log shows who wrote it', 'ctrain upload puts the right one back'],
    ['storage', 'trainer'],
  ),
  ended(
    'checkpoint-malformed',
    'EVIDENCE_MALFORMED',
    /checkpoint/,
    "A checkpoint's record is not what this version writes.",
    ['ctrain access-log shows who wrote it', 'queue the run anew: ctrain train'],
    ['storage', 'trainer'],
  ),
  ended(
    'malformed',
    'EVIDENCE_MALFORMED',
    undefined,
    'Something that the run read is not what it claims to be.',
    ['the check above names it', 'ctrain access-log shows who wrote it'],
    ['storage', 'trainer'],
  ),
];

const TRAINING: readonly Cause[] = [
  ended(
    'storage-firewall',
    'CONFIG_INVALID',
    /AuthorizationFailure|PublicAccessNotPermitted/,
    "The storage account's firewall refused the machine: its name resolved to the public address, or the rule changed.",
    NETWORK,
    ['storage', 'activity'],
  ),
  ended(
    'storage-role',
    'CONFIG_INVALID',
    /AuthorizationPermissionMismatch/,
    "The machine's identity has no role on the storage account.",
    ['ctrain doctor', 'deploy again: docs/first-deployment.md'],
    ['storage', 'activity'],
  ),
  ended('not-finite', 'CONFIG_INVALID', /not finite/, 'The loss is no number any more: the training diverged.', [
    'a lower training.learning_rate, or normalised features: docs/training.md',
    'ctrain train --dry-run looks at one batch first',
  ]),
  ended(
    'memory',
    'CONFIG_INVALID',
    /more memory|of memory|for tensors/,
    'The run needs more memory than the machine has for it.',
    ['a lower training.batch_size or a larger machine', 'ctrain train --dry-run reckons it before'],
  ),
  ended(
    'privacy-budget',
    'CONFIG_INVALID',
    /privacy_budget|epsilon/,
    "The run's privacy budget does not cover a step: it is spent, or was too small.",
    [
      'more training.privacy_noise or a larger training.privacy_budget: docs/privacy.md',
      'ctrain propose, for it is part of the agreement',
    ],
  ),
  ended(
    'custom-module',
    'CONFIG_INVALID',
    /^custom module: /,
    'The custom module failed; what it said itself is sealed to the data owners, for it may quote rows.',
    ['ctrain errors RUN, by a data owner', 'docs/custom-models.md'],
  ),
  ended(
    'blob-missing',
    'CONFIG_INVALID',
    /there is no such blob|status 404/,
    'Something that the run needs is not in the store.',
    ['ctrain upload', 'ctrain inspect shows what is there'],
    ['storage', 'activity'],
  ),
  ended('configuration', 'CONFIG_INVALID', undefined, 'The run cannot be done as it is configured.', [
    'the check above says what to change: docs/training.md',
    'ctrain train --dry-run',
  ]),
];

/** What another try may mend. */
const INTERRUPTED: readonly Cause[] = [
  ended(
    'lease-lost',
    'UNAVAILABLE',
    /\blease\b/,
    'Another machine has the run: this one gave it up.',
    ['nothing: the other one goes on', 'ctrain runs'],
    ['storage', 'trainer'],
  ),
  ended(
    'told-to-stop',
    'UNAVAILABLE',
    /told to stop|stopped after step|worker: stopped/,
    'The trainer was told to stop, and kept a checkpoint.',
    [AGAIN],
    ['activity', 'trainer'],
  ),
  ended(
    'worker-died',
    'UNAVAILABLE',
    /^worker |broker has gone/,
    'The training process ended without a word: killed, mostly for lack of memory.',
    [AGAIN, 'a larger machine, or a lower training.batch_size'],
    ['trainer'],
  ),
  ended(
    'no-identity',
    'UNAVAILABLE',
    /^token of identity/,
    'The machine got no identity token: the metadata service did not answer, or does not know the identity.',
    ['ctrain doctor', AGAIN],
    ['activity', 'trainer'],
  ),
  ended(
    'name-unresolved',
    'UNAVAILABLE',
    /ENOTFOUND|EAI_AGAIN/,
    'The machine does not resolve the name of a service.',
    NETWORK,
    ['activity', 'trainer'],
  ),
  ended(
    'certificate',
    'UNAVAILABLE',
    /certificate refused/,
    "Something answers in a service's name whose certificate does not hold: a proxy that opens TLS?",
    NETWORK,
    ['activity', 'trainer'],
  ),
  ended(
    'vault-away',
    'UNAVAILABLE',
    /^release of /,
    'The vault did not answer, or was busy, longer than the trainer asks again.',
    ['wait until the vault answers, then:', AGAIN],
    ['vault', 'activity', 'trainer'],
  ),
  ended(
    'attestation-away',
    'UNAVAILABLE',
    /^(attestation by|certificates of) /,
    'The attestation service did not answer, or was busy, longer than the trainer asks again.',
    ['wait until it answers, then:', AGAIN],
    ['attestation', 'activity', 'trainer'],
  ),
  ended(
    'storage-away',
    'UNAVAILABLE',
    /(datasets|runs|trainer)\//,
    'The store did not answer, or was busy, longer than the trainer asks again.',
    ['wait until it answers, then:', AGAIN],
    ['storage', 'activity', 'trainer'],
  ),
  ended(
    'interrupted',
    'UNAVAILABLE',
    undefined,
    'A service that the run needs was away for too long.',
    [AGAIN],
    ['activity', 'trainer'],
  ),
  {
    name: 'internal',
    code: 'UNAVAILABLE',
    recognise: endedWith({ code: 'INTERNAL' }),
    says: 'The trainer ended by a fault of its own; its console has the stack.',
    next: [AGAIN, 'report the stack of the serial console'],
    logs: ['trainer'],
  },
];

export const RUN_CAUSES: readonly Cause[] = [...MACHINE, ...RELEASE, ...CONSENT, ...DATA, ...TRAINING, ...INTERRUPTED];
