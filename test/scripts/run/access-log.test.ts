import { describe, expect, test } from 'vitest';
import { EventChain, type EventSubject, type SecurityEvent } from '../../../runtime/events.ts';
import { type AccessLogInput, joinAccessLogs } from '../../../scripts/run/access-log.ts';
import type { StorageRow, VaultRow } from '../../../scripts/run/access-rows.ts';

const KEY = 'https://kv-owner.vault.azure.net/keys/training-key-1a2b3c4d/0123456789abcdef0123456789abcdef';
const OTHER_VERSION = `${KEY.slice(0, -32)}${'f'.repeat(32)}`;
const ESCROW = 'https://kv-owner.vault.azure.net/keys/escrow/0123456789abcdef0123456789abcdef';
const [AGREEMENT, MANIFEST] = ['a'.repeat(64), 'b'.repeat(64)];
const second = (at: number) => new Date(Date.parse('2026-11-24T03:00:00Z') + at * 1000);
const SUBJECT = { KeyId: KEY, Manifest: MANIFEST };

type Told = readonly [
  name: SecurityEvent['Event'],
  at: number,
  about?: EventSubject | undefined,
  outcome?: SecurityEvent['Outcome'],
];
const RUN: readonly Told[] = [
  ['run.started', 0],
  ['key.released', 2, SUBJECT],
  ['data.opened', 3, SUBJECT],
  ['object.opened', 4, SUBJECT],
  ['run.finished', 9],
];

function events(told: readonly Told[] = RUN, runId = 'run-1'): SecurityEvent[] {
  const all: SecurityEvent[] = [];
  const chain = new EventChain({ RunId: runId, Machine: '/vms/vm-0', Agreement: AGREEMENT }, (event) =>
    all.push(event),
  );
  for (const [name, at, about = {}, outcome = 'success'] of told) chain.record(name, outcome, '', second(at), about);
  return all;
}

const vaultRow = (change: Partial<VaultRow> = {}): VaultRow => ({
  at: second(1.5).toISOString(),
  operation: 'KeyRelease',
  keyId: KEY,
  uri: `${KEY}/release?api-version=7.4`,
  principal: 'machines',
  address: '10.0.0.4',
  status: 200,
  correlationId: 'c',
  ...change,
});
const by = (operation: string, principal: string, change: Partial<VaultRow> = {}): VaultRow =>
  vaultRow({ operation, principal, uri: `${change.keyId ?? KEY}?api-version=7.4`, ...change });
const storageRow = (change: Partial<StorageRow> = {}): StorageRow => ({
  at: second(4).toISOString(),
  operation: 'GetBlob',
  authentication: 'OAuth',
  principal: 'machines',
  address: '10.0.0.4:4711',
  uri: 'https://st.blob.core.windows.net/datasets/o/d/1/train-00000.enc',
  status: 206,
  ...change,
});
const GOOD: AccessLogInput = {
  trainer: events(),
  vault: [vaultRow()],
  storage: [storageRow()],
  vaultHost: 'kv-owner.vault.azure.net',
  trainerPrincipal: 'machines',
  owners: ['owner'],
  known: ['platform'],
  dataKeys: ['training-key-1a2b3c4d'],
  agreements: new Map([[AGREEMENT, { keyIds: [KEY], manifests: [MANIFEST], notAfter: '2026-12-31T00:00:00Z' }]]),
  rotations: [],
};
const flags = (change: Partial<AccessLogInput>): string[] =>
  joinAccessLogs({ ...GOOD, ...change }).flatMap(({ source, flag }) =>
    flag === undefined ? [] : `${source}: ${flag}`,
  );
const agreed = (change: object) => new Map([[AGREEMENT, { ...GOOD.agreements.get(AGREEMENT), ...change }]]) as never;

test('a run is explained by itself, oldest access first', () => {
  const entries = joinAccessLogs(GOOD);
  expect(entries.map(({ source, what, explained }) => [source, what, explained])).toEqual([
    ['trainer', 'run.started', 'run-1'],
    ['vault', 'KeyRelease from 10.0.0.4', 'run-1'],
    ['trainer', 'key.released', 'run-1'],
    ['trainer', 'data.opened', 'run-1'],
    ['trainer', 'object.opened', 'run-1'],
    ['storage', 'GetBlob /datasets/o/d/1/train-00000.enc', 'run-1'],
    ['trainer', 'run.finished', 'run-1'],
  ]);
  expect(flags({})).toEqual([]);
});

