import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ATTESTATION_POLICY,
  attestationPolicyHash,
  buildReleasePolicy,
  decodeReleasePolicy,
  evaluateReleasePolicy,
  parseReleasePolicy,
  policyDigest,
  policyKeyName,
  type ReleasePolicy,
  releasePolicyBytes,
  releasePolicyProblems,
  samePolicy,
} from '../../../runtime/keys/release-policy.ts';

const AUTHORITY = 'https://maowner.neu.attest.azure.net';
const VM_ID = '0a1b2c3d-0001-4002-8003-a0b0c0d0e0f0';
const policy = buildReleasePolicy({ authority: AUTHORITY, vmIds: [VM_ID] });
const tee = {
  'x-ms-attestation-type': 'sevsnpvm',
  'x-ms-compliance-status': 'azure-compliant-cvm',
  'x-ms-sevsnpvm-is-debuggable': false,
  'x-ms-sevsnpvm-migration-allowed': false,
};
const claims = {
  iss: AUTHORITY,
  secureboot: true,
  'x-ms-attestation-type': 'azurevm',
  'x-ms-policy-hash': attestationPolicyHash(ATTESTATION_POLICY),
  'x-ms-azurevm-vmid': VM_ID.toUpperCase(),
  'x-ms-isolation-tee': tee,
};
const invalid = (message: string | RegExp) =>
  expect.objectContaining({
    code: 'CONFIG_INVALID',
    message: typeof message === 'string' ? message : expect.stringMatching(message),
  });
const VECTORS = process.env.ATTESTATION_VECTORS ?? '../shared/vectors';

