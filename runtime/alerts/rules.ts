import type { SecurityEventName } from '../catalogue.ts';
import type { Column, Condition } from './condition.ts';
import type { AlertRule, LogTable } from './rule.ts';

/** What of an environment a data owner's rules compare with. */
export interface OwnerExpectations {
  /** Object ids of the identities that keys may be released to. */
  readonly releaseTo: readonly string[];
  /** Networks that they ask from. */
  readonly networks: readonly string[];
}

const CALLER: Column = ['Identity', 'claim', 'http://schemas.microsoft.com/identity/claims/objectidentifier'];
/** How every client's first request goes: without a token, to learn whose it wants. It is logged by this name, refused. */
const NOT_CHALLENGE: Condition = { not: { column: 'OperationName', oneOf: ['Authentication'] } };
/** Azure names the operation in prose only: the address is looked at too. */
const RELEASE: Condition = {
  all: [
    {
      any: [
        { column: 'OperationName', oneOf: ['KeyRelease'] },
        { column: 'RequestUri', contains: '/release' },
      ],
    },
    NOT_CHALLENGE,
  ],
};
const FAILED: Condition = { column: 'HttpStatusCode', atLeast: 400 };
const VAULT = { Caller: CALLER, Address: 'CallerIpAddress', Key: 'Id' } as const;
const WINDOW = { windowMinutes: 30, everyMinutes: 5 } as const;
/** Any row at all. */
const SEEN = { kind: 'count', above: 0 } as const;

/** Rules for what a data owner's vault and attestation provider are asked, in the owner's own workspace. */
export function ownerAlerts({ releaseTo, networks }: OwnerExpectations): readonly AlertRule[] {
  const stranger: Condition = { not: { column: CALLER, oneOf: releaseTo } };
  const elsewhere: Condition = { not: { column: 'CallerIpAddress', inNetworks: networks } };
  const unexpected = [...(releaseTo.length > 0 ? [stranger] : []), ...(networks.length > 0 ? [elsewhere] : [])];
  return [
    // Without anything to compare with every release would be unexpected.
    ...(unexpected.length === 0
      ? []
      : [
          vault('release-unexpected', 'A key was released to somebody, or somewhere, unexpected', 0, {
            all: [RELEASE, { not: FAILED }, { any: unexpected }],
          }),
        ]),
    vault('release-refused', 'The vault refused to release a key', 1, { all: [RELEASE, FAILED] }),
    vault('key-used-directly', 'Somebody tried to use or copy a data key without its release', 1, {
      column: 'OperationName',
      oneOf: ['KeyUnwrap', 'KeyDecrypt', 'KeySign', 'KeyBackup', 'KeyRestore'],
    }),
    vault('key-changed', 'A key was made, changed, rotated or deleted', 1, {
      all: [
        {
          column: 'OperationName',
          oneOf: [
            ...['KeyCreate', 'KeyImport', 'KeyUpdate', 'KeyDelete', 'KeyPurge', 'KeyRecover'],
            ...['KeyRotate', 'KeyRotateIfDue', 'KeyRotationPolicySet'],
          ],
        },
        { not: FAILED },
      ],
    }),
    vault('vault-changed', 'The vault itself was changed', 1, {
      column: 'OperationName',
      oneOf: ['VaultPut', 'VaultPatch', 'VaultDelete', 'VaultAccessPolicyChangedEventGridNotification'],
    }),
    {
      ...vault('vault-denied', 'Somebody is turned away by the vault again and again', 2, {
        all: [{ column: 'HttpStatusCode', oneOf: ['401', '403'] }, NOT_CHALLENGE],
      }),
      measure: { kind: 'count', above: 3 },
    },
    {
      ...vault('vault-throttled', 'The vault asks its callers to slow down', 3, {
        column: 'HttpStatusCode',
        oneOf: ['429'],
      }),
      measure: { kind: 'count', above: 10 },
    },
    attestation('attestation-policy-changed', 'The attestation policy, or who may sign it, was changed', 0, {
      column: 'OperationName',
      oneOf: [
        ...['SetCurrentPolicy', 'ResetAttestationPolicy', 'DeletePolicy', 'DeleteCurrentPolicy'],
        ...['SetEffectiveAttestationPolicy', 'AddPolicyCertificate', 'RemovePolicyCertificate'],
        ...['AddPolicyManagementCertificate', 'AddPolicyManagementCertificates'],
        ...['RemovePolicyManagementCertificate', 'RemovePolicyManagementCertificates'],
      ],
    }),
    attestation('attestation-rejected', 'The attestation provider rejected evidence', 1, {
      column: 'ResultSignature',
      atLeast: 400,
    }),
    activity('vault-settings-changed', "The vault's network or settings were changed, or its log taken away", 1, [
      ...['Microsoft.KeyVault/vaults/write', 'Microsoft.KeyVault/vaults/delete'],
      ...['Microsoft.Insights/diagnosticSettings/write', 'Microsoft.Insights/diagnosticSettings/delete'],
    ]),
    activity('owner-role-granted', "Somebody was given a role over the owner's resources", 1, [
      'Microsoft.Authorization/roleAssignments/write',
    ]),
    activity('attestation-provider-changed', 'The attestation provider was changed or deleted', 1, [
      ...['Microsoft.Attestation/attestationProviders/write', 'Microsoft.Attestation/attestationProviders/delete'],
    ]),
  ];
}

