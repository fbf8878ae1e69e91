import type { BootWord } from '../../runtime/run-steps.ts';
import type { Cause } from './cause.ts';
import { bootWord, type Facts, lastBoot, trainerSpoke } from './facts.ts';

/** A run that waits, or was being done when it was last heard of: only then a boot has anything to tell of it. */
function isOpen({ status }: Facts): boolean {
  return status === undefined || status.state === 'queued' || status.state === 'running';
}

const isOn = ({ machine }: Facts) => machine === 'running' || machine === 'starting';

/** The boot that ended, or hangs, with this word: the trainer has said nothing since. */
function bootEnds(word: BootWord, matches: (about: string, code: string) => boolean = () => true): Cause['recognise'] {
  return (facts) => {
    if (!isOpen(facts) || trainerSpoke(facts)) return undefined;
    const last = lastBoot(facts).findLast(({ line }) => line.kind === 'boot' && line.word !== 'open');
    const found = bootWord(facts, word);
    if (found === undefined || last?.number !== found.number || !matches(found.line.about, found.line.code)) {
      return undefined;
    }
    const { about, digest, code } = found.line;
    const what = [`boot.${word}`, about, digest, code === '' ? '' : `code ${code}`]
      .filter((part) => part !== '')
      .join(' ');
    return { evidence: [{ source: 'console', at: `line ${found.number}`, what }] };
  };
}

const waitsWith = (...codes: readonly string[]) => bootEnds('waiting', (_, code) => codes.includes(code));
const PEEK = 'az vm boot-diagnostics get-boot-log --name VM --resource-group GROUP > console.txt';
const RESTART = 'restart the machine: az vm restart --name VM --resource-group GROUP';

