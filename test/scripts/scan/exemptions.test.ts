import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import {
  checkovBaseline,
  exceptionsPage,
  judge,
  policyExemptions,
  type ScanFailure,
  trivyIgnore,
} from '../../../scripts/scan/exemptions.ts';
import { SCANNER_EXCEPTIONS, type ScannerException } from '../../../stacks/scanner-exceptions.ts';

const EXCEPTION: ScannerException = {
  stack: 'platform',
  resource: 'azurerm_storage_account.Store_*',
  checkov: 'CKV_AZURE_33',
  trivy: 'AZU-0009',
  policy: '00000000-0000-4000-8000-000000000000',
  reason: 'there are no "queues"',
};
const FAILURE: ScanFailure = {
  id: 'CKV_AZURE_33',
  says: 'logging',
  stack: 'platform',
  address: 'azurerm_storage_account.Store_1D2A845B',
  resource: 'resource.Store_1D2A845B',
};

test('a finding in the table is explained', () => {
  expect(judge([FAILURE], [EXCEPTION])).toEqual({ unexplained: [], explained: [FAILURE], unused: [] });
});

test.each([
  ['check', { id: 'CKV_AZURE_34' }],
  ['stack', { stack: 'training' }],
  ['resource', { address: 'azurerm_storage_account.Logs_1D2A845B' }],
  ['type', { address: 'azurerm_storage_accountXStore_1' }],
])('one of another %s is not, and the entry is left over', (_, change) => {
  const other = { ...FAILURE, ...change };
  expect(judge([other], [EXCEPTION])).toEqual({ unexplained: [other], explained: [], unused: [EXCEPTION] });
});

test('an entry of an option is not missed where the option is off', () => {
  expect(judge([], [{ ...EXCEPTION, option: 'platform.flowLogs' }]).unused).toEqual([]);
});

test('what the scanners take', () => {
  expect(JSON.parse(checkovBaseline([FAILURE, { ...FAILURE, id: 'CKV_AZURE_1' }]))).toEqual({
    failed_checks: [
      {
        file: '/platform/cdk.tf.json',
        findings: [{ resource: 'resource.Store_1D2A845B', check_ids: ['CKV_AZURE_1', 'CKV_AZURE_33'] }],
      },
    ],
  });
  const { trivy: _, policy: __, ...bare } = EXCEPTION;
  expect(trivyIgnore([EXCEPTION, bare])).toBe(
    'misconfigurations:\n  - id: AZU-0009\n    paths:\n      - "**/platform/cdk.tf.json"\n    statement: "there are no \\"queues\\""\n',
  );
  expect(JSON.parse(policyExemptions([EXCEPTION, bare]))).toEqual([
    {
      policyDefinitionId: '/providers/Microsoft.Authorization/policyDefinitions/00000000-0000-4000-8000-000000000000',
      stack: 'platform',
      resource: EXCEPTION.resource,
      properties: { exemptionCategory: 'Mitigated', description: EXCEPTION.reason },
    },
  ]);
});

test('the page is the table', () => {
  const page = readFileSync(new URL('../../../docs/scanner-exceptions.md', import.meta.url), 'utf8');
  expect(page).toBe(exceptionsPage(SCANNER_EXCEPTIONS));
});

test('no entry is there twice, and none leaves its cell of the page', () => {
  const keys = SCANNER_EXCEPTIONS.map(({ stack, resource, checkov }) => `${stack} ${resource} ${checkov}`);
  expect(new Set(keys).size).toBe(keys.length);
  for (const { reason, resource } of SCANNER_EXCEPTIONS) expect(`${reason}${resource}`).not.toMatch(/[|\n]/);
});