const RELEASED_ELSEWHERE = "a release to another identity than the machines'";
const NO_RUN = 'a release that no run asked for';
const NO_ROW = 'trainer: the trainer says it was released this key, the vault has no such release';

test.each<[string, Partial<AccessLogInput>, readonly string[]]>([
  ['a release with no run', { vault: [vaultRow(), vaultRow()] }, [`vault: ${NO_RUN}`]],
  [
    'a release with no operation known',
    { vault: [vaultRow(), vaultRow({ operation: 'Unknown' })] },
    [`vault: ${NO_RUN}`],
  ],
  ['a release long after', { vault: [vaultRow(), vaultRow({ at: second(999).toISOString() })] }, [`vault: ${NO_RUN}`]],
  ['a release by another', { vault: [vaultRow({ principal: 'x' })] }, [`vault: ${RELEASED_ELSEWHERE}`, NO_ROW]],
  [
    "an owner's own release",
    { vault: [vaultRow(), vaultRow({ principal: 'owner' })] },
    [`vault: ${RELEASED_ELSEWHERE}`],
  ],
  [
    'a release refused to another',
    { vault: [vaultRow(), vaultRow({ principal: 'x', status: 403 })] },
    [`vault: ${RELEASED_ELSEWHERE} (refused)`],
  ],
  ['a release of another version', { vault: [vaultRow({ keyId: OTHER_VERSION })] }, [`vault: ${NO_RUN}`, NO_ROW]],
  ['a claim with no row', { vault: [] }, [NO_ROW]],
  ['a claim of what was refused', { vault: [vaultRow({ status: 403 })] }, [NO_ROW]],
  [
    'no agreement',
    { agreements: new Map() },
    Array(4).fill(`no agreement ${'a'.repeat(12)} that all its parties signed is known`),
  ],
  [
    'an agreement on another key',
    { agreements: agreed({ keyIds: [OTHER_VERSION] }) },
    Array(4).fill('its agreement does not name this key'),
  ],
  [
    'an agreement on other data',
    { agreements: agreed({ manifests: [] }) },
    Array(4).fill(`its agreement does not name manifest ${'b'.repeat(12)}`),
  ],
  [
    'an expired agreement',
    { agreements: agreed({ notAfter: '2026-11-24T02:59:00Z' }) },
    Array(4).fill('its agreement expired 2026-11-24T02:59:00Z'),
  ],
  [
    'data opened without a release',
    { trainer: events(RUN.filter(([name]) => name !== 'key.released')), vault: [] },
    Array(2).fill('trainer: opened by a run that was released no such key before'),
  ],
  [
    'a row missing',
    { trainer: events().filter((_, i) => i !== 3) },
    ['trainer: events of this run before this one are missing or were changed'],
  ],
  [
    'a row changed',
    { trainer: events().map((event, i) => (i === 3 ? { ...event, Detail: 'x' } : event)) },
    ['trainer: events of this run before this one are missing or were changed'],
  ],
])('%s is flagged', (_, change, expected) => {
  const found = flags(change);
  expect(found).toHaveLength(expected.length);
  for (const [i, flag] of expected.entries()) expect(found[i]).toContain(flag);
});

test("a key of another owner's vault, whose log is not here, is explained by its agreement alone", () => {
  const about = { ...SUBJECT, KeyId: KEY.replace('kv-owner', 'kv-other') };
  const trainer = events(RUN.map(([name, at, subject]) => [name, at, subject && about] as const));
  expect(flags({ trainer, vault: [], agreements: agreed({ keyIds: [about.KeyId] }) })).toEqual([]);
  expect(flags({ trainer, vault: [] })).toHaveLength(3);
});