describe('build', () => {
  test('demands everything by itself', () => {
    expect(policy).toEqual({
      version: '1.0.0',
      anyOf: [
        {
          authority: AUTHORITY,
          allOf: [
            { claim: 'x-ms-policy-hash', equals: attestationPolicyHash(ATTESTATION_POLICY) },
            { claim: 'x-ms-attestation-type', equals: 'azurevm' },
            { claim: 'secureboot', equals: 'true' },
            { claim: 'x-ms-isolation-tee.x-ms-attestation-type', equals: 'sevsnpvm' },
            { claim: 'x-ms-isolation-tee.x-ms-compliance-status', equals: 'azure-compliant-cvm' },
            { claim: 'x-ms-isolation-tee.x-ms-sevsnpvm-is-debuggable', equals: 'false' },
            { claim: 'x-ms-isolation-tee.x-ms-sevsnpvm-migration-allowed', equals: 'false' },
            {
              anyOf: [
                { claim: 'x-ms-azurevm-vmid', equals: VM_ID.toUpperCase() },
                { claim: 'x-ms-azurevm-vmid', equals: VM_ID },
              ],
            },
          ],
        },
      ],
    });
    expect(releasePolicyProblems(policy)).toEqual([]);
  });

  test.each([
    [{ authority: 'https://sharedneu.neu.attest.azure.net' }, /is shared: anybody's machine passes there$/],
    [{ authority: `${AUTHORITY}/` }, /is not https:\/\/NAME\.REGION\.attest\.azure\.net without a slash at the end$/],
    [{ authority: 'http://maowner.neu.attest.azure.net' }, /is not https/],
    [{ authority: 'https://maowner.neu.attest.azure.net.evil.example' }, /is not https/],
    [{ authority: AUTHORITY, vmIds: [] }, 'vmIds: an empty list lets no machine in; say "any" or name some'],
    [{ authority: AUTHORITY, vmIds: ['vm-1'] }, 'vmIds: "vm-1" is not the id of a virtual machine'],
    [{ authority: AUTHORITY, policyHash: 'abc' }, 'policyHash: wanted 43 characters of base64url'],
  ])('refuses %j', (options, message) => {
    expect(() => buildReleasePolicy(options)).toThrow(invalid(message));
  });

  test('takes a shared authority only by a name that says what it means', () => {
    const authority = 'https://sharedneu.neu.attest.azure.net';
    expect(() => buildReleasePolicy({ authority, allowSharedAuthorityWhereAnybodysMachinePasses: true })).not.toThrow();
  });
});

describe('evaluate', () => {
  test('lets in the token it is for, with every clause told', () => {
    const { allowed, clauses } = evaluateReleasePolicy(policy, claims);
    expect(allowed).toBe(true);
    expect(clauses[0]).toEqual({ clause: `authority equals ${AUTHORITY}`, found: AUTHORITY, met: true });
    expect(clauses.filter((clause) => !clause.met)).toEqual([
      { clause: `x-ms-azurevm-vmid equals ${VM_ID}`, found: VM_ID.toUpperCase(), met: false },
    ]);
  });

  test.each<[string, object]>([
    [`authority equals ${AUTHORITY}`, { iss: 'https://maother.neu.attest.azure.net' }],
    ['x-ms-policy-hash equals', { 'x-ms-policy-hash': 'x' }],
    ['x-ms-attestation-type equals azurevm', { 'x-ms-attestation-type': 'sevsnpvm' }],
    ['secureboot equals true', { secureboot: false }],
    ['secureboot equals true', { secureboot: undefined }],
    [
      'x-ms-isolation-tee.x-ms-attestation-type',
      { 'x-ms-isolation-tee': { ...tee, 'x-ms-attestation-type': 'tdxvm' } },
    ],
    [
      'x-ms-isolation-tee.x-ms-compliance-status',
      { 'x-ms-isolation-tee': { ...tee, 'x-ms-compliance-status': ['azure-compliant-cvm'] } },
    ],
    ['x-ms-sevsnpvm-is-debuggable', { 'x-ms-isolation-tee': { ...tee, 'x-ms-sevsnpvm-is-debuggable': true } }],
    ['x-ms-sevsnpvm-migration-allowed', { 'x-ms-isolation-tee': { ...tee, 'x-ms-sevsnpvm-migration-allowed': true } }],
    ['x-ms-azurevm-vmid', { 'x-ms-azurevm-vmid': '00000000-0000-4000-8000-000000000000' }],
  ])('refuses when %s is not met (%#)', (clause, change) => {
    const { allowed, clauses } = evaluateReleasePolicy(policy, { ...claims, ...change });
    expect(allowed).toBe(false);
    const missed = clauses.filter(({ met, clause: text }) => !met && text !== `x-ms-azurevm-vmid equals ${VM_ID}`);
    expect(missed.map((result) => result.clause)).toEqual([expect.stringContaining(clause)]);
  });

  test('one authority does not lend its conditions to another', () => {
    const two = {
      ...policy,
      anyOf: [...policy.anyOf, { authority: 'https://mab.neu.attest.azure.net', allOf: [{ claim: 'x', equals: '1' }] }],
    };
    expect(evaluateReleasePolicy(two, { iss: 'https://mab.neu.attest.azure.net' }).allowed).toBe(false);
    expect(evaluateReleasePolicy(two, { iss: AUTHORITY, x: '1' }).allowed).toBe(false);
  });

  test('paths reach neither lists nor inherited members', () => {
    const on = (claim: string): ReleasePolicy => ({
      version: '1.0.0',
      anyOf: [{ authority: AUTHORITY, allOf: [{ claim, equals: '1' }] }],
    });
    expect(evaluateReleasePolicy(on('a.0'), { iss: AUTHORITY, a: ['1'] }).allowed).toBe(false);
    expect(evaluateReleasePolicy(on('a.length'), { iss: AUTHORITY, a: ['1'] }).allowed).toBe(false);
    expect(evaluateReleasePolicy(on('constructor.length'), { iss: AUTHORITY }).allowed).toBe(false);
    expect(evaluateReleasePolicy(on('a.b'), { iss: AUTHORITY, a: { b: 1 } }).allowed).toBe(true);
  });
});

describe('meaning', () => {
  // Recorded: azure-sdk-for-python, test_key_release, what was sent and what the vault gave back.
  test('is not changed by what the service makes of a policy', () => {
    const sent = { anyOf: [{ anyOf: [{ claim: 'sdk-test', equals: true }], authority: AUTHORITY }], version: '1.0.0' };
    const returned = {
      version: '1.0.0',
      anyOf: [{ authority: AUTHORITY, anyOf: [{ claim: 'sdk-test', equals: 'true' }] }],
    };
    expect(JSON.stringify(parseReleasePolicy(sent))).toBe(JSON.stringify(returned));
    expect(samePolicy(parseReleasePolicy(sent), parseReleasePolicy(returned))).toBe(true);
  });

  test('does not depend on order, and its bytes are a policy', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7], { minLength: 8 }), (order) => {
        const [entry] = policy.anyOf;
        const conditions = entry !== undefined && 'allOf' in entry ? entry.allOf : [];
        const allOf = order.flatMap((i) => conditions[i] ?? []);
        const shuffled: ReleasePolicy = { version: '1.0.0', anyOf: [{ allOf, authority: AUTHORITY }] };
        expect(policyDigest(shuffled)).toBe(policyDigest(policy));
        expect(samePolicy(decodeReleasePolicy(releasePolicyBytes(shuffled)), policy)).toBe(true);
      }),
      { numRuns: 10 },
    );
  });

  test.each<[string, ReleasePolicy]>([
    ['another machine', buildReleasePolicy({ authority: AUTHORITY })],
    ['another authority', buildReleasePolicy({ authority: 'https://mab.neu.attest.azure.net', vmIds: [VM_ID] })],
    ['another policy hash', buildReleasePolicy({ authority: AUTHORITY, vmIds: [VM_ID], policyHash: 'A'.repeat(43) })],
  ])('differs for %s', (_, other) => {
    expect(samePolicy(other, policy)).toBe(false);
    expect(policyKeyName('training-key', other)).not.toBe(policyKeyName('training-key', policy));
  });

  test('names a key by eight digits of its digest', () => {
    expect(policyKeyName('training-key', policy)).toBe(`training-key-${policyDigest(policy).slice(0, 8)}`);
  });
});