/** Rules for what trainers say, what the store is asked and what becomes of the platform, in the platform's workspace. */
export function platformAlerts({ flowLogs }: { readonly flowLogs: boolean }): readonly AlertRule[] {
  const storage = { Caller: 'RequesterObjectId', Address: 'CallerIpAddress' };
  const status = (...oneOf: string[]): Condition => ({ column: 'StatusCode', oneOf });
  return [
    events('machine-rejected', 'A machine that is not trusted asked to train', 1, failure('environment.verified')),
    events('trainer-not-attested', 'A trainer was not attested', 1, failure('attestation.accepted')),
    events('trainer-without-key', 'A trainer was not given a key', 1, failure('key.released')),
    events(
      'data-refused',
      'A trainer refused data or a checkpoint that it was given',
      1,
      failure('data.opened', 'object.opened', 'checkpoint.opened'),
    ),
    events('machine-unhygienic', 'A trainer refused to start on its machine', 1, {
      all: [failure('run.refused'), { column: 'Detail', contains: 'hygiene' }],
    }),
    events('run-refused', 'A run was refused', 2, {
      all: [failure('run.refused'), { not: { column: 'Detail', contains: 'hygiene' } }],
    }),
    {
      ...events('run-silent', 'A run has gone silent', 2, { not: { column: 'RunId', oneOf: [''] } }),
      measure: {
        kind: 'silence',
        minutes: 30,
        endedBy: { column: 'Event', oneOf: eventNames('run.finished', 'run.refused') },
      },
      windowMinutes: 240,
      everyMinutes: 15,
    },
    {
      ...rule('storage-without-identity', 'Storage was reached by a shared key or a link', 1, 'StorageBlobLogs', {
        not: { column: 'AuthenticationType', oneOf: ['OAuth', 'TrustedAccess'] },
      }),
      dimensions: { ...storage, How: 'AuthenticationType' },
    },
    {
      ...rule('storage-denied', 'Somebody is turned away by storage again and again', 2, 'StorageBlobLogs', {
        all: [status('401', '403')],
      }),
      dimensions: storage,
      measure: { kind: 'count', above: 3 },
    },
    {
      ...rule('storage-throttled', 'Storage asks its callers to slow down', 3, 'StorageBlobLogs', {
        all: [status('429', '503')],
      }),
      dimensions: { Caller: 'RequesterObjectId' },
      measure: { kind: 'count', above: 10 },
    },
    activity('storage-settings-changed', "The store's network or keys were touched", 1, [
      ...['Microsoft.Storage/storageAccounts/write', 'Microsoft.Storage/storageAccounts/delete'],
      ...[
        'Microsoft.Storage/storageAccounts/listKeys/action',
        'Microsoft.Storage/storageAccounts/listServiceSas/action',
      ],
    ]),
    activity('network-changed', "The trainers' network was opened or changed", 1, [
      ...[
        'Microsoft.Network/networkSecurityGroups/write',
        'Microsoft.Network/networkSecurityGroups/securityRules/write',
      ],
      ...['Microsoft.Network/virtualNetworks/write', 'Microsoft.Network/virtualNetworks/subnets/write'],
    ]),
    activity('platform-role-granted', "Somebody was given a role over the platform's resources", 1, [
      'Microsoft.Authorization/roleAssignments/write',
    ]),
    ...(flowLogs
      ? [
          {
            ...rule('egress-denied', 'A machine tried to reach what it may not', 1, 'NTANetAnalytics', {
              all: [
                { column: 'SubType', oneOf: ['FlowLog'] },
                { column: 'FlowStatus', oneOf: ['Denied'] },
                { column: 'FlowDirection', oneOf: ['Outbound'] },
              ],
            }),
            dimensions: { From: 'SrcIp', To: 'DestIp', Port: 'DestPort' },
            // Flows are worked up every ten minutes at best, every hour by default.
            windowMinutes: 90,
            everyMinutes: 15 as const,
          },
        ]
      : []),
  ];
}

function rule(name: string, title: string, severity: 0 | 1 | 2 | 3, table: LogTable, where: Condition): AlertRule {
  return { name, title, severity, table, where, measure: SEEN, ...WINDOW, dimensions: {} };
}

function vault(name: string, title: string, severity: 0 | 1 | 2 | 3, where: Condition): AlertRule {
  return { ...rule(name, title, severity, 'AZKVAuditLogs', where), dimensions: VAULT };
}

function attestation(name: string, title: string, severity: 0 | 1 | 2 | 3, where: Condition): AlertRule {
  const dimensions = { Operation: 'OperationName', Address: 'CallerIpAddress' };
  return { ...rule(name, title, severity, 'AzureAttestationDiagnostics', where), dimensions };
}

function activity(name: string, title: string, severity: 0 | 1 | 2 | 3, operations: readonly string[]): AlertRule {
  const where: Condition = {
    all: [
      { column: 'OperationNameValue', oneOf: operations },
      { column: 'ActivityStatusValue', oneOf: ['Success', 'Succeeded'] },
    ],
  };
  const dimensions = { Operation: 'OperationNameValue', Caller: 'Caller' };
  return { ...rule(name, title, severity, 'AzureActivity', where), dimensions };
}

function events(name: string, title: string, severity: 0 | 1 | 2 | 3, where: Condition): AlertRule {
  return {
    ...rule(name, title, severity, 'TrainingSecurity', where),
    dimensions: { RunId: 'RunId', Machine: 'Machine' },
  };
}

function failure(...names: SecurityEventName[]): Condition {
  return {
    all: [
      { column: 'Event', oneOf: names },
      { column: 'Outcome', oneOf: ['failure'] },
    ],
  };
}

function eventNames(...names: SecurityEventName[]): readonly string[] {
  return names;
}