test('a release explains what comes after it, in its own run, and only a claim of the same minutes', () => {
  const opened = 'trainer: opened by a run that was released no such key before';
  const early = RUN.map(([name, at, about]) => [name, name === 'data.opened' ? 1 : at, about] as const);
  expect(flags({ trainer: events(early.toSorted(([, a], [, b]) => a - b)) })).toEqual([opened]);
  const other = events(
    RUN.filter(([name]) => name !== 'key.released'),
    'run-2',
  );
  expect(flags({ trainer: [...events(), ...other] })).toEqual([opened, opened]);
  expect(flags({ vault: [vaultRow({ at: second(999).toISOString() })] })).toEqual([NO_ROW, `vault: ${NO_RUN}`]);
});

test('an agreement that ends during a run ends no run', () => {
  expect(flags({ agreements: agreed({ notAfter: second(3).toISOString() }) })).toEqual([]);
});

test('rows in any order, and twice, are the same', () => {
  const trainer = events().toReversed();
  expect(flags({ trainer: [...trainer, ...trainer.slice(0, 1)] })).toEqual([]);
  const atOnce = events(RUN.map(([name, , about]) => [name, 2, about] as const));
  expect(flags({ trainer: atOnce.toReversed() }).filter((flag) => flag.includes('missing'))).toEqual([]);
});

test('a run that was taken up again begins a chain, and is released the key, once more', () => {
  const again = events(RUN.map(([name, at, about]) => [name, at + 20, about] as const));
  const release = vaultRow({ at: second(21).toISOString() });
  expect(flags({ trainer: [...events(), ...again], vault: [vaultRow(), release] })).toEqual([]);
  expect(flags({ trainer: [...events(), ...again] })).toEqual([NO_ROW]);
});

test('a refusal of the vault that the run tells of, and attempts before it, are explained', () => {
  const trainer = events([
    ['run.started', 0],
    ['key.released', 2, SUBJECT, 'failure'],
    ['run.refused', 3, {}, 'failure'],
  ]);
  const denied = vaultRow({ status: 403 });
  expect(flags({ trainer, vault: [vaultRow({ status: 503 }), denied], storage: [] })).toEqual([]);
  // Granted, and refused by the machine: another key, or another policy, than was agreed.
  expect(flags({ trainer, storage: [] })).toEqual([]);
});

describe('other requests to the vault', () => {
  const opened = 'vault: a data key used without attestation';
  test.each<[string, VaultRow, string | undefined]>([
    ['a client asking where to get a token', vaultRow({ principal: '', status: 401 }), undefined],
    ['a look at the public half', by('KeyGet', 'x'), undefined],
    ['a wrap', by('KeyWrap', 'x'), undefined],
    [
      'a look that was refused to a stranger',
      by('KeyGet', 'x', { status: 403 }),
      'vault: somebody who is not known asked the vault (refused)',
    ],
    ['a look that was refused to somebody known', by('KeyGet', 'platform', { status: 403 }), undefined],
    ['an unwrap by the owner', by('KeyUnwrap', 'owner'), opened],
    ['an unwrap that was refused', by('KeyUnwrap', 'x', { status: 403 }), `${opened} (refused)`],
    ['a decryption', by('keydecrypt', 'x'), opened],
    ['a backup', by('KeyBackup', 'owner'), opened],
    ['an import', by('KeyImport', 'owner'), opened],
    ['a change', by('KeyUpdate', 'owner'), 'vault: a change of a data key'],
    ['a deletion', by('KeyDelete', 'owner'), 'vault: a change of a data key'],
    ['a rotation policy', by('KeyRotationPolicySet', 'owner'), 'vault: a change of a data key'],
    ['a new version, by the owner', by('KeyCreate', 'owner'), undefined],
    ['a new version, by somebody else', by('KeyCreate', 'platform'), 'vault: a change of a data key'],
    ['an unwrap of the escrow key by its owner', by('KeyUnwrap', 'owner', { keyId: ESCROW }), undefined],
    [
      'an unwrap of the escrow key by another',
      by('KeyUnwrap', 'x', { keyId: ESCROW }),
      'vault: a key used by somebody who is not its owner',
    ],
    ['a change of the escrow key by its owner', by('KeyUpdate', 'owner', { keyId: ESCROW }), undefined],
    [
      'a change of the escrow key by another',
      by('KeyUpdate', 'x', { keyId: ESCROW }),
      'vault: a change of a key or of the vault',
    ],
    [
      'a change of the vault',
      by('VaultPatch', 'owner', { keyId: '', uri: '' }),
      'vault: a change of a key or of the vault',
    ],
    ['something not known', by('Unheard', 'owner', { keyId: '', uri: '' }), 'vault: a change of a key or of the vault'],
  ])('%s', (_, row, flag) => {
    expect(flags({ vault: [vaultRow(), row] })).toEqual(flag === undefined ? [] : [flag]);
  });

  const rotations = [{ from: [KEY], to: OTHER_VERSION, rotatedAt: second(0).toISOString() }];
  const explanation = (row: VaultRow) =>
    joinAccessLogs({ ...GOOD, trainer: [], storage: [], vault: [row], rotations })[0];
  test("an owner's rotation record explains the version it made, and the retirement of the one before", () => {
    const explained = 'owner: rotation of 2026-11-24T03:00:00.000Z';
    expect(explanation(by('KeyCreate', 'owner', { keyId: OTHER_VERSION }))?.explained).toBe(explained);
    expect(explanation(by('KeyUpdate', 'owner'))?.explained).toBe(explained);
  });
  test.each([
    ['before it', by('KeyUpdate', 'owner', { at: second(-1).toISOString() })],
    ['of the new version', by('KeyUpdate', 'owner', { keyId: OTHER_VERSION })],
    ['of no version', by('KeyUpdate', 'owner', { keyId: KEY.slice(0, -33) })],
    ['by somebody else', by('KeyUpdate', 'x')],
  ])('a change %s is not explained by it', (_, row) => {
    expect(explanation(row)?.flag).toBe('a change of a data key');
  });
});