describe('problems', () => {
  test('of a policy for containers, and of one that any branch weakens', () => {
    const container: ReleasePolicy = {
      version: '1.0.0',
      anyOf: [{ authority: AUTHORITY, allOf: [{ claim: 'x-ms-sevsnpvm-is-debuggable', equals: 'false' }] }],
    };
    expect(releasePolicyProblems(container)).toContain(
      'x-ms-sevsnpvm-is-debuggable is a claim of containers: in a VM it is x-ms-isolation-tee.x-ms-sevsnpvm-is-debuggable',
    );
    const [entry] = policy.anyOf;
    const weak: ReleasePolicy = {
      version: '1.0.0',
      anyOf: [
        {
          authority: AUTHORITY,
          anyOf: [
            { allOf: entry !== undefined && 'allOf' in entry ? entry.allOf : [] },
            { claim: 'secureboot', equals: 'true' },
          ],
        },
      ],
    };
    expect(releasePolicyProblems(weak)).toHaveLength(6);
  });

  test.skipIf(!existsSync(VECTORS))("Microsoft's disk policy: read, and too weak for us", () => {
    const sample = decodeReleasePolicy(readFileSync(`${VECTORS}/guest-attestation/public_SKR_policy-datadisk.json`));
    const token = JSON.parse(
      readFileSync(`${VECTORS}/guest-attestation/sampleAttestationToken.json`, 'utf8'),
    ) as Record<string, unknown>;
    expect(sample.anyOf).toHaveLength(26);
    // Authorities are there with a slash and without; tokens have none.
    expect(evaluateReleasePolicy(sample, { ...token, iss: 'https://sharedeus.eus.attest.azure.net' }).allowed).toBe(
      true,
    );
    expect(evaluateReleasePolicy(sample, token).allowed).toBe(false);
    expect(releasePolicyProblems(sample).some((problem) => problem.includes('is shared'))).toBe(true);
  });
});

test.each<[unknown, string]>([
  [null, 'policy: wanted an object'],
  [{ version: '0.2', anyOf: [] }, 'policy.version: wanted "1.0.0"'],
  [{ version: '1.0.0', anyOf: [] }, 'policy.anyOf: wanted a list that is not empty'],
  [{ version: '1.0.0', allOf: [] }, 'policy: "allOf" is not one of version, anyOf'],
  [
    { version: '1.0.0', anyOf: [{ authority: 'a', allOf: [] }] },
    'policy.anyOf[0].allOf: wanted a list that is not empty',
  ],
  [{ version: '1.0.0', anyOf: [{ authority: 'a' }] }, 'policy.anyOf[0]: wanted one of allOf and anyOf'],
  [
    { version: '1.0.0', anyOf: [{ authority: 'a', allOf: [1], anyOf: [1] }] },
    'policy.anyOf[0]: wanted one of allOf and anyOf',
  ],
  [
    { version: '1.0.0', anyOf: [{ authority: 'a', allOf: [{ claim: 'c', notEquals: '1' }] }] },
    'policy.anyOf[0].allOf[0]: "notEquals" is not one of claim, equals',
  ],
  [
    { version: '1.0.0', anyOf: [{ authority: 'a', allOf: [{ claim: 'c', equals: ['1'] }] }] },
    'policy.anyOf[0].allOf[0].equals: wanted text, a number or a boolean',
  ],
  // 2^53 and 2^53 + 1 are one number once they are parsed.
  [
    { version: '1.0.0', anyOf: [{ authority: 'a', allOf: [{ claim: 'c', equals: 2 ** 53 }] }] },
    'policy.anyOf[0].allOf[0].equals: wanted text, a number or a boolean',
  ],
  [{ version: '1.0.0', anyOf: [], 'a\nb': 1 }, 'policy: "a\\nb" is not one of version, anyOf'],
])('refuses %j', (value, message) => {
  expect(() => parseReleasePolicy(value)).toThrow(invalid(message));
});

test('no value makes the reader throw anything but CONFIG_INVALID', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.json().map((text) => new TextEncoder().encode(text)),
      ),
      (bytes) => {
        try {
          decodeReleasePolicy(bytes);
        } catch (error) {
          expect(error).toMatchObject({ code: 'CONFIG_INVALID' });
        }
      },
    ),
    { numRuns: 100 },
  );
});