/** What keeps a machine from coming as far as a run; codes of `waiting` are curl's (curl.se/docs/manpage.html, exit codes). */
export const BOOT_CAUSES: readonly Cause[] = [
  {
    name: 'boot-node-digest',
    code: 'CIPHERTEXT_REJECTED',
    recognise: bootEnds('refused', (about) => about === 'node'),
    says: 'The machine started nothing: the Node binary in the store is not the one its configuration names.',
    next: ['ctrain publish-trainer', 'if nobody of yours replaced it: docs/runbook.md'],
    logs: ['storage', 'activity'],
  },
  {
    name: 'boot-bundle-digest',
    code: 'CIPHERTEXT_REJECTED',
    recognise: bootEnds('refused'),
    says: 'The machine started nothing: the trainer bundle in the store is not the one its configuration names.',
    next: ['ctrain publish-trainer', 'if nobody of yours replaced it: docs/runbook.md'],
    logs: ['storage', 'activity'],
  },
  {
    name: 'boot-no-identity',
    code: 'UNAVAILABLE',
    recognise: waitsWith('1'),
    says: 'The machine gets no identity token: its managed identity is missing, or the metadata service does not answer.',
    next: [
      'ctrain doctor',
      'assign the identity of the deployment to the machine: deploy again (docs/first-deployment.md)',
    ],
    logs: ['activity'],
  },
  {
    name: 'boot-storage-name',
    code: 'UNAVAILABLE',
    recognise: waitsWith('6'),
    says: 'The machine does not resolve the name of the storage account: its host file has no line for it.',
    next: ['ctrain doctor', 'the private endpoint had no address when the machine was made: deploy again'],
    logs: ['activity'],
  },
  {
    name: 'boot-storage-network',
    code: 'UNAVAILABLE',
    recognise: waitsWith('7', '28', '35', '52', '56'),
    says: 'The machine does not reach the storage account: no private endpoint at that address, or a network rule in between.',
    next: ['ctrain doctor', 'compare the network security group with the deployment: ctrain review-plan'],
    logs: ['activity'],
  },
  {
    name: 'boot-storage-certificate',
    code: 'UNAVAILABLE',
    recognise: waitsWith('60', '51', '58'),
    says: 'Something answers in the name of the storage account whose certificate does not hold: a proxy that opens TLS?',
    next: ['ctrain doctor', 'take the proxy out of the way between machine and storage: nothing is sent through it'],
  },
  {
    name: 'boot-disk',
    code: 'UNAVAILABLE',
    recognise: waitsWith('23'),
    says: 'The machine cannot write what it fetched: its disk is full or read-only.',
    next: ['give the machine a larger disk and deploy again', RESTART],
  },
  {
    name: 'boot-not-published',
    code: 'CONFIG_INVALID',
    recognise: waitsWith('22'),
    says: 'The store refuses what the machine boots from, or does not have it: nothing was published under its digest, or the identity lacks the role.',
    next: ['ctrain publish-trainer', 'ctrain doctor'],
    logs: ['storage', 'activity'],
  },
  {
    name: 'boot-waiting',
    code: 'UNAVAILABLE',
    recognise: bootEnds('waiting'),
    says: 'The machine waits for what it boots from; the code is the one that curl ended with.',
    next: ['look the code up in the manual of curl, exit codes', 'ctrain doctor'],
    logs: ['storage', 'activity'],
  },
  {
    name: 'boot-command-failed',
    code: 'UNAVAILABLE',
    recognise: bootEnds('failed'),
    says: 'A command of the boot failed that had to succeed: most likely the disk is full or read-only.',
    next: ['give the machine a larger disk and deploy again', RESTART],
  },
  {
    name: 'trainer-refused-process',
    code: 'ATTESTATION_REJECTED',
    recognise: (facts) => {
      if (!isOpen(facts)) return undefined;
      const lines = lastBoot(facts);
      const index = lines.findLastIndex(
        ({ line }) => line.kind === 'step' && line.fields.step === 'hygiene' && line.fields.state === 'failed',
      );
      const found = lines[index];
      if (found === undefined) return undefined;
      const checks = lines.slice(index + 1).flatMap(({ line }) => (line.kind === 'check' ? [line.check] : []));
      return {
        checks,
        evidence: [{ source: 'console', at: `line ${found.number}`, what: 'step=hygiene state=failed' }],
      };
    },
    says: 'The trainer refused the process that it was started in, and took no run.',
    next: ['start it as its unit does: deploy the machine again', 'docs/threat-model.md'],
    logs: ['trainer'],
  },
  {
    name: 'trainer-killed',
    code: 'UNAVAILABLE',
    recognise: (facts) => {
      const found = bootWord(facts, 'stopped');
      const last = lastBoot(facts).at(-1);
      if (!isOpen(facts) || found === undefined || last?.number !== found.number || found.line.about === 'success')
        return undefined;
      // A refusal has its own words before it.
      if (found.line.about === 'exit-code' && !['1', '127', '137'].includes(found.line.code)) return undefined;
      const what = `boot.stopped ${found.line.about} code ${found.line.code}`;
      return { evidence: [{ source: 'console', at: `line ${found.number}`, what }] };
    },
    says: "The trainer's process ended without a last word, and is not started again: killed (KILL is mostly for lack of memory), or a fault of ours.",
    next: [
      'ctrain train --data FILE: the same command goes on from the newest checkpoint',
      'a larger machine, or a lower training.batch_size',
    ],
    logs: ['trainer'],
  },
  {
    name: 'boot-trainer-silent',
    code: 'UNAVAILABLE',
    recognise: bootEnds('ready'),
    says: 'The machine has booted and started the trainer, which has said nothing yet.',
    next: ['look again in a minute: ctrain diagnose', RESTART],
  },
  {
    name: 'boot-fetching',
    code: 'UNAVAILABLE',
    recognise: (facts) => bootEnds('started')(facts, undefined) ?? bootEnds('fetched')(facts, undefined),
    says: 'The machine is fetching what it boots from, and is not done.',
    next: ['look again in a minute: ctrain diagnose', RESTART],
  },
  {
    name: 'boot-setup',
    code: 'UNAVAILABLE',
    recognise: bootEnds('closed'),
    says: 'The machine shut its doors and then did not start to fetch the trainer.',
    next: [RESTART, 'docs/first-deployment.md'],
  },
  {
    name: 'boot-silent',
    code: 'UNAVAILABLE',
    recognise: (facts) => {
      if (!isOpen(facts) || !isOn(facts) || facts.console === undefined || facts.console.length > 0) return undefined;
      return { evidence: [{ source: 'console', at: 'line 0', what: 'no line of the boot' }] };
    },
    says: 'The machine is on, but its console has no line of ours: cloud-init did not run, or did not come to its end.',
    next: ['look for cloud-init in the console', 'deploy the machine again: docs/first-deployment.md'],
    logs: ['activity'],
  },
  {
    name: 'boot-unseen',
    code: 'UNAVAILABLE',
    recognise: (facts) => {
      const waits = facts.status === undefined || facts.status.state === 'queued';
      if (!waits || !isOn(facts) || facts.console !== undefined || facts.ahead.length > 0) return undefined;
      return { evidence: [{ source: 'machine', at: facts.now.toISOString(), what: `${facts.machine}` }] };
    },
    says: 'The machine is on and has not taken the run; its console was not given, which would say why.',
    next: [PEEK, 'ctrain diagnose --console console.txt'],
  },
];