describe('requests to storage', () => {
  const uri = (path: string) => ({ uri: `https://st.blob.core.windows.net${path}` });
  test.each<[string, Partial<StorageRow>, string | undefined]>([
    ['the owner', { principal: 'owner' }, undefined],
    ['somebody known', { principal: 'platform' }, undefined],
    ['a stranger', { principal: 'x' }, 'sealed data touched by somebody who is not known'],
    [
      'a stranger in the queue',
      { principal: 'x', ...uri('/runs/run-1/status.json') },
      'sealed data touched by somebody who is not known',
    ],
    ['nobody', { principal: '', authentication: 'Anonymous' }, 'access by Anonymous, not by an identity'],
    [
      'whoever has a key of the account',
      { principal: '', authentication: 'AccountKey' },
      'access by AccountKey, not by an identity',
    ],
    ['a signature', { principal: 'owner', authentication: 'SAS' }, 'access by SAS, not by an identity'],
    ['somebody who is refused', { principal: 'owner', status: 403 }, 'storage refused it'],
    ['somebody who finds nothing', { principal: 'owner', status: 404 }, undefined],
    [
      'the machines, while no run is on',
      { at: second(999).toISOString() },
      "the machines' identity touched sealed data while no run was on",
    ],
    [
      'the machines, in the queue before a run',
      { at: second(-999).toISOString(), ...uri('/runs?comp=list') },
      undefined,
    ],
  ])('%s', (_, change, flag) => {
    expect(flags({ storage: [storageRow(change)] })).toEqual(flag === undefined ? [] : [`storage: ${flag}`]);
  });

  test('what is explained and not about sealed data has no line', () => {
    const quiet = storageRow({ principal: 'owner', ...uri('/runs/run-1/status.json') });
    const model = storageRow({ principal: 'owner', ...uri('/runs/run-1/model/weights.bin.sealed') });
    const { length } = joinAccessLogs({ ...GOOD, storage: [] });
    expect(joinAccessLogs({ ...GOOD, storage: [quiet, model] })).toHaveLength(length + 1);
  });
});

test('what rests on a row that may still come is told, not flagged; what is there is flagged at once', () => {
  const vault = [by('KeyUnwrap', 'x'), vaultRow({ principal: 'x' })];
  const change = { vault, completeUntil: second(1) };
  expect(flags(change)).toEqual(
    [`vault: ${RELEASED_ELSEWHERE}`, 'vault: a data key used without attestation'].toReversed(),
  );
  const pending = joinAccessLogs({ ...GOOD, ...change }).flatMap((entry) => entry.pending ?? []);
  expect(pending).toEqual([NO_ROW.replace('trainer: ', '')]);
  expect(flags({ ...change, completeUntil: second(2) })).toContain(NO_ROW);
});
