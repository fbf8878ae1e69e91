import { expect, test } from 'vitest';
import { readReport } from '../../../scripts/scan/checkov.ts';
import { rejection } from '../../runtime/rejection.ts';

const STACKS = [
  {
    name: 'platform',
    configuration: {
      resource: {
        azurerm_storage_account: { Store_1: {}, Twin: {} },
        azurerm_storage_container: { Twin: {} },
      },
    },
  },
];
const failed = (resource: string, file_path = '/platform/cdk.tf.json') => ({
  check_id: 'CKV_AZURE_33',
  check_name: 'logging',
  file_path,
  resource,
});
const report = (failed_checks: object[], summary: object = { passed: 44, parsing_errors: 0 }) =>
  JSON.stringify({ check_type: 'terraform_json', results: { failed_checks }, summary });

test.each([
  ['resource.Store_1', 'azurerm_storage_account.Store_1'],
  ['azurerm_storage_account.Store_1', 'azurerm_storage_account.Store_1'],
  // Which of the two is meant cannot be told: no exception fits, so it is shown.
  ['resource.Twin', 'resource.Twin'],
])('%s is %s', (resource, address) => {
  expect(readReport(report([failed(resource)]), '', STACKS)).toEqual([
    { id: 'CKV_AZURE_33', says: 'logging', stack: 'platform', address, resource },
  ]);
});

test.each([
  ['no report', 'Traceback', 'checkov wrote no report: boom'],
  ['nothing read', report([], { passed: 0, parsing_errors: 0 }), 'checkov read nothing'],
  ['a file it could not read', report([], { passed: 44, parsing_errors: 1 }), '1 files failed'],
  ['what it prints for an empty folder', JSON.stringify({ passed: 0, failed: 0, parsing_errors: 0 }), 'read nothing'],
  ['another file', report([failed('resource.Store_1', '/elsewhere.tf.json')]), '/elsewhere.tf.json'],
])('%s is no clean bill', (_, stdout, message) => {
  expect(() => readReport(stdout, 'boom', STACKS)).toThrow(rejection('UNAVAILABLE', message));
});
