/**
 * What scanners of infrastructure code find in these stacks and is meant to be so. The one place to say it: generated JSON has
 * no room for a scanner's own remarks. `npm run scan` fails on a finding that is not here, and on an entry that nothing needs
 * any more; `npm run scan -- --emit FOLDER` writes what checkov, trivy and Azure Policy take; docs/scanner-exceptions.md is this table.
 */
export interface ScannerException {
  readonly stack: 'data-owner' | 'platform' | 'training';
  /** Terraform address in that stack; `*` is any text, for the digest at the end of a name. */
  readonly resource: string;
  /** Id of the check in checkov. */
  readonly checkov: string;
  /**
   * The same check in trivy.
   * @default - trivy has none
   */
  readonly trivy?: string;
  /**
   * GUID of Azure's built-in policy that asks for the same (github.com/Azure/azure-policy).
   * @default - none
   */
  readonly policy?: string;
  /**
   * Field of the environment file that brings the resource: the example does without, so that the entry is not missed there.
   * @default - always there
   */
  readonly option?: string;
  readonly reason: string;
}

const STORE = { stack: 'platform', resource: 'azurerm_storage_account.Store_*' } as const;
const FLOWS = { stack: 'platform', resource: 'azurerm_storage_account.Flows_*', option: 'platform.flowLogs' } as const;

export const SCANNER_EXCEPTIONS: readonly ScannerException[] = [
  {
    ...STORE,
    checkov: 'CKV_AZURE_206',
    trivy: 'AZU-0058',
    reason:
      'three zones of one region by default: a copy in another region would leave the place its owner agreed to. platform.replication GZRS asks for one',
  },
  {
    ...STORE,
    checkov: 'CKV_AZURE_36',
    trivy: 'AZU-0010',
    policy: 'c9d007d0-c057-4772-b18c-01e546713bcd',
    reason:
      'no service of Microsoft’s has business in the store: everything that uses it comes by the private endpoint',
  },
  {
    ...STORE,
    checkov: 'CKV_AZURE_33',
    trivy: 'AZU-0009',
    reason:
      'no queues are used, and classic logging is set over the data plane; blob access is recorded by a diagnostic setting',
  },
  {
    ...STORE,
    checkov: 'CKV2_AZURE_1',
    trivy: 'AZU-0060',
    policy: '6fac406b-40ca-413b-bf8e-0bf964659c25',
    reason:
      'the store sees ciphertext only, sealed with keys of each data owner; a key of the platform’s around it protects from nobody it does not protect from already',
  },
  {
    stack: 'platform',
    resource: 'azurerm_storage_container.Store_*',
    checkov: 'CKV2_AZURE_21',
    reason:
      'blob reads are recorded by a diagnostic setting on the blob service; the check knows classic storage insights only',
  },
  {
    stack: 'data-owner',
    resource: 'azurerm_key_vault.Vault_*',
    checkov: 'CKV2_AZURE_32',
    reason:
      'its private endpoint stands in the platform stack, in another subscription: the check sees one stack at a time',
  },
  {
    stack: 'training',
    resource: 'azurerm_linux_virtual_machine.Trainer_*',
    checkov: 'CKV_AZURE_179',
    policy: '672fe5a1-2fcd-42d7-b85d-902b6e28c6ff',
    reason:
      'an agent runs what an administrator of the subscription sends it, inside the machine that opens data; the trainer attests itself, and boot is on the serial console',
  },
  {
    ...FLOWS,
    checkov: 'CKV_AZURE_206',
    trivy: 'AZU-0058',
    reason: 'three zones of one region: addresses and ports of the last months are not worth a copy elsewhere',
  },
  {
    ...FLOWS,
    checkov: 'CKV_AZURE_33',
    trivy: 'AZU-0009',
    reason: 'no queues are used; blob access is recorded by a diagnostic setting',
  },
  {
    ...FLOWS,
    checkov: 'CKV2_AZURE_33',
    reason:
      'the network watcher writes as a trusted service, by its role; nobody else has a way in until privateAccess gives one',
  },
  {
    ...FLOWS,
    checkov: 'CKV2_AZURE_1',
    trivy: 'AZU-0060',
    policy: '6fac406b-40ca-413b-bf8e-0bf964659c25',
    reason: 'holds addresses, ports and sizes of flows, and no content',
  },
  {
    stack: 'platform',
    resource: 'azurerm_key_vault.KeyVault_*',
    checkov: 'CKV2_AZURE_32',
    option: 'platform.customerKey, platform.diskKey',
    reason: 'storage and disks reach it as trusted services; nobody has business with its keys over a network',
  },
];
