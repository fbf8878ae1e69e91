import { beforeAll, describe, expect, test } from 'vitest';
import { reissueVcek } from '../../../emulator/amd-pki.ts';
import { acceptEvidence, evidenceFailures, type VerdictOptions } from '../../../runtime/attestation/verdict.ts';
import { STRICT_ENVIRONMENT, type Tcb } from '../../../runtime/catalogue.ts';
import { createMachine, evidenceOf, type Machine, NONCE } from './machine.ts';

// AMD-SB-3019 (CVE-2024-56161): firmware that loads no forged microcode is SNP SPL 0x18 on Milan, 0x17 on Genoa.
const FIXED = { Milan: 0x18, Genoa: 0x17 } as const;

/** A machine that is as the strict policy demands, but for the SNP part of one of its three TCBs. */
function failuresWith(machine: Machine, options: VerdictOptions, which: string, snp: number): readonly string[] {
  const good: Tcb = STRICT_ENVIRONMENT.minimumTcb[machine.pki.generation];
  // The highest microcode there can be: no part makes up for another.
  const tcb = { ...good, snp, microcode: 255 };
  const changes = {
    reported: { pki: reissueVcek(machine.pki, { tcb }), hardware: { committedTcb: good, launchTcb: good } },
    committed: { hardware: { committedTcb: tcb } },
    launch: { hardware: { launchTcb: tcb } },
  }[which];
  return evidenceFailures(evidenceOf(machine, changes ?? {}), options);
}

describe.each(['Milan', 'Genoa'] as const)('EntrySign on %s', (generation) => {
  const fixed = FIXED[generation];
  let machine: Machine;
  let options: VerdictOptions;

  beforeAll(async () => {
    machine = await createMachine(generation);
    options = { trust: machine.trust, at: new Date(), policy: STRICT_ENVIRONMENT, expected: { nonce: NONCE } };
    expect(acceptEvidence(evidenceOf(machine), options).generation).toBe(generation);
  }, 60_000);

  test.each(['reported', 'committed', 'launch'])('the fixed firmware is accepted as the %s one', (which) => {
    expect(failuresWith(machine, options, which, fixed)).toEqual([]);
  });

  test.each(['reported', 'committed', 'launch'])('the one before it is refused as the %s one', (which) => {
    expect(failuresWith(machine, options, which, fixed - 1)).toEqual([`${which} tcb is new enough`]);
  });
});
